"""The loops that look at parts of a fleet, a row each, by the server's clock."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime

from reconciler.state.lease import iso
from reconciler.state.postgres.address import Address
from reconciler.state.postgres.connection import connect, postgres_said
from reconciler.state.postgres.schema import SCHEMA_VERSION, migrate, schema_version
from reconciler.state.process import this_process
from reconciler.state.shards import Shard, ShardRow
from reconciler.state.sql.fleet_name import read_fleet, refuse_other_fleet, write_fleet
from reconciler.value_class import value_class

_NOW = "extract(epoch FROM clock_timestamp())::float8"
_KEPT = 86400
"""Seconds after which a loop that was not heard of is forgotten."""


@value_class
class PostgresShards:
    """A ShardBoard in the schema of a fleet."""

    address: Address
    fleet: str

    def read(self, *, bodies: bool = True) -> Sequence[ShardRow]:
        with closing(connect(self.address)) as conn, postgres_said(str(self.address)):
            if schema_version(conn, str(self.address)) < SCHEMA_VERSION:
                return ()
            body = "body" if bodies else "NULL::bytea"
            rows = conn.execute(
                f"SELECT number, parts, owner, who, {_NOW} - heard_at, {_NOW} - looked_at, seconds, {body} FROM shards "  # noqa: S608
                f"WHERE heard_at > {_NOW} - {_KEPT} ORDER BY parts, number"
            ).fetchall()
        return tuple(ShardRow(Shard(number, parts), *rest) for number, parts, *rest in rows)

    def looked(self, shard: Shard, owner: str, interval: float, body: bytes) -> None:
        me = this_process()
        with closing(connect(self.address)) as conn, postgres_said(str(self.address)):
            new = migrate(conn, self.address, iso(datetime.now(UTC)))
            conn.begin()
            try:
                refuse_other_fleet(conn, str(self.address), self.fleet)
                if new and read_fleet(conn) is None:
                    write_fleet(conn, self.fleet)
                conn.execute(f"DELETE FROM shards WHERE heard_at < {_NOW} - {_KEPT}")  # noqa: S608
                conn.execute(
                    "INSERT INTO shards (number, parts, owner, who, heard_at, looked_at, seconds, body) "  # noqa: S608
                    f"VALUES (?, ?, ?, ?, {_NOW}, {_NOW}, ?, ?) ON CONFLICT (parts, number) DO UPDATE SET owner = excluded.owner, "
                    "who = excluded.who, heard_at = excluded.heard_at, looked_at = excluded.looked_at, seconds = excluded.seconds, "
                    "body = excluded.body",
                    (shard.number, shard.of, owner, f"{me.who} on {me.host}, process {me.pid}", interval, body),
                )
                conn.commit()
            except BaseException:
                conn.rollback()
                raise

    def alive(self, shard: Shard, owner: str) -> None:
        with closing(connect(self.address)) as conn, postgres_said(str(self.address)):
            conn.execute(
                f"UPDATE shards SET heard_at = {_NOW} WHERE number = ? AND parts = ? AND owner = ?",  # noqa: S608
                (shard.number, shard.of, owner),
            )
