"""What a run tells the store of what already happened: each entry is written to the database, or kept as a line of a rescue journal."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

from reconciler.fleet import AppliedReplica, AppliedResource, Incident, StateError
from reconciler.state.protocol import Learned, Measurement, SettledStep, StepStatus
from reconciler.state.sql.connection import Connection, put
from reconciler.state.sql.ranges import ASKED_TOKENS, SIZE
from reconciler.state.sql.rows import REPLICA_COLUMNS, change_body, fields_text, key_text, replica_row
from reconciler.state.sql.tags import tag_base, write_tags
from reconciler.value_class import value_class

_REPLICA_COLUMNS = REPLICA_COLUMNS.split(", ")


@value_class
class StepFinished:
    """`at` is ISO 8601 in UTC, here as below; `seconds` since the step's start."""

    run_id: int
    step_id: str
    status: StepStatus
    reason: str | None
    at: str
    seconds: float | None
    op: Literal["step_finished"] = "step_finished"


@value_class
class StepsSettled:
    run_id: int
    steps: tuple[SettledStep, ...]
    at: str
    op: Literal["steps_settled"] = "steps_settled"


@value_class
class Recorded:
    """What is owned now, and the addresses that no longer are."""

    replicas: tuple[AppliedReplica, ...]
    gone: tuple[str, ...]
    op: Literal["recorded"] = "recorded"


@value_class
class ResourcesRecorded:
    """The same of other kinds of resources than models."""

    resources: tuple[AppliedResource, ...]
    gone: tuple[str, ...]
    op: Literal["resources_recorded"] = "resources_recorded"


@value_class
class MeasuredEntry:
    measurements: tuple[Measurement, ...]
    op: Literal["measured"] = "measured"


@value_class
class Befell:
    """An incident of a replica; those of more than a day before it are dropped."""

    incident: Incident
    op: Literal["befell"] = "befell"


@value_class
class NeedsLearned:
    needs: tuple[Learned, ...]
    op: Literal["needs_learned"] = "needs_learned"


@value_class
class RunFinishedEntry:
    run_id: int
    result: str
    at: str
    seconds: float | None
    unplaced: int
    deferred: int
    op: Literal["run_finished"] = "run_finished"


Entry = StepFinished | StepsSettled | Recorded | ResourcesRecorded | MeasuredEntry | NeedsLearned | Befell | RunFinishedEntry


def write_entry(conn: Connection, entry: Entry, move_serial: Callable[[], int]) -> None:
    """Writes one entry inside the caller's transaction. `move_serial` gives the serial of what is recorded, and is called only for that."""
    match entry:
        case StepFinished():
            _finish_step(conn, entry)
        case StepsSettled():
            _settle_steps(conn, entry)
        case Recorded():
            _record(conn, entry, move_serial)
        case ResourcesRecorded():
            _record_resources(conn, entry, move_serial)
        case MeasuredEntry():
            _measure(conn, entry, move_serial)
        case Befell(incident):
            conn.execute(
                "INSERT INTO incidents (address, code, at, asked, evictor) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (incident.address, incident.code, incident.at, incident.asked, incident.evictor),
            )
            conn.execute("DELETE FROM incidents WHERE at < ?", (_a_day_before(incident.at),))
        case NeedsLearned():
            _learn(conn, entry, move_serial)
        case RunFinishedEntry():
            row = (entry.result, entry.at, entry.seconds, entry.unplaced, entry.deferred, entry.run_id)
            conn.execute("UPDATE runs SET result = ?, finished_at = ?, seconds = ?, unplaced = ?, deferred = ? WHERE id = ?", row)


def _finish_step(conn: Connection, entry: StepFinished) -> None:
    done = conn.execute(
        "UPDATE journal SET status = ?, reason = ?, finished_at = ?, seconds = ? WHERE run_id = ? AND step_id = ?",
        (entry.status, entry.reason, entry.at, entry.seconds, entry.run_id, entry.step_id),
    )
    if done.rowcount != 1:
        raise StateError.of(f"step {entry.step_id!r} of run {entry.run_id} was never started")


def _settle_steps(conn: Connection, entry: StepsSettled) -> None:
    conn.executemany(
        "INSERT INTO journal (run_id, step_id, address, action, status, reason, started_at, finished_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run_id, step_id) DO UPDATE SET "
        "status = excluded.status, reason = excluded.reason, finished_at = excluded.finished_at",
        [(entry.run_id, one.step_id, one.address, one.action, one.status, one.reason, entry.at, entry.at) for one in entry.steps],
    )


def _record(conn: Connection, entry: Recorded, move_serial: Callable[[], int]) -> None:
    if not entry.replicas and not entry.gone:
        return
    serial = move_serial()
    conn.executemany("DELETE FROM replicas WHERE address = ?", [(address,) for address in entry.gone])
    put(conn, "replicas", _REPLICA_COLUMNS, ("address",), [replica_row(replica, serial) for replica in entry.replicas])
    write_tags(conn, [(one.at, one.engine_name, base) for one in entry.replicas if (base := tag_base(one)) is not None])
    changed = {**dict.fromkeys(entry.gone), **{replica.address: change_body(replica) for replica in entry.replicas}}
    put(conn, "changes", ("address", "serial", "body"), ("address", "serial"), [(one, serial, body) for one, body in changed.items()])


def _record_resources(conn: Connection, entry: ResourcesRecorded, move_serial: Callable[[], int]) -> None:
    if not entry.resources and not entry.gone:
        return
    serial = move_serial()
    conn.executemany("DELETE FROM resources WHERE address = ?", [(address,) for address in entry.gone])
    rows = [(one.address, fields_text(one.fields), one.written, serial) for one in entry.resources]
    put(conn, "resources", ("address", "fields", "written", "serial"), ("address",), rows)


def _measure(conn: Connection, entry: MeasuredEntry, move_serial: Callable[[], int]) -> None:
    written = conn.executemany(
        "INSERT INTO load_times (kind, engine_name, context, load_seconds) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (kind, engine_name, coalesce(context, -1)) DO UPDATE SET load_seconds = excluded.load_seconds "
        "WHERE coalesce(load_times.load_seconds, -1) <> excluded.load_seconds",
        [(one.key.kind.value, one.key.engine_name, ASKED_TOKENS.known(one.key.context), one.load_seconds) for one in entry.measurements],
    )
    if written.rowcount > 0:
        move_serial()


def _learn(conn: Connection, entry: NeedsLearned, move_serial: Callable[[], int]) -> None:
    written = conn.executemany(
        "INSERT INTO needs (key, reported_bytes, card_bytes) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
        "reported_bytes = excluded.reported_bytes, card_bytes = CASE WHEN excluded.card_bytes IS NULL "
        "AND needs.reported_bytes IS NOT NULL THEN needs.card_bytes ELSE excluded.card_bytes END "
        "WHERE coalesce(excluded.reported_bytes, -1) <> coalesce(needs.reported_bytes, -1) "
        "OR coalesce(excluded.card_bytes, needs.card_bytes, -1) <> coalesce(needs.card_bytes, -1)",
        [(key_text(one.key), SIZE.known(one.value.reported_bytes), SIZE.known(one.value.card_bytes)) for one in entry.needs],
    )
    if written.rowcount > 0:
        move_serial()


def _a_day_before(at: str) -> str:
    """The same moment of the day before. Incidents are in UTC to the second or finer, so their texts stand in the order of time."""
    before = datetime.fromisoformat(at).astimezone(UTC) - timedelta(days=1)
    return before.isoformat(timespec="microseconds").replace("+00:00", "Z")
