"""Opening a store in PostgreSQL for writing: the wait for the lease, and the end of the block."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime

from reconciler.state.lease import Lease, OwnLease, Standing, iso, lock_held, refuse_if_held
from reconciler.state.postgres.address import Address
from reconciler.state.postgres.connection import PostgresConnection, connect, postgres_said
from reconciler.state.postgres.lease import Heartbeat, read_lease, take_lease
from reconciler.state.postgres.schema import migrate, schema_version
from reconciler.state.postgres.writer import PostgresWriter
from reconciler.state.process import this_process
from reconciler.state.sql.connection import Unwritable
from reconciler.state.sql.fleet_name import refuse_other_fleet
from reconciler.state.sql.lease import release_lease, unless_heard_of, when_free
from reconciler.state.sql.rescue import RescuePlace, kept_apart

_LATER_SECONDS = 1.0


def _now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def open_writer(
    address: Address,
    rescues: RescuePlace,
    *,
    command: str,
    fleet: str | None = None,
    clock: Callable[[], datetime] = _now,
    lock_timeout: float = 0,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[PostgresWriter]:
    """Takes the lease of a store, setting up the tables of its fleet where missing, and gives it back at the end of the block.

    The same as of a store in a file; the lease goes by the server's clock, everything else by `clock`.
    """
    conn, held, new = when_free(lambda: _take(address, command, fleet, clock, sleep), lock_timeout, sleep)
    writer = PostgresWriter(address, conn, held, clock, rescues, fleet=fleet, new=new, sleep=sleep)
    heartbeat = Heartbeat(lambda: writer.address, held)
    try:
        heartbeat.start()
        try:
            yield writer
        except Exception as error:
            if writer.rescue is not None:
                raise kept_apart(writer.rescue, writer.unwritable, error) from error
            raise
        finally:
            heartbeat.stop()
            try:
                _release(writer.address, held)
            except Unwritable:  # a process that ends is replaced; one that goes on must not stand in its own way
                threading.Thread(target=_release_later, args=(writer.address, held), name="lease-release", daemon=True).start()
    finally:
        writer.end()
    if writer.rescue is not None:
        raise kept_apart(writer.rescue, writer.unwritable, None)


def _release(address: Address, held: OwnLease) -> None:
    with postgres_said(str(address)), closing(connect(address)) as conn:
        release_lease(conn, held)


def _release_later(address: Address, held: OwnLease) -> None:
    """Gives the lease back as soon as the server is there again."""
    while True:
        time.sleep(_LATER_SECONDS)
        with suppress(Unwritable):
            return _release(address, held)


def _take(
    address: Address, command: str, fleet: str | None, clock: Callable[[], datetime], sleep: Callable[[float], None]
) -> tuple[PostgresConnection, OwnLease, bool]:
    """A connection with the lease, and whether the store is a new one. Nothing older is migrated while a run holds it."""
    conn, where, watched = connect(address), str(address), None
    try:
        with postgres_said(where):
            if schema_version(conn, where):
                refuse_other_fleet(conn, where, fleet)
                held, now = read_lease(conn)
                refuse_if_held(held, where, now, this_process())
                watched = _watch(conn, where, held, now, sleep)
            new = migrate(conn, address, iso(clock()))
            return conn, take_lease(conn, where, command, watched), new
    except BaseException:
        conn.close()
        raise


def _watch(conn: PostgresConnection, where: str, lease: Lease | None, now: datetime, sleep: Callable[[float], None]) -> Lease | None:
    """The lease of a holder that may be dead. Both its heartbeat and `now` are of the server's clock, so an old one is old; one of the
    future was given by another server, whose clock was ahead: it is watched for as long as a lease lasts. Raises LockHeld as soon as it
    moves."""
    if lease is None or lease.standing(this_process(), now) is not Standing.EXPIRED or lease.age(now) > 0:
        return lease
    return unless_heard_of(lease, lambda: read_lease(conn)[0], lambda found: lock_held(found, where), sleep)
