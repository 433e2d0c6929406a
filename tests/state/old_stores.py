"""Stores of earlier schemas as they were written then: plain SQL, never made by the program under test, never changed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

SCHEMA_1 = """
CREATE TABLE migrations (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL) STRICT;
CREATE TABLE "meta" (
   "key" TEXT PRIMARY KEY,
   "value" TEXT
) STRICT;
CREATE TABLE "replicas" (
   "address" TEXT PRIMARY KEY,
   "model" TEXT NOT NULL,
   "node" TEXT NOT NULL,
   "engine" TEXT NOT NULL,
   "engine_name" TEXT NOT NULL,
   "ensure" TEXT NOT NULL,
   "context" INTEGER,
   "options" TEXT NOT NULL,
   "keep_alive" REAL,
   "residency" TEXT NOT NULL,
   "observed_context" INTEGER,
   "observed_gpu_fraction" REAL,
   "observed_pinned" INTEGER,
   "vram_bytes" INTEGER,
   "serial" INTEGER NOT NULL
) STRICT;
CREATE TABLE "measured" (
   "id" INTEGER PRIMARY KEY,
   "kind" TEXT NOT NULL,
   "engine_name" TEXT NOT NULL,
   "context" INTEGER,
   "vram_bytes" INTEGER,
   "load_seconds" REAL
) STRICT;
CREATE UNIQUE INDEX measured_key ON measured (kind, engine_name, ifnull(context, -1));
CREATE TABLE "facts" (
   "node" TEXT PRIMARY KEY,
   "body" TEXT NOT NULL
) STRICT;
CREATE TABLE "runs" (
   "id" INTEGER PRIMARY KEY,
   "serial" INTEGER NOT NULL,
   "plan_digest" TEXT NOT NULL,
   "config_digest" TEXT NOT NULL,
   "who" TEXT NOT NULL,
   "host" TEXT NOT NULL,
   "command" TEXT NOT NULL,
   "started_at" TEXT NOT NULL,
   "finished_at" TEXT,
   "result" TEXT NOT NULL
) STRICT;
CREATE TABLE "journal" (
   "run_id" INTEGER REFERENCES "runs"("id"),
   "step_id" TEXT,
   "address" TEXT NOT NULL,
   "action" TEXT NOT NULL,
   "status" TEXT NOT NULL,
   "reason" TEXT,
   "started_at" TEXT NOT NULL,
   "finished_at" TEXT,
   PRIMARY KEY ("run_id", "step_id")
) STRICT;
CREATE TABLE "lease" (
   "id" INTEGER PRIMARY KEY,
   "token" INTEGER NOT NULL,
   "owner" TEXT,
   "who" TEXT,
   "host" TEXT,
   "boot" TEXT,
   "pid" INTEGER,
   "process_started" INTEGER,
   "command" TEXT,
   "since" TEXT,
   "heartbeat" TEXT,
   "heartbeat_at" REAL
) STRICT;
"""

ROWS_1 = """
INSERT INTO migrations VALUES (1, '2026-01-01T00:00:00Z');
INSERT INTO meta VALUES ('lineage', 'l-1'), ('serial', '3'), ('facts_at', '2026-01-01T00:00:00Z');
INSERT INTO replicas VALUES
  ('model.a:1@n/e', 'a:1', 'n', 'e', 'a:1-c8192', 'loaded', 8192, '{"num_batch": 512}', -1.0, 'gpu', 8192, 1.0, 1, 5, 3);
INSERT INTO measured VALUES (1, 'ollama', 'a:1', NULL, 7, 2.5);
INSERT INTO runs VALUES
  (1, 2, 'sha256:p', 'sha256:c', 'ann', 'h', 'apply', '2026-01-01T00:00:00Z', '2026-01-01T00:01:00Z', 'done'),
  (2, 3, 'sha256:q', 'sha256:c', 'ann', 'h', 'apply', '2026-01-02T00:00:00Z', NULL, 'running');
INSERT INTO journal VALUES
  (1, 'load:x', 'x', 'load', 'done', NULL, '2026-01-01T00:00:00Z', '2026-01-01T00:00:09Z'),
  (2, 'load:y', 'y', 'load', 'started', NULL, '2026-01-02T00:00:00Z', NULL);
INSERT INTO lease VALUES
  (1, 4, NULL, 'ann', 'h', 'boot-9 pid:[4026531836]', 12, 99, 'apply', '2026-01-02T00:00:00Z', '2026-01-02T00:00:00Z', 1767312000.0);
"""
LEASED_1 = "UPDATE lease SET owner = 'o-1'"


def write_schema_1(path: Path, *more: str) -> None:
    """A store of schema 1 with one replica, two runs (the second of which died) and a lease that was given back."""
    conn = sqlite3.connect(path)
    conn.executescript(f"PRAGMA journal_mode = WAL; PRAGMA application_id = {0x67707263}; {SCHEMA_1} {ROWS_1}")
    for sql in more:
        conn.execute(sql)
    conn.commit()
    conn.close()


# What the second schema had more, as ALTER TABLE leaves it.
MORE_2 = """
ALTER TABLE lease ADD COLUMN namespace TEXT;
ALTER TABLE lease ADD COLUMN ci TEXT;
UPDATE lease SET namespace = 'pid:[4026531836]', boot = 'boot-9';
ALTER TABLE runs ADD COLUMN ci TEXT;
ALTER TABLE runs ADD COLUMN seconds REAL;
ALTER TABLE runs ADD COLUMN unplaced INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN deferred INTEGER NOT NULL DEFAULT 0;
ALTER TABLE journal ADD COLUMN seconds REAL;
CREATE INDEX journal_open ON journal (run_id) WHERE status = 'started';
CREATE INDEX runs_open ON runs (id) WHERE result = 'running';
INSERT INTO migrations VALUES (2, '2026-01-01T00:00:00Z');
"""


def write_schema_2(path: Path) -> None:
    """The same as a store of schema 2."""
    write_schema_1(path)
    conn = sqlite3.connect(path)
    conn.executescript(MORE_2)
    conn.commit()
    conn.close()


# What the third schema had more.
MORE_3 = """
CREATE TABLE changes (address TEXT, serial INTEGER, body TEXT, PRIMARY KEY (address, serial)) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('changes_since', '3');
INSERT INTO changes VALUES
  ('model.a:1@n/e', 3, '["a:1","n","e","a:1-c8192","loaded",8192,{"num_batch":512},-1.0,"gpu",5]');
INSERT INTO migrations VALUES (3, '2026-01-01T00:00:00Z');
"""


def write_schema_3(path: Path) -> None:
    """The same as a store of schema 3."""
    write_schema_2(path)
    conn = sqlite3.connect(path)
    conn.executescript(MORE_3)
    conn.commit()
    conn.close()


# What the fourth schema had more.
MORE_4 = """
ALTER TABLE replicas ADD COLUMN protect INTEGER NOT NULL DEFAULT 0;
INSERT INTO migrations VALUES (4, '2026-01-01T00:00:00Z');
"""


def write_schema_4(path: Path) -> None:
    """The same as a store of schema 4."""
    write_schema_3(path)
    conn = sqlite3.connect(path)
    conn.executescript(MORE_4)
    conn.commit()
    conn.close()


# What the fifth schema had more.
MORE_5 = """
CREATE TABLE headers (key TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO migrations VALUES (5, '2026-01-01T00:00:00Z');
"""


def write_schema_5(path: Path) -> None:
    """The same as a store of schema 5."""
    write_schema_4(path)
    conn = sqlite3.connect(path)
    conn.executescript(MORE_5)
    conn.commit()
    conn.close()


# What the sixth schema had more.
MORE_6 = """
CREATE TABLE incidents (address TEXT, code TEXT, at TEXT, asked TEXT NOT NULL, PRIMARY KEY (address, code, at)) STRICT, WITHOUT ROWID;
INSERT INTO migrations VALUES (6, '2026-01-01T00:00:00Z');
"""


def write_schema_6(path: Path) -> None:
    """The same as a store of schema 6."""
    write_schema_5(path)
    conn = sqlite3.connect(path)
    conn.executescript(MORE_6)
    conn.commit()
    conn.close()


# What the seventh schema had more.
MORE_7 = """
CREATE TABLE silent (node TEXT, engine TEXT, since TEXT NOT NULL, PRIMARY KEY (node, engine)) STRICT, WITHOUT ROWID;
INSERT INTO migrations VALUES (7, '2026-01-01T00:00:00Z');
"""


def write_schema_7(path: Path) -> None:
    """The same as a store of schema 7."""
    write_schema_6(path)
    conn = sqlite3.connect(path)
    conn.executescript(MORE_7)
    conn.commit()
    conn.close()


# What the eighth schema had otherwise.
MORE_8 = """
DELETE FROM measured WHERE load_seconds IS NULL;
DROP INDEX measured_key;
ALTER TABLE measured DROP COLUMN vram_bytes;
ALTER TABLE measured RENAME TO load_times;
CREATE UNIQUE INDEX load_times_key ON load_times (kind, engine_name, ifnull(context, -1));
CREATE TABLE needs (key TEXT PRIMARY KEY, reported_bytes INTEGER, card_bytes INTEGER) STRICT, WITHOUT ROWID;
INSERT INTO migrations VALUES (8, '2026-01-01T00:00:00Z');
"""


def write_schema_8(path: Path) -> None:
    """The same as a store of schema 8."""
    write_schema_7(path)
    conn = sqlite3.connect(path)
    conn.executescript(MORE_8)
    conn.commit()
    conn.close()


# What the ninth schema had more.
MORE_9 = """
CREATE TABLE heat (node TEXT, gpu INTEGER, level INTEGER NOT NULL, PRIMARY KEY (node, gpu)) STRICT, WITHOUT ROWID;
INSERT INTO migrations VALUES (9, '2026-01-01T00:00:00Z');
"""


def write_schema_9(path: Path) -> None:
    """The same as a store of schema 9."""
    write_schema_8(path)
    conn = sqlite3.connect(path)
    conn.executescript(MORE_9)
    conn.commit()
    conn.close()


# What the tenth schema had more.
MORE_10 = """
CREATE TABLE renames (
   run_id INTEGER PRIMARY KEY REFERENCES runs (id), serial INTEGER NOT NULL, old TEXT NOT NULL, new TEXT NOT NULL
) STRICT;
INSERT INTO migrations VALUES (10, '2026-01-01T00:00:00Z');
"""


def write_schema_10(path: Path) -> None:
    """The same as a store of schema 10."""
    write_schema_9(path)
    conn = sqlite3.connect(path)
    conn.executescript(MORE_10)
    conn.commit()
    conn.close()


# What the eleventh schema had more.
MORE_11 = """
ALTER TABLE incidents ADD COLUMN evictor TEXT;
CREATE TABLE tags (node TEXT, engine TEXT, name TEXT, base TEXT NOT NULL, PRIMARY KEY (node, engine, name)) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO heat VALUES ('n', 0, 1);
INSERT INTO migrations VALUES (11, '2026-01-01T00:00:00Z');
"""


def write_schema_11(path: Path) -> None:
    """The same as a store of schema 11."""
    write_schema_10(path)
    conn = sqlite3.connect(path)
    conn.executescript(MORE_11)
    conn.commit()
    conn.close()


# What the twelfth schema had otherwise.
MORE_12 = """
CREATE TABLE heat_12 (node TEXT, gpu ANY, level INTEGER NOT NULL, PRIMARY KEY (node, gpu)) STRICT, WITHOUT ROWID;
INSERT INTO heat_12 SELECT node, gpu, level FROM heat;
DROP TABLE heat;
ALTER TABLE heat_12 RENAME TO heat;
INSERT INTO migrations VALUES (12, '2026-01-01T00:00:00Z');
"""


def write_schema_12(path: Path) -> None:
    """The same as a store of schema 12."""
    write_schema_11(path)
    conn = sqlite3.connect(path)
    conn.executescript(MORE_12)
    conn.commit()
    conn.close()


MORE_13 = """
ALTER TABLE replicas ADD COLUMN charges TEXT;
INSERT INTO migrations VALUES (13, '2026-01-01T00:00:00Z');
"""


def write_schema_13(path: Path) -> None:
    """The same as a store of schema 13."""
    write_schema_12(path)
    conn = sqlite3.connect(path)
    conn.executescript(MORE_13)
    conn.commit()
    conn.close()


MORE_14 = """
CREATE TABLE resources (address TEXT PRIMARY KEY, fields TEXT NOT NULL, written TEXT, serial INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO heat VALUES ('n', 'amd0', 2);
INSERT INTO migrations VALUES (14, '2026-01-01T00:00:00Z');
"""


def write_schema_14(path: Path) -> None:
    """The same as a store of schema 14."""
    write_schema_13(path)
    conn = sqlite3.connect(path)
    conn.executescript(MORE_14)
    conn.commit()
    conn.close()


MORE_15 = """
CREATE TABLE frames (span INTEGER, at INTEGER, body BLOB NOT NULL, PRIMARY KEY (span, at)) STRICT;
INSERT INTO migrations VALUES (15, '2026-01-01T00:00:00Z');
"""


def write_schema_15(path: Path) -> None:
    """The same as a store of schema 15."""
    write_schema_14(path)
    conn = sqlite3.connect(path)
    conn.executescript(MORE_15)
    conn.commit()
    conn.close()


MORE_16 = """
DROP INDEX load_times_key;
CREATE UNIQUE INDEX load_times_key ON load_times (kind, engine_name, coalesce(context, -1));
DROP TABLE heat;
CREATE TABLE heat (node TEXT, gpu TEXT, level INTEGER NOT NULL, PRIMARY KEY (node, gpu)) STRICT, WITHOUT ROWID;
INSERT INTO heat VALUES ('n', '0', 1), ('n', '"amd0"', 2);
INSERT INTO migrations VALUES (16, '2026-01-01T00:00:00Z');
"""


def write_schema_16(path: Path) -> None:
    """The same as a store of schema 16."""
    write_schema_15(path)
    conn = sqlite3.connect(path)
    conn.executescript(MORE_16)
    conn.commit()
    conn.close()


WRITERS = {
    1: write_schema_1,
    2: write_schema_2,
    3: write_schema_3,
    4: write_schema_4,
    5: write_schema_5,
    6: write_schema_6,
    7: write_schema_7,
    8: write_schema_8,
    9: write_schema_9,
    10: write_schema_10,
    11: write_schema_11,
    12: write_schema_12,
    13: write_schema_13,
    14: write_schema_14,
    15: write_schema_15,
    16: write_schema_16,
}
"""Every earlier schema, with what writes a store of it."""
