"""Agents that were allocated over HTTP, and tickets that a payment service told of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from reconciler.fleet import AllocatedAgent, Ticket, Tickets
from reconciler.state.lease import iso
from reconciler.state.not_as_written import NotAsWritten
from reconciler.state.process import this_process
from reconciler.state.sql.columns import read_time
from reconciler.state.sql.connection import Connection

AGENT_COLUMNS = "name, type, model, config, requires_gpu, who, at"
TICKET_COLUMNS = "id, sender, face_value, expected_value, at"
Row = tuple[Any, ...]


def insert_agent(conn: Connection, agent: AllocatedAgent, command: str) -> AllocatedAgent | None:
    """Keeps an agent, with a line in the history of runs. Where one of that name is there, gives that and keeps nothing."""
    known = read_agents(conn.execute(f"SELECT {AGENT_COLUMNS} FROM agents WHERE name = ?", (agent.name,)))  # noqa: S608
    if known:
        return known[0]
    gpu = None if agent.requires_gpu is None else int(agent.requires_gpu)
    row = (agent.name, agent.type, agent.model, agent.config, gpu, agent.who, agent.at)
    conn.execute(f"INSERT INTO agents ({AGENT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608
    _tell(conn, command)
    return None


def delete_agent(conn: Connection, name: str, command: str) -> bool:
    """Forgets an agent, with a line in the history of runs; False where there is none."""
    gone = conn.execute("DELETE FROM agents WHERE name = ?", (name,)).rowcount > 0
    if gone:
        _tell(conn, command)
    return gone


def _tell(conn: Connection, command: str) -> None:
    """A run that was over at once: it changed what is wanted, and nothing of what is applied."""
    me, now = this_process(), iso(datetime.now(UTC))
    conn.execute(
        "INSERT INTO runs (serial, plan_digest, config_digest, who, host, command, started_at, finished_at, seconds, result) "
        "VALUES (coalesce((SELECT CAST(value AS BIGINT) FROM meta WHERE key = 'serial'), 0), '', '', ?, ?, ?, ?, ?, 0, 'done')",
        (me.who, me.host, command, now, now),
    )


def read_agents(rows: Iterable[Row]) -> tuple[AllocatedAgent, ...]:
    return tuple(_agent(*row) for row in rows)


def _agent(name: str, kind: str, model: str | None, config: str | None, gpu: int | None, who: str, at: str) -> AllocatedAgent:
    if config is not None:
        try:
            whole = json.loads(config)
        except ValueError:
            whole = None
        if not isinstance(whole, Mapping):
            raise NotAsWritten(f"the config of agent {name!r} is no object")
    read_time("at", at)
    return AllocatedAgent(name, kind, model, config, None if gpu is None else bool(gpu), who, at)


def insert_ticket(conn: Connection, ticket: Ticket) -> bool:
    """Keeps a ticket; False for one that is there already."""
    row = (ticket.id, ticket.sender, str(ticket.face_value), str(ticket.expected_value), ticket.at)
    found = conn.execute(f"INSERT INTO tickets ({TICKET_COLUMNS}) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row)  # noqa: S608
    return found.rowcount > 0


def sum_tickets(rows: Iterable[Row]) -> Tickets:
    """Their number and sums: wei are more than 64 bits hold, so that no database adds them up."""
    count = face = expected = 0
    for _, _, one, of_it, _ in rows:
        count, face, expected = count + 1, face + _wei(one), expected + _wei(of_it)
    return Tickets(count, face, expected)


def _wei(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise NotAsWritten(f"{text!r} is no number of wei")
    return int(text)
