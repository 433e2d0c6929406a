"""A state in one file of this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from reconciler.fleet import StateError
from reconciler.state.finding import StateFinding
from reconciler.state.lease import Lock
from reconciler.state.protocol import StateReader
from reconciler.state.shards import ShardBoard
from reconciler.state.sql.beside import Found, WrittenBeside
from reconciler.state.sql.connection import Connection
from reconciler.state.sql.rescue import RescuePlace, RescueWriter
from reconciler.state.sqlite.beside import write_beside
from reconciler.state.sqlite.check import check_state
from reconciler.state.sqlite.connection import require_folder, rescue_place
from reconciler.state.sqlite.fleet_name import check_fleet
from reconciler.state.sqlite.lock import break_lock, look_at_lock
from reconciler.state.sqlite.opening import open_writer
from reconciler.state.sqlite.reader import open_reader
from reconciler.value_class import value_class


@value_class
class SqliteStore(WrittenBeside):
    """A Store in an SQLite file."""

    file: Path

    def __str__(self) -> str:
        return str(self.file)

    @property
    def fleet(self) -> str:
        return self.file.stem

    @property
    def rescues(self) -> RescuePlace:
        return rescue_place(self.file)

    def exists(self) -> bool:
        return self.file.exists()

    def check_fleet(self, fleet: str | None, inventory: str | None = None) -> None:
        check_fleet(self.file, fleet, inventory)

    def check_place(self) -> None:
        require_folder(self.file)

    def reader(self) -> StateReader:
        return open_reader(self.file)

    def writer(
        self, *, command: str, fleet: str | None = None, new_folder: bool = False, lock_timeout: float = 0
    ) -> AbstractContextManager[RescueWriter]:
        return open_writer(self.file, command=command, fleet=fleet, new_folder=new_folder, lock_timeout=lock_timeout)

    def _beside(self, write: Callable[[Connection], Found], fleet: str, new_folder: bool) -> tuple[Found, str | None]:
        return write_beside(self.file, write, fleet, new_folder)

    def lock(self) -> Lock | None:
        return look_at_lock(self.file)

    def break_lock(self, lock: Lock) -> None:
        break_lock(self.file, lock)

    def shards(self, fleet: str) -> ShardBoard:
        what = "the loops of a fleet that is watched in shards find each other in its state, and this one is a file of one machine"
        raise StateError.of(what, str(self), f"gpurec state copy {self} postgresql://USER@HOST/DATABASE, and watch with that --state")

    def check(self) -> Sequence[StateFinding]:
        return check_state(self.file)
