"""The rescue journal: what a run did to the nodes while its state could not be written, as lines of JSON for `gpurec state recover`.

It lies beside a state in a file, or in the folder for temporary files when nothing can be written there. The first line says whose it is;
every other is one entry. A line is on the disk before the run goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from reconciler.fleet import MIB, GpurecError, Place, Problem, StateError
from reconciler.state.protocol import StateWriter
from reconciler.state.sql.entries import Entry
from reconciler.value_class import value_class

FORMAT = 1
_LONGEST_STEM = 120
LARGEST = 256 * MIB
_ADVICE = "it is not as gpurec wrote it; look at it, and move it away when it is of no use"


@value_class
class RescueHead:
    """Whose journal it is: what the state is called (its absolute path), its lineage, the run, and the serial when the run began."""

    state: str
    lineage: str | None
    run_id: int
    serial: int
    at: str
    why: str
    gpurec_rescue: int = FORMAT


@value_class
class Rescued:
    """A rescue journal as read. `torn`: its last line was cut off while it was written, and is left out."""

    path: Path
    head: RescueHead
    entries: tuple[Entry, ...]
    torn: bool


class RescueWriter(StateWriter, Protocol):
    """A writer that can take a rescue journal in."""

    def read_in(self, rescued: Rescued) -> int:
        """Takes a rescue journal into the state and returns the serial. Raises StateError for the journal of another state."""
        ...


class RescueJournal:
    """Appends lines to a new file of mode 0600 in the first of `folders` that takes them; moves on to the next where one fails later."""

    def __init__(self, head: RescueHead, folders: Sequence[Path], write: Callable[[int, bytes], int] = os.write) -> None:
        self._folders, self._write = list(folders), write
        self.why = head.why
        self._name = f"{stem_of(head.state)}.rescue-{head.run_id}-{uuid4().hex[:8]}.jsonl"
        self._lines = [_line(asdict(head))]
        self._file: int | None = None
        self.path: Path | None = None
        self._flush(self._lines)

    def append(self, entry: Entry) -> None:
        """Raises StateError when no folder takes it; then it is nowhere but in that error's path to the user."""
        line = _line(asdict(entry))
        self._lines.append(line)
        self._flush([line])

    def _flush(self, lines: Sequence[bytes]) -> None:
        why: OSError | None = None
        while self._folders:
            try:
                if self._file is None:
                    self.path = self._folders[0] / self._name
                    self._file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o600)
                    os.fchmod(self._file, 0o600)
                    lines = self._lines
                self._write_all(self._file, b"".join(lines))
                os.fsync(self._file)
            except OSError as error:
                why = error
                self._leave()
            else:
                return
        raise StateError.of(
            f"neither the state nor a rescue journal can be written ({why.strerror if why else 'no folder is left'})",
            self._name,
            "make room; the next plan finds out by probing what was done",
        ) from why

    def _leave(self) -> None:
        """What was begun here is written again elsewhere, whole; a part of it would only mislead."""
        self.close()
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink()
        self.path = None
        del self._folders[0]

    def _write_all(self, file: int, content: bytes) -> None:
        while content:
            content = content[self._write(file, content) :]

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


@value_class
class RescuePlace:
    """Where the rescue journals of a state lie: what it is called in their first line, and the folders, the better one first."""

    state: str
    folders: tuple[Path, ...]


def find_rescues(place: RescuePlace) -> list[Path]:
    """The rescue journals of a state that wait to be read in, oldest run first. Files of other users are not ours and left out."""
    found: dict[Path, None] = {}
    for folder in place.folders:
        with suppress(OSError):
            for path in sorted(folder.glob(f"{_escaped(stem_of(place.state))}.rescue-*.jsonl"), key=_run_of):
                if _ours(path) and _is_of(path, place.state):
                    found[path] = None
    return list(found)


def kept_apart(rescue: Path, why: str, error: Exception | None) -> StateError:
    """What the run ended with, why its state was not written, and where what it did is kept."""
    first = error.problems if isinstance(error, GpurecError) else ()
    what = f"{why}, so what was done is kept in a rescue journal"
    return StateError(
        *first,
        Problem(what, Place(str(rescue)), "have the state there and writable again, then run gpurec state recover before the next apply"),
    )


def waiting_sentence(path: Path) -> str:
    """What is said of a rescue journal that waits."""
    return f"the rescue journal {path} waits to be read in, which the next apply or gpurec state recover does"


def refuse_waiting(place: RescuePlace, then: str) -> None:
    """Raises StateError where a rescue journal waits, for what would leave it behind; `then` is what to do after it was taken in."""
    if waiting := find_rescues(place):
        raise StateError.of("a rescue journal of this state waits to be read in", str(waiting[0]), f"gpurec state recover, then {then}")


def read_rescue(path: Path) -> Rescued:
    """Reads a rescue journal back, as input that anybody may have touched. Raises StateError where it is not one."""
    from pydantic import TypeAdapter, ValidationError

    where = str(path)
    lines = list(_lines_of(path))
    if not lines:
        raise StateError.of("this is no rescue journal: it is empty", where, "move it away")
    entry_type: TypeAdapter[Entry] = TypeAdapter(Entry)
    entries: list[Entry] = []
    torn = False
    try:
        head = TypeAdapter(RescueHead).validate_json(lines[0], strict=True)
    except ValidationError as error:
        raise StateError.of("this is no rescue journal: its first line is not that of one", where, _ADVICE) from error
    if head.gpurec_rescue != FORMAT:
        raise StateError.of(f"the rescue journal has format {head.gpurec_rescue}, this gpurec reads {FORMAT}", where, "use a newer gpurec")
    for number, line in enumerate(lines[1:], start=2):
        try:
            entries.append(entry_type.validate_json(line, strict=True))
        except ValidationError as error:
            if number == len(lines) and not line.endswith(b"\n"):
                torn = True
                continue
            raise StateError.of(f"line {number} of the rescue journal cannot be read", where, _ADVICE) from error
    return Rescued(path, head, tuple(entries), torn)


def put_away(path: Path) -> Path:
    """Names a journal that was read in `….recovered`, so that it waits no more; returns where it is now."""
    done = path.with_name(path.name + ".recovered")
    try:
        path.rename(done)
    except OSError:
        return path  # it stays where it is; reading it in again changes nothing
    return done


def stem_of(state: str) -> str:
    """What the names of files beside a state begin with: its own file, or what stands for a URL among files. Of a long one (a URL may name
    many hosts, a file name has 255 bytes) the beginning and a hash."""
    if "://" not in state:
        return Path(state).name
    name = "".join(one if one.isascii() and one.isalnum() else "-" for one in state.partition("://")[2])
    return name if len(name) <= _LONGEST_STEM else f"{name[:_LONGEST_STEM]}-{hashlib.sha256(state.encode()).hexdigest()[:12]}"


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=dict).encode() + b"\n"


def _lines_of(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise StateError.of(f"the rescue journal cannot be read: {error.strerror}", str(path)) from error
    if len(content) > LARGEST:
        raise StateError.of("the rescue journal is larger than 256 MiB, the most that is read", str(path))
    yield from content.splitlines(keepends=True)


def _escaped(name: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def _run_of(path: Path) -> tuple[int, str]:
    number = path.name.rpartition(".rescue-")[2].partition("-")[0]
    return (int(number) if number.isdecimal() and number.isascii() else 0, path.name)


def _ours(path: Path) -> bool:
    seen = path.lstat()
    return stat.S_ISREG(seen.st_mode) and seen.st_uid == os.getuid()


def _is_of(path: Path, state: str) -> bool:
    """Whether the first line names this state: in the folder for temporary files many states may have left one."""
    try:
        with path.open("rb") as file:
            head = json.loads(file.readline(65536))
        return isinstance(head, dict) and head.get("state") == state
    except (OSError, ValueError, RecursionError):
        return False
