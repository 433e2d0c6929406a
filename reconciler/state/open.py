"""From the URL of a state to where it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reconciler.fleet import Frame, HistoryBounds, StateError
from reconciler.state.protocol import StateReader, StateWriter
from reconciler.state.sqlite.frames import keep_looks
from reconciler.state.sqlite.opening import open_writer
from reconciler.state.sqlite.reader import open_reader


class Store(Protocol):
    """Where the state of a fleet is kept, whatever that is. Opened anew for each use."""

    @property
    def file(self) -> Path | None:
        """The file of a state that is one, for what only such a state can: copies, its check, rescue journals, who else may write it. None
        for a database."""
        ...

    def reader(self) -> StateReader:
        """Raises StateError where it cannot be read; one that is not there yet reads as empty."""
        ...

    def writer(
        self, *, command: str, fleet: str | None = None, new_folder: bool = False, lock_timeout: float = 0
    ) -> AbstractContextManager[StateWriter]:
        """Under the lease, which it takes and gives back. Raises LockHeld; StateError where it cannot be written or is of another fleet."""
        ...

    def keep_looks(self, looks: Sequence[Frame], *, fleet: str, bounds: HistoryBounds, new_folder: bool = False) -> str | None:
        """Adds looks, the oldest first, to the history of facts, without the lease, and says so where the state was set up for it. What is
        written and forgotten is `reconciler.state.frames.change_of`.

        Raises LockHeld where a run that has the lease must be over first: the looks are to be given again then. Raises StateError where it
        cannot be written or is of another fleet.
        """
        ...


@dataclass(frozen=True, slots=True)
class SqliteStore:
    """A state in one file of this machine."""

    file: Path

    def reader(self) -> StateReader:
        return open_reader(self.file)

    def writer(
        self, *, command: str, fleet: str | None = None, new_folder: bool = False, lock_timeout: float = 0
    ) -> AbstractContextManager[StateWriter]:
        return open_writer(self.file, command=command, fleet=fleet, new_folder=new_folder, lock_timeout=lock_timeout)

    def keep_looks(self, looks: Sequence[Frame], *, fleet: str, bounds: HistoryBounds, new_folder: bool = False) -> str | None:
        return keep_looks(self.file, looks, fleet=fleet, bounds=bounds, new_folder=new_folder)


def open_state(url: str, folder: Path = Path()) -> Store:
    """The state of `sqlite:///PATH`, or of a mere path; `folder` is what a relative one is below (`sqlite:////PATH` is absolute).

    Raises StateError for a kind that cannot be opened. Nothing of the URL is quoted: it may hold a password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return SqliteStore(folder / url)
    if scheme in ("postgresql", "postgres"):
        what = "a state in PostgreSQL needs the extra `postgres`, which this version of gpurec does not have yet"
        raise StateError.of(what, "--state", "name a file: sqlite:///PATH or a path")
    if scheme != "sqlite":
        raise StateError.of(f"a state of kind {scheme[:40]!r} cannot be opened", "--state", "write sqlite:///PATH or a path")
    return SqliteStore(folder / rest.removeprefix("/") if not rest.startswith("//") else Path(rest[1:]))
