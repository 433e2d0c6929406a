"""All that a store holds, table by table: copied to another one of either kind, and compared by a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.state.sql.connection import Connection, put
from reconciler.value_class import value_class


@value_class
class CopiedTable:
    """`key` is what its rows are told apart by; `order` is how they lie in it, where that says something."""

    columns: tuple[str, ...]
    key: tuple[str, ...]
    order: str = ""


def _table(columns: str, key: str, order: str = "") -> CopiedTable:
    return CopiedTable(tuple(columns.split()), tuple(key.split()), order)


TABLES: Mapping[str, CopiedTable] = {
    "meta": _table("key value", "key"),
    "runs": _table("id serial plan_digest config_digest who host command started_at finished_at result ci seconds unplaced deferred", "id"),
    "journal": _table("run_id step_id address action status reason started_at finished_at seconds", "run_id step_id", "rowid"),
    "renames": _table("run_id serial old new", "run_id"),
    "replicas": _table(
        "address model node engine engine_name ensure context options keep_alive residency observed_context "
        "observed_gpu_fraction observed_pinned vram_bytes protect charges serial",
        "address",
    ),
    "changes": _table("address serial body", "address serial"),
    "resources": _table("address fields written serial", "address"),
    "tags": _table("node engine name base", "node engine name"),
    "incidents": _table("address code at asked evictor", "address code at"),
    "load_times": _table("id kind engine_name context load_seconds", "id"),
    "needs": _table("key reported_bytes card_bytes", "key"),
    "heat": _table("node gpu level", "node gpu"),
    "silent": _table("node engine since", "node engine"),
    "facts": _table("node body", "node"),
    "headers": _table("key body", "key"),
    "frames": _table("span at body", "span at"),
    "agents": _table("name type model config requires_gpu who at", "name"),
    "tickets": _table("id sender face_value expected_value at", "id"),
}
"""Every table but those of the lock and of the schema. What others refer to comes first."""


def copy_rows(source: Connection, to: Connection) -> None:
    """Writes the rows of every table, in the transactions of the caller."""
    for name, table in TABLES.items():
        put(to, name, table.columns, table.key, list(_rows(source, name)))


def digest(conn: Connection) -> str:
    """`sha256:…` over every row of every table: the same for the same content, whatever it is kept in."""
    found = hashlib.sha256()
    for name in TABLES:
        for row in _rows(conn, name):
            line = json.dumps([name, *(one.hex() if isinstance(one, bytes) else one for one in row)], separators=(",", ":"))
            found.update(line.encode() + b"\n")
    return f"sha256:{found.hexdigest()}"


def _rows(conn: Connection, name: str) -> Iterator[Any]:
    table = TABLES[name]
    order = table.order or ", ".join(table.key)
    yield from conn.execute(f"SELECT {', '.join(table.columns)} FROM {name} ORDER BY {order}")  # noqa: S608
