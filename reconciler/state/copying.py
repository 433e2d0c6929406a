"""A state copied to another place of either kind, verified before it counts."""

from __future__ import annotations

from contextlib import closing

from reconciler.fleet import StateError
from reconciler.state.sql.connection import allow
from reconciler.state.sql.copying import copy_rows, digest
from reconciler.state.sql.fleet_name import read_fleet
from reconciler.state.sql.reader import SqlReader
from reconciler.state.sql.rescue import refuse_waiting
from reconciler.state.sql.waiting_tickets import refuse_tickets
from reconciler.state.sql.writer import SqlWriter
from reconciler.state.store import Store
from reconciler.value_class import value_class

COMMAND = "state copy"
COPY_SECONDS = 3600.0
"""How long the transaction of one state may wait while the other one is read or written."""


@value_class
class Copied:
    """What was copied: its fleet (None: it says none), its lineage, its serial, and the digest of all rows, which both have."""

    fleet: str | None
    lineage: str | None
    serial: int
    digest: str


def fleet_to_copy(source: Store) -> str | None:
    """The fleet that a state says it is of. Raises StateError where there is no state."""
    with closing(source.reader()) as state:
        assert isinstance(state, SqlReader)
        with state.reading() as conn:
            if conn is None:
                raise StateError.of("there is no state to copy", str(source), "the first apply makes it")
            return read_fleet(conn)


def copy_state(source: Store, to: Store, *, lock_timeout: float = 0, new_folder: bool = False) -> Copied:
    """Copies all but the lock, in one transaction, under the locks of both; the copy counts only when its digest is that of the source.

    The source is left as it is. Raises StateError where `to` holds a state, is for another fleet, or came out otherwise, where the source
    holds none or something of it waits in rescue journals; LockHeld while a run holds one of them.
    """
    if str(source) == str(to) or (source.file is not None and to.file is not None and source.file.resolve() == to.file.resolve()):
        raise StateError.of("this is the state that is to be copied", str(to), "name another place")
    fleet = fleet_to_copy(source)
    refuse_waiting(source.rescues, "copy")
    refuse_tickets(source.rescues, "copy")
    if to.file is None and fleet is not None and to.fleet != fleet:
        what = f"this is the place of the fleet {to.fleet}, and the state is of the fleet {fleet}"
        raise StateError.of(what, str(to), f"leave ?fleet= away, or gpurec state rename-fleet {fleet} {to.fleet} first")
    with (
        source.writer(command=COMMAND, lock_timeout=lock_timeout) as one,
        to.writer(command=COMMAND, lock_timeout=lock_timeout, new_folder=new_folder) as other,
    ):
        assert isinstance(one, SqlWriter)
        assert isinstance(other, SqlWriter)
        if other.applied().lineage is not None:
            raise StateError.of("there is a state already, and a copy overwrites nothing", str(to), "name another place")
        with one.reading() as rows, other.writing() as conn:
            assert rows is not None
            for each in (rows, conn):  # one waits while the other is read or written
                allow(each, COPY_SECONDS)
            copy_rows(rows, conn)
            before, after = digest(rows), digest(conn)
            if before != after:
                what = f"the copy came out otherwise ({after}, not {before}), so nothing was kept of it"
                raise StateError.of(what, str(to), "gpurec state check says whether the source holds what gpurec did not write")
        applied = other.applied()
        other.finish_run(other.begin_run("", "", COMMAND), "done")
    return Copied(fleet, applied.lineage, applied.serial, before)
