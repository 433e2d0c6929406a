"""The tables of the store and how an older store becomes a newer one. A store newer than this program is refused, never touched."""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from reconciler.fleet import StateError

APPLICATION_ID = 0x67707263
"""`gprc` in the SQLite file header: tells a state from any other SQLite file."""


class _NoNumpy:
    """While it is there, nothing finds numpy in this thread. sqlite-utils brings it in wherever it is installed, to know the types of its
    arrays, and a loop that makes a state would carry its 14 MB for weeks."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == "numpy" and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(name)


def _first(conn: sqlite3.Connection) -> None:
    sys.meta_path.insert(0, finder := _NoNumpy())
    try:
        from sqlite_utils import Database
    finally:
        sys.meta_path.remove(finder)

    db = Database(conn)
    db.table("meta").create({"key": str, "value": str}, pk="key", strict=True)
    db.table("replicas").create(
        {
            "address": str,
            "model": str,
            "node": str,
            "engine": str,
            "engine_name": str,
            "ensure": str,
            "context": int,
            "options": str,
            "keep_alive": float,
            "residency": str,
            "observed_context": int,
            "observed_gpu_fraction": float,
            "observed_pinned": int,
            "vram_bytes": int,
            "serial": int,
        },
        pk="address",
        not_null={"model", "node", "engine", "engine_name", "ensure", "options", "residency", "serial"},
        strict=True,
    )
    db.table("measured").create(
        {"id": int, "kind": str, "engine_name": str, "context": int, "vram_bytes": int, "load_seconds": float},
        pk="id",
        not_null={"kind", "engine_name"},
        strict=True,
    )
    # An unknown context is one value of the key; in a plain unique index two NULLs would differ.
    conn.execute("CREATE UNIQUE INDEX measured_key ON measured (kind, engine_name, ifnull(context, -1))")
    db.table("facts").create({"node": str, "body": str}, pk="node", not_null={"body"}, strict=True)
    db.table("runs").create(
        {
            "id": int,
            "serial": int,
            "plan_digest": str,
            "config_digest": str,
            "who": str,
            "host": str,
            "command": str,
            "started_at": str,
            "finished_at": str,
            "result": str,
        },
        pk="id",
        not_null={"serial", "plan_digest", "config_digest", "who", "host", "command", "started_at", "result"},
        strict=True,
    )
    db.table("journal").create(
        {
            "run_id": int,
            "step_id": str,
            "address": str,
            "action": str,
            "status": str,
            "reason": str,
            "started_at": str,
            "finished_at": str,
        },
        pk=("run_id", "step_id"),
        not_null={"address", "action", "status", "started_at"},
        foreign_keys=[("run_id", "runs", "id")],
        strict=True,
    )
    db.table("lease").create(
        {
            "id": int,
            "token": int,
            "owner": str,
            "who": str,
            "host": str,
            "boot": str,
            "pid": int,
            "process_started": int,
            "command": str,
            "since": str,
            "heartbeat": str,
            "heartbeat_at": float,
        },
        pk="id",
        not_null={"token"},
        strict=True,
    )
    conn.execute("INSERT INTO lease (id, token) VALUES (1, 0)")


def _second(conn: sqlite3.Connection) -> None:
    """The pid namespace apart from the boot id, the CI job of a run, how long runs and steps took, and what a run left undone."""
    conn.execute("ALTER TABLE lease ADD COLUMN namespace TEXT")
    conn.execute("ALTER TABLE lease ADD COLUMN ci TEXT")
    conn.execute(
        "UPDATE lease SET namespace = substr(boot, instr(boot, ' ') + 1), boot = substr(boot, 1, instr(boot, ' ') - 1) "
        "WHERE instr(boot, ' ') > 0"
    )
    conn.execute("ALTER TABLE runs ADD COLUMN ci TEXT")
    conn.execute("ALTER TABLE runs ADD COLUMN seconds REAL")
    conn.execute("ALTER TABLE runs ADD COLUMN unplaced INTEGER NOT NULL DEFAULT 0")
    conn.execute("ALTER TABLE runs ADD COLUMN deferred INTEGER NOT NULL DEFAULT 0")
    conn.execute("ALTER TABLE journal ADD COLUMN seconds REAL")
    # Every run asks for what an earlier one left open; without these that would read all of history.
    conn.execute("CREATE INDEX journal_open ON journal (run_id) WHERE status = 'started'")
    conn.execute("CREATE INDEX runs_open ON runs (id) WHERE result = 'running'")


def _third(conn: sqlite3.Connection) -> None:
    """What was owned at each serial, as changes: a run adds a row for each replica that it changes, and none for the others."""
    conn.execute("CREATE TABLE changes (address TEXT, serial INTEGER, body TEXT, PRIMARY KEY (address, serial)) STRICT, WITHOUT ROWID")
    # Of a state that is older than this table only what it holds now is known.
    conn.execute("INSERT INTO meta SELECT 'changes_since', value FROM meta WHERE key = 'serial'")
    conn.execute(
        "INSERT INTO changes SELECT address, (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'serial'), json_array(model, node, "
        "engine, engine_name, ensure, context, json(options), keep_alive, residency, vram_bytes) FROM replicas"
    )


def _fourth(conn: sqlite3.Connection) -> None:
    """What is protected stays so after it left the files."""
    conn.execute("ALTER TABLE replicas ADD COLUMN protect INTEGER NOT NULL DEFAULT 0")


def _fifth(conn: sqlite3.Connection) -> None:
    """What engines tell of model files, once for all engines that have the same weights."""
    conn.execute("CREATE TABLE headers (key TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID")


def _sixth(conn: sqlite3.Connection) -> None:
    """What befell replicas lately, so that no repair goes round in a circle."""
    conn.execute(
        "CREATE TABLE incidents (address TEXT, code TEXT, at TEXT, asked TEXT NOT NULL, PRIMARY KEY (address, code, at)) "
        "STRICT, WITHOUT ROWID"
    )


def _seventh(conn: sqlite3.Connection) -> None:
    """Since when an engine cannot be reached; a row goes as soon as it can."""
    conn.execute("CREATE TABLE silent (node TEXT, engine TEXT, since TEXT NOT NULL, PRIMARY KEY (node, engine)) STRICT, WITHOUT ROWID")


def _eighth(conn: sqlite3.Connection) -> None:
    """Needs by all that they depend on, instead of by name and context; of the older ones nobody can say what they were measured of."""
    conn.execute("DELETE FROM measured WHERE load_seconds IS NULL")
    conn.execute("DROP INDEX measured_key")
    conn.execute("ALTER TABLE measured DROP COLUMN vram_bytes")
    conn.execute("ALTER TABLE measured RENAME TO load_times")
    conn.execute("CREATE UNIQUE INDEX load_times_key ON load_times (kind, engine_name, ifnull(context, -1))")
    conn.execute("CREATE TABLE needs (key TEXT PRIMARY KEY, reported_bytes INTEGER, card_bytes INTEGER) STRICT, WITHOUT ROWID")


def _ninth(conn: sqlite3.Connection) -> None:
    """How hot a card was when it was looked at last, where it was hot at all."""
    conn.execute("CREATE TABLE heat (node TEXT, gpu INTEGER, level INTEGER NOT NULL, PRIMARY KEY (node, gpu)) STRICT, WITHOUT ROWID")


def _tenth(conn: sqlite3.Connection) -> None:
    """Which node was renamed, so that what an earlier run did is told of the name of now."""
    conn.execute(
        "CREATE TABLE renames (run_id INTEGER PRIMARY KEY REFERENCES runs (id), serial INTEGER NOT NULL, old TEXT NOT NULL, "
        "new TEXT NOT NULL) STRICT"
    )


def _eleventh(conn: sqlite3.Connection) -> None:
    """What a replica was evicted for, so that those that evict each other in turn are seen to; and which derived tags are ours."""
    conn.execute("ALTER TABLE incidents ADD COLUMN evictor TEXT")
    conn.execute(
        "CREATE TABLE tags (node TEXT, engine TEXT, name TEXT, base TEXT NOT NULL, PRIMARY KEY (node, engine, name)) STRICT, WITHOUT ROWID"
    )
    for (body,) in conn.execute("SELECT body FROM changes WHERE body IS NOT NULL").fetchall():
        _, node, engine, name, _, context, *_ = json.loads(body)
        suffix = f"-c{context}"
        if name.endswith(suffix):
            conn.execute("INSERT OR IGNORE INTO tags VALUES (?, ?, ?, ?)", (node, engine, name, name.removesuffix(suffix)))


def _twelfth(conn: sqlite3.Connection) -> None:
    """The heat of cards whose id is a name: `amd0` on a node with cards of two vendors."""
    rows = conn.execute("SELECT node, gpu, level FROM heat").fetchall()
    conn.execute("DROP TABLE heat")
    conn.execute("CREATE TABLE heat (node TEXT, gpu ANY, level INTEGER NOT NULL, PRIMARY KEY (node, gpu)) STRICT, WITHOUT ROWID")
    conn.executemany("INSERT INTO heat VALUES (?, ?, ?)", rows)


def _thirteenth(conn: sqlite3.Connection) -> None:
    """What the load of a replica was charged to, card by card; of the older ones nobody has written it down."""
    conn.execute("ALTER TABLE replicas ADD COLUMN charges TEXT")


def _fourteenth(conn: sqlite3.Connection) -> None:
    """Resources of other kinds than models: their fields, and the text that was written, where they are one."""
    conn.execute(
        "CREATE TABLE resources (address TEXT PRIMARY KEY, fields TEXT NOT NULL, written TEXT, serial INTEGER NOT NULL) "
        "STRICT, WITHOUT ROWID"
    )


def _fifteenth(conn: sqlite3.Connection) -> None:
    """History of facts: a row is a look at the whole fleet (`span` 0), or its mean over so many seconds. With a rowid: rows are large."""
    conn.execute("CREATE TABLE frames (span INTEGER, at INTEGER, body BLOB NOT NULL, PRIMARY KEY (span, at)) STRICT")


def _sixteenth(conn: sqlite3.Connection) -> None:
    """The same columns and keys as in PostgreSQL: the id of a card as JSON, and an index that both have."""
    conn.execute("DROP INDEX load_times_key")
    conn.execute("CREATE UNIQUE INDEX load_times_key ON load_times (kind, engine_name, coalesce(context, -1))")
    rows = [(node, json.dumps(gpu), level) for node, gpu, level in conn.execute("SELECT node, gpu, level FROM heat")]
    conn.execute("DROP TABLE heat")
    conn.execute("CREATE TABLE heat (node TEXT, gpu TEXT, level INTEGER NOT NULL, PRIMARY KEY (node, gpu)) STRICT, WITHOUT ROWID")
    conn.executemany("INSERT INTO heat VALUES (?, ?, ?)", rows)


def _seventeenth(conn: sqlite3.Connection) -> None:
    """What is wanted beside the files, and what was paid: wei as text, since they are more than 64 bits hold."""
    conn.execute(
        "CREATE TABLE agents (name TEXT PRIMARY KEY, type TEXT NOT NULL, model TEXT, config TEXT, requires_gpu INTEGER, who TEXT NOT NULL, "
        "at TEXT NOT NULL) STRICT, WITHOUT ROWID"
    )
    conn.execute(
        "CREATE TABLE tickets (id TEXT PRIMARY KEY, sender TEXT, face_value TEXT NOT NULL, expected_value TEXT NOT NULL, at TEXT NOT NULL) "
        "STRICT, WITHOUT ROWID"
    )


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _first,
    _second,
    _third,
    _fourth,
    _fifth,
    _sixth,
    _seventh,
    _eighth,
    _ninth,
    _tenth,
    _eleventh,
    _twelfth,
    _thirteenth,
    _fourteenth,
    _fifteenth,
    _sixteenth,
    _seventeenth,
)
"""The n-th brings a store of version n - 1 to version n. One that was released is never changed, only followed by another."""
SCHEMA_VERSION = len(MIGRATIONS)


def schema_version(conn: sqlite3.Connection, path: Path) -> int:
    """The version of the store's schema; 0 for an empty file. Raises StateError when it is another program's, or newer than this one."""
    tables = {str(name) for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return 0
    (application,) = conn.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID or "migrations" not in tables:
        raise StateError.of("is an SQLite file, but not a gpurec state", str(path), "name another state, or move this file away")
    (version,) = conn.execute("SELECT max(version) FROM migrations").fetchone()
    if version is None:
        raise StateError.of("the state is damaged: it does not say its schema", str(path), "gpurec state restore FILE, from a backup")
    if version > SCHEMA_VERSION:
        raise StateError.of(
            f"was written by a newer gpurec (schema {version}, this one knows {SCHEMA_VERSION})", str(path), "use that version of gpurec"
        )
    return int(version)


def migrate(conn: sqlite3.Connection, path: Path, now: str) -> None:
    """Brings the store to this program's schema, one transaction a version; does nothing when it is there already.

    What fails or dies half-way leaves the store at the last version that was reached, and the next call goes on from there.
    """
    while (version := schema_version(conn, path)) < SCHEMA_VERSION:
        conn.execute("BEGIN IMMEDIATE")
        try:
            if schema_version(conn, path) == version:  # another process may have been first
                if version == 0:
                    conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    conn.execute("CREATE TABLE migrations (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL) STRICT")
                MIGRATIONS[version](conn)
                conn.execute("INSERT INTO migrations VALUES (?, ?)", (version + 1, now))
            conn.execute("COMMIT")
        except BaseException:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise
