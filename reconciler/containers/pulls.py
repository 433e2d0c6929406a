"""What a stream of `POST /images/create` tells: how far it is, whether it still gets anywhere, and why it failed under a 200."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from reconciler.containers.answered import Answered, Bytes, Lenient, Word
from reconciler.containers.protocol import ContainerError
from reconciler.containers.wire import failed
from reconciler.engines.foreign_text import clean_name, clean_text
from reconciler.engines.protocol import PullProgress
from reconciler.engines.pulling import PullMeter

_WHOLE = ("Verifying Checksum", "Download complete", "Pull complete")
_LONGEST_ID = 80
_NOT_THERE = ("manifest unknown", "not found", "does not exist", "no such image")
_NO_ACCESS = ("unauthorized", "denied", "authentication required", "no basic auth credentials")

LONGEST_UNPACKING = 3600
"""Seconds that one layer may be unpacked for."""


class _Detail(Answered):
    current: Bytes = None
    total: Bytes = None
    units: Word = None


class _ErrorDetail(Answered):
    message: Word = None


class _Line(Answered):
    status: Word = None
    id: Word = None
    detail: Annotated[_Detail | None, Field(alias="progressDetail"), Lenient()] = None
    error: Word = None
    error_detail: Annotated[_ErrorDetail | None, Field(alias="errorDetail"), Lenient()] = None


_LINE: TypeAdapter[_Line] = TypeAdapter(_Line)


class PullReader:
    """The lines of one pull. `progress` is how much of all layers is downloaded; what is unpacked counts only as going on."""

    def __init__(self, image: str, shown: str) -> None:
        self._image, self._shown = image, shown
        self._all, self._downloaded = PullMeter(), PullMeter()
        self._totals: dict[str, int] = {}
        self._unpacked_for = 0
        self._status = ""

    @property
    def progress(self) -> PullProgress:
        return PullProgress(self._status, self._downloaded.completed, self._downloaded.total)

    def take(self, line: bytes) -> float:
        """Takes one line in; how many stall limits it is worth, 0 where it gets nowhere. Raises ContainerError for a line that tells an
        error."""
        try:
            read = _LINE.validate_json(line)
        except ValidationError:
            raise failed("not_its_protocol", self._shown, "answered a pull with a line that is not its protocol") from None
        detail = read.error_detail.message if read.error_detail is not None else None
        if (error := detail or read.error) is not None:
            raise pull_failure(self._image, error, self._shown)
        status = clean_name(read.status or "")
        if not read.id:
            self._status = status
        current, total = (read.detail.current, read.detail.total) if read.detail is not None else (None, None)
        if status == "Extracting" and read.detail is not None and read.detail.units == "s":
            return self._goes_on_unpacking(current or 0)
        retrying = status.startswith("Retrying")
        try:
            if status == "Downloading" and read.id and total is not None:
                self._downloaded.take(None, read.id, current, total)
                self._totals[read.id[:_LONGEST_ID]] = total
            elif status in _WHOLE and read.id and (known := self._totals.get(read.id[:_LONGEST_ID])) is not None:
                self._downloaded.take(None, read.id, known, known)
            key = f"{status[:12]} {read.id}" if read.id else None
            return self._all.take(None if retrying else status, key, current, total)
        except OverflowError as error_of_meter:
            raise failed("pull_failed", self._shown, f"{self._image} cannot be pulled: {error_of_meter}") from None

    def _goes_on_unpacking(self, seconds: int) -> bool:
        """With containerd's store a daemon tells no bytes of a layer that it unpacks, only for how long it has
        (daemon/containerd/progress.go)."""
        goes_on = seconds != self._unpacked_for and seconds <= LONGEST_UNPACKING
        self._unpacked_for = seconds
        return goes_on


def pull_failure(image: str, said: str, shown: str) -> ContainerError:
    """Why an image could not be pulled, by what the daemon says."""
    low = said.lower()
    what = f"{image} cannot be pulled: {clean_text(said)}"
    if any(sign in low for sign in _NO_ACCESS):
        return failed("no_access", shown, what, "check its name, and declare docker.registries with a login")
    if any(sign in low for sign in _NOT_THERE):
        return failed("no_such_image", shown, what, "check its name and tag")
    return failed("pull_failed", shown, what)
