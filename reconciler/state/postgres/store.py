"""A state in a database that a team shares."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime
from pathlib import Path

from reconciler.fleet import StateError
from reconciler.state.finding import StateFinding
from reconciler.state.lease import Lock, iso
from reconciler.state.postgres.address import Address, parse
from reconciler.state.postgres.check import check_state
from reconciler.state.postgres.connection import connect, postgres_said
from reconciler.state.postgres.lease import read_lease
from reconciler.state.postgres.opening import open_writer
from reconciler.state.postgres.reader import open_reader
from reconciler.state.postgres.schema import fleets, migrate, schema_version
from reconciler.state.postgres.shards import PostgresShards
from reconciler.state.process import this_process
from reconciler.state.protocol import StateReader
from reconciler.state.shards import ShardBoard
from reconciler.state.sql.beside import Found, WrittenBeside
from reconciler.state.sql.connection import Connection
from reconciler.state.sql.fleet_name import OtherFleet, read_fleet, refuse_other_fleet, refuse_other_inventory, write_fleet
from reconciler.state.sql.lease import break_lease
from reconciler.state.sql.rescue import RescuePlace, RescueWriter
from reconciler.value_class import value_class


@value_class
class PostgresStore(WrittenBeside):
    """A Store in the schema of a fleet. `folder` is where rescue journals lie."""

    address: Address
    folder: Path

    def __str__(self) -> str:
        return str(self.address)

    @property
    def file(self) -> Path | None:
        return None

    @property
    def fleet(self) -> str:
        return self.address.fleet or ""

    @property
    def rescues(self) -> RescuePlace:
        temporary = Path(tempfile.gettempdir())
        return RescuePlace(str(self), (self.folder, temporary) if self.folder.is_dir() else (temporary,))

    def exists(self) -> bool:
        with closing(connect(self.address)) as conn, postgres_said(str(self)):
            return schema_version(conn, str(self)) > 0

    def check_fleet(self, fleet: str | None, inventory: str | None = None) -> None:
        if fleet is None:
            return
        try:
            with closing(connect(self.address)) as conn, postgres_said(str(self)):
                if schema_version(conn, str(self)):
                    refuse_other_fleet(conn, str(self), fleet)
                    refuse_other_inventory(conn, str(self), fleet, inventory)
        except OtherFleet:
            raise
        except StateError:
            return

    def check_place(self) -> None:
        """A database that is there was meant; one that is not says so by itself."""

    def reader(self) -> StateReader:
        return open_reader(self.address)

    def writer(
        self, *, command: str, fleet: str | None = None, new_folder: bool = False, lock_timeout: float = 0
    ) -> AbstractContextManager[RescueWriter]:
        return open_writer(self.address, self.rescues, command=command, fleet=fleet, lock_timeout=lock_timeout)

    def _beside(self, write: Callable[[Connection], Found], fleet: str, new_folder: bool) -> tuple[Found, str | None]:
        with closing(connect(self.address)) as conn, postgres_said(str(self)):
            new = migrate(conn, self.address, iso(datetime.now(UTC)))
            conn.begin()
            try:
                conn.execute("LOCK TABLE frames IN SHARE ROW EXCLUSIVE MODE")  # several may watch
                refuse_other_fleet(conn, str(self), fleet)
                if new and read_fleet(conn) is None:
                    write_fleet(conn, fleet)
                found = write(conn)
                conn.commit()
            except BaseException:
                conn.rollback()
                raise
        return found, f"set up a new state for the fleet {fleet}: {self}" if new else None

    def lock(self) -> Lock | None:
        with closing(connect(self.address)) as conn, postgres_said(str(self)):
            if schema_version(conn, str(self)) == 0:
                return None
            lease, now = read_lease(conn)
        return None if lease is None else Lock(lease, lease.standing(this_process(), now))

    def break_lock(self, lock: Lock) -> None:
        with closing(connect(self.address)) as conn, postgres_said(str(self)):
            if not break_lease(conn, lock.lease.owner):
                raise StateError.of("the lock has changed hands since it was looked at", str(self), "see gpurec lock status")

    def shards(self, fleet: str) -> ShardBoard:
        return PostgresShards(self.address, fleet)

    def check(self) -> Sequence[StateFinding]:
        return check_state(self.address, self.rescues)


def open_postgres(url: str, fleet: str | None, folder: Path) -> PostgresStore:
    """The store of a URL, of the fleet that it names, else of `fleet`, else of the only one in the database.

    Raises StateError for a URL that is none, holds a password, or leaves open which fleet is meant.
    """
    address = parse(url, fleet)
    if address.fleet is None:
        address = address.of(_only_fleet(address))
    return PostgresStore(address, folder)


def _only_fleet(address: Address) -> str:
    with closing(connect(address)) as conn, postgres_said(str(address)):
        found = fleets(conn)
    if len(found) != 1:
        what = f"the database holds states of {len(found)} fleets: {', '.join(found[:10])}" if found else "the database holds no state yet"
        raise StateError.of(what, str(address), "say which: --fleet NAME, or ?fleet=NAME in the URL")
    return found[0]
