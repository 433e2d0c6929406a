"""Derived tags that are ours: made by a pull of gpurec, or used by a replica of it. Of earlier contexts too, so that they go with their
model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from reconciler.fleet import AppliedReplica, EngineId
from reconciler.state.sql.connection import Connection


def read_tags(conn: Connection) -> Mapping[EngineId, Mapping[str, str]]:
    found: dict[EngineId, dict[str, str]] = defaultdict(dict)
    for node, engine, name, base in conn.execute("SELECT node, engine, name, base FROM tags"):
        found[EngineId(node, engine)][name] = base
    return found


def tag_base(replica: AppliedReplica) -> str | None:
    """The name that a replica's derived tag was made from; None where it has none."""
    suffix = f"-c{replica.context}"
    return replica.engine_name.removesuffix(suffix) if replica.context is not None and replica.engine_name.endswith(suffix) else None


def write_tags(conn: Connection, tags: Iterable[tuple[EngineId, str, str]]) -> None:
    """`tags` are engine, name, and the name it was made from."""
    rows = [(at.node, at.engine, name, base) for at, name, base in tags]
    conn.executemany("INSERT INTO tags (node, engine, name, base) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", rows)


def delete_tags(conn: Connection, at: EngineId, names: Iterable[str]) -> None:
    conn.executemany("DELETE FROM tags WHERE node = ? AND engine = ? AND name = ?", [(at.node, at.engine, name) for name in names])


def forget_tags_of(conn: Connection, replicas: Iterable[AppliedReplica]) -> None:
    """Gives up the tags of replicas that are no longer ours, of earlier contexts too."""
    rows = [(one.at.node, one.at.engine, base) for one in replicas if (base := tag_base(one)) is not None]
    conn.executemany("DELETE FROM tags WHERE node = ? AND engine = ? AND base = ?", rows)
