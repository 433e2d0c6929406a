"""Tickets that came while the state could not take them: each a file in a folder beside it, on the disk before it is acknowledged, and
taken in by whoever writes next without the lease."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from reconciler.files import PRIVATE, read_bounded, write_file
from reconciler.fleet import GpurecError, Place, Problem, StateError, Ticket
from reconciler.state.finding import StateFinding, StateLevel
from reconciler.state.sql.allocated import wei_of
from reconciler.state.sql.rescue import RescuePlace, stem_of
from reconciler.value_class import value_class

_FOLDER_MODE = 0o700
_LARGEST = 16_384
_ADVICE = "it is not as gpurec wrote it; look at it, and move it away when it is of no use"


@value_class
class WaitingTickets:
    """Each of `folders` is there only while one waits in it; new ones wait in the first. A folder of another user is none of ours: in that
    for temporary files anybody can make one of this name."""

    folders: tuple[Path, ...]

    def add(self, ticket: Ticket) -> bool:
        """Keeps a ticket; False for one that waits already. Raises OSError and GpurecError where it cannot be written."""
        folder = self.folders[0]
        path = folder / _name(ticket)
        for last in (False, True):
            folder.mkdir(_FOLDER_MODE, exist_ok=True)
            if not _ours(folder):
                raise StateError.of("this is no folder of ours, so no ticket is kept there", str(folder), "have it removed")
            if path.exists():
                return False
            text = json.dumps(asdict(ticket) | {"face_value": str(ticket.face_value), "expected_value": str(ticket.expected_value)})
            try:
                write_file(path, text, mode=PRIVATE)
            except (OSError, GpurecError):  # the folder may be gone with the last one that waited in it
                if last:
                    raise
            else:
                break
        return True

    def read(self) -> tuple[tuple[Ticket, ...], tuple[Problem, ...]]:
        """Those that wait, and what is wrong with files that gpurec did not write so."""
        found: list[Ticket] = []
        damaged: list[Problem] = []
        for folder in self.folders:
            for path in sorted(folder.glob("*.json")) if _ours(folder) else ():
                try:
                    found.append(_ticket(path))
                except FileNotFoundError:  # taken in meanwhile
                    continue
                except StateError as error:
                    damaged.extend(error.problems)
        return tuple(found), tuple(damaged)

    def every(self) -> tuple[Ticket, ...]:
        """Those that wait. Raises StateError for a file that gpurec did not write so: then nobody knows all of them."""
        found, damaged = self.read()
        if damaged:
            raise StateError(*damaged)
        return found

    def forget(self, taken: tuple[Ticket, ...]) -> None:
        """Those are in the state. One that stays all the same is taken in again, which changes nothing: as long as it waits, the state
        knows its id."""
        for folder in self.folders if taken else ():
            for ticket in taken:
                with suppress(OSError):
                    (folder / _name(ticket)).unlink()
            with suppress(OSError):  # another one waits by now
                folder.rmdir()


def waiting_tickets(place: RescuePlace) -> WaitingTickets:
    """Those of the state whose rescue journals lie there: beside its file; of a database in any of these folders, by a name that is of no
    other one."""
    stem = stem_of(place.state)
    if "://" not in place.state:
        return WaitingTickets((place.folders[0] / f"{stem}.tickets",))
    name = f"{stem}-{hashlib.sha256(place.state.encode()).hexdigest()[:8]}.tickets"
    return WaitingTickets(tuple(folder / name for folder in place.folders))


def refuse_tickets(place: RescuePlace, then: str) -> None:
    """Raises StateError where one waits, for what would leave it behind; `then` is what to do after it was taken in."""
    if waiting_tickets(place).every():
        raise StateError.of("tickets wait to be taken into this state", place.state, f"gpurec watch --once takes them in, then {then}")


def check_tickets(place: RescuePlace) -> Iterator[StateFinding]:
    """What `gpurec state check` says of them; nothing where none waits."""
    found, damaged = waiting_tickets(place).read()
    if found:
        oldest = min(one.at for one in found)
        what = f"1 ticket waits to be taken in (it counts already), since {oldest}"
        if len(found) > 1:
            what = f"{len(found):,} tickets wait to be taken in (they count already), the oldest since {oldest}"
        yield StateFinding("tickets", StateLevel.WARNING, what, "gpurec watch --once takes them in")
    for one in damaged:
        yield StateFinding("tickets", StateLevel.ERROR, f"{one.where}: {one.what}", one.hint)


def check_no_state(place: RescuePlace, where: str) -> list[StateFinding]:
    """What `gpurec state check` says where there is no state: tickets may wait for one. Raises StateError where none does."""
    waiting = list(check_tickets(place))
    if not waiting:
        raise StateError.of("there is no state yet", where, "the first apply makes it")
    return [StateFinding("state", StateLevel.WARNING, "there is none yet", "gpurec watch --once makes one"), *waiting]


def _name(ticket: Ticket) -> str:
    return f"{hashlib.sha256(ticket.id.encode()).hexdigest()}.json"


def _ours(folder: Path) -> bool:
    """Whether a folder is there, is no link, and is of the user that runs this, or of root."""
    try:
        seen = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(seen.st_mode) and seen.st_uid in (os.getuid(), 0)


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
