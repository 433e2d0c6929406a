"""What a run tells the store of what already happened: each entry is written to the database, or kept as a line of a rescue journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from reconciler.fleet import AppliedReplica, AppliedResource, Incident, StateError
from reconciler.state.protocol import Learned, Measurement, SettledStep, StepStatus
from reconciler.state.sqlite.rows import REPLICA_COLUMNS, change_body, fields_text, key_text, replica_row, whole
from reconciler.state.sqlite.tags import tag_base, write_tags

_REPLICA_MARKS = ", ".join("?" * len(REPLICA_COLUMNS.split(",")))


@dataclass(frozen=True, slots=True)
class StepFinished:
    """`at` is ISO 8601 in UTC, here as below; `seconds` since the step's start."""

    run_id: int
    step_id: str
    status: StepStatus
    reason: str | None
    at: str
    seconds: float | None
    op: Literal["step_finished"] = "step_finished"


@dataclass(frozen=True, slots=True)
class StepsSettled:
    run_id: int
    steps: tuple[SettledStep, ...]
    at: str
    op: Literal["steps_settled"] = "steps_settled"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is owned now, and the addresses that no longer are."""

    replicas: tuple[AppliedReplica, ...]
    gone: tuple[str, ...]
    op: Literal["recorded"] = "recorded"


@dataclass(frozen=True, slots=True)
class ResourcesRecorded:
    """The same of other kinds of resources than models."""

    resources: tuple[AppliedResource, ...]
    gone: tuple[str, ...]
    op: Literal["resources_recorded"] = "resources_recorded"


@dataclass(frozen=True, slots=True)
class Measured:
    measurements: tuple[Measurement, ...]
    op: Literal["measured"] = "measured"


@dataclass(frozen=True, slots=True)
class Befell:
    """An incident of a replica; those of more than a day before it are dropped."""

    incident: Incident
    op: Literal["befell"] = "befell"


@dataclass(frozen=True, slots=True)
class NeedsLearned:
    needs: tuple[Learned, ...]
    op: Literal["needs_learned"] = "needs_learned"


@dataclass(frozen=True, slots=True)
class RunFinished:
    run_id: int
    result: str
    at: str
    seconds: float | None
    unplaced: int
    deferred: int
    op: Literal["run_finished"] = "run_finished"


Entry = StepFinished | StepsSettled | Recorded | ResourcesRecorded | Measured | NeedsLearned | Befell | RunFinished


def write_entry(conn: sqlite3.Connection, entry: Entry, move_serial: Callable[[], int]) -> None:
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
        case Measured():
            _measure(conn, entry, move_serial)
        case Befell(incident):
            conn.execute(
                "INSERT OR IGNORE INTO incidents (address, code, at, asked, evictor) VALUES (?, ?, ?, ?, ?)",
                (incident.address, incident.code, incident.at, incident.asked, incident.evictor),
            )
            conn.execute("DELETE FROM incidents WHERE julianday(at) < julianday(?) - 1", (incident.at,))
        case NeedsLearned():
            _learn(conn, entry, move_serial)
        case RunFinished():
            row = (entry.result, entry.at, entry.seconds, entry.unplaced, entry.deferred, entry.run_id)
            conn.execute("UPDATE runs SET result = ?, finished_at = ?, seconds = ?, unplaced = ?, deferred = ? WHERE id = ?", row)


def _finish_step(conn: sqlite3.Connection, entry: StepFinished) -> None:
    done = conn.execute(
        "UPDATE journal SET status = ?, reason = ?, finished_at = ?, seconds = ? WHERE run_id = ? AND step_id = ?",
        (entry.status, entry.reason, entry.at, entry.seconds, entry.run_id, entry.step_id),
    )
    if done.rowcount != 1:
        raise StateError.of(f"step {entry.step_id!r} of run {entry.run_id} was never started")


def _settle_steps(conn: sqlite3.Connection, entry: StepsSettled) -> None:
    conn.executemany(
        "INSERT INTO journal (run_id, step_id, address, action, status, reason, started_at, finished_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run_id, step_id) DO UPDATE SET "
        "status = excluded.status, reason = excluded.reason, finished_at = excluded.finished_at",
        [(entry.run_id, one.step_id, one.address, one.action, one.status, one.reason, entry.at, entry.at) for one in entry.steps],
    )


def _record(conn: sqlite3.Connection, entry: Recorded, move_serial: Callable[[], int]) -> None:
    if not entry.replicas and not entry.gone:
        return
    serial = move_serial()
    conn.executemany("DELETE FROM replicas WHERE address = ?", [(address,) for address in entry.gone])
    conn.executemany(
        f"INSERT OR REPLACE INTO replicas ({REPLICA_COLUMNS}) VALUES ({_REPLICA_MARKS})",  # noqa: S608
        [replica_row(replica, serial) for replica in entry.replicas],
    )
    write_tags(conn, [(one.at, one.engine_name, base) for one in entry.replicas if (base := tag_base(one)) is not None])
    changed = {**dict.fromkeys(entry.gone), **{replica.address: change_body(replica) for replica in entry.replicas}}
    conn.executemany("INSERT OR REPLACE INTO changes VALUES (?, ?, ?)", [(address, serial, body) for address, body in changed.items()])


def _record_resources(conn: sqlite3.Connection, entry: ResourcesRecorded, move_serial: Callable[[], int]) -> None:
    if not entry.resources and not entry.gone:
        return
    serial = move_serial()
    conn.executemany("DELETE FROM resources WHERE address = ?", [(address,) for address in entry.gone])
    conn.executemany(
        "INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?)",
        [(one.address, fields_text(one.fields), one.written, serial) for one in entry.resources],
    )


def _measure(conn: sqlite3.Connection, entry: Measured, move_serial: Callable[[], int]) -> None:
    before = conn.total_changes
    conn.executemany(
        "INSERT INTO load_times (kind, engine_name, context, load_seconds) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (kind, engine_name, ifnull(context, -1)) DO UPDATE SET load_seconds = excluded.load_seconds "
        "WHERE excluded.load_seconds IS NOT load_seconds",
        [(one.key.kind.value, one.key.engine_name, whole(one.key.context), one.load_seconds) for one in entry.measurements],
    )
    if conn.total_changes > before:
        move_serial()


def _learn(conn: sqlite3.Connection, entry: NeedsLearned, move_serial: Callable[[], int]) -> None:
    before = conn.total_changes
    conn.executemany(
        "INSERT INTO needs VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
        "reported_bytes = excluded.reported_bytes, "
        "card_bytes = CASE WHEN excluded.card_bytes IS NULL AND reported_bytes IS NOT NULL THEN card_bytes ELSE excluded.card_bytes END "
        "WHERE excluded.reported_bytes IS NOT reported_bytes OR ifnull(excluded.card_bytes, card_bytes) IS NOT card_bytes",
        [(key_text(one.key), whole(one.value.reported_bytes), whole(one.value.card_bytes)) for one in entry.needs],
    )
    if conn.total_changes > before:
        move_serial()
