"""Tickets that came while the state could not take them: each a file in a folder beside it, on the disk before it is acknowledged, and
taken in by whoever writes next without the lease."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from reconciler.files import PRIVATE, read_bounded, write_file
from reconciler.fleet import GpurecError, Place, Problem, StateError, Ticket
from reconciler.state.sql.allocated import wei_of
from reconciler.state.sql.rescue import RescuePlace, stem_of
from reconciler.value_class import value_class

_FOLDER_MODE = 0o700
_LARGEST = 16_384
_ADVICE = "it is not as gpurec wrote it; look at it, and move it away when it is of no use"


@value_class
class WaitingTickets:
    """`folder` is there only while one waits."""

    folder: Path

    def add(self, ticket: Ticket) -> bool:
        """Keeps a ticket; False for one that waits already. Raises OSError and GpurecError where it cannot be written."""
        path = self._path(ticket)
        if path.exists():
            return False
        text = json.dumps(asdict(ticket) | {"face_value": str(ticket.face_value), "expected_value": str(ticket.expected_value)})
        for last in (False, True):
            self.folder.mkdir(_FOLDER_MODE, exist_ok=True)
            try:
                write_file(path, text, mode=PRIVATE)
            except (OSError, GpurecError):  # the folder may be gone with the last one that waited in it
                if last:
                    raise
            else:
                break
        return True

    def every(self) -> tuple[Ticket, ...]:
        """Those that wait. Raises StateError for a file that gpurec did not write."""
        found = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                found.append(_ticket(path))
            except FileNotFoundError:  # taken in meanwhile
                continue
        return tuple(found)

    def forget(self, taken: tuple[Ticket, ...]) -> None:
        """Those are in the state. One that stays all the same is taken in again, which changes nothing."""
        for ticket in taken:
            with suppress(OSError):
                self._path(ticket).unlink()
        if taken:
            with suppress(OSError):  # another one waits by now
                self.folder.rmdir()

    def _path(self, ticket: Ticket) -> Path:
        return self.folder / f"{hashlib.sha256(ticket.id.encode()).hexdigest()}.json"


def waiting_tickets(place: RescuePlace) -> WaitingTickets:
    """Those of the state whose rescue journals lie there."""
    return WaitingTickets(place.folders[0] / f"{stem_of(place.state)}.tickets")


def _ticket(path: Path) -> Ticket:
    try:
        found = json.loads(read_bounded(path, _LARGEST))
        if not isinstance(found, Mapping):
            raise ValueError
        sender, at = found["sender"], found["at"]
        if not isinstance(found["id"], str) or not isinstance(at, str) or not isinstance(sender, str | None):
            raise ValueError
        return Ticket(found["id"], sender, wei_of(found["face_value"]), wei_of(found["expected_value"]), at)
    except (ValueError, KeyError, RecursionError, GpurecError):
        if not path.exists():
            raise FileNotFoundError(path) from None
        raise StateError(Problem("a ticket that waits for the state cannot be read", Place(str(path)), _ADVICE)) from None
