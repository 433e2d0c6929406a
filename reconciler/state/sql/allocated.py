"""Agents that were allocated over HTTP, and tickets that a payment service told of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from datetime import UTC, datetime, timedelta
from typing import Any

from reconciler.fleet import AllocatedAgent, Ticket, Tickets
from reconciler.state.lease import iso
from reconciler.state.not_as_written import NotAsWritten
from reconciler.state.process import this_process
from reconciler.state.sql.columns import read_time
from reconciler.state.sql.connection import Connection, put

AGENT_COLUMNS = "name, type, model, config, requires_gpu, who, at"
TICKET_COLUMNS = "id, sender, face_value, expected_value, at"
ADDED_UP = "tickets_added_up"
"""Of the table `meta`: number and sums of tickets that are kept no more, and the day on which that was last done."""
KEPT = timedelta(days=90)
"""So long is a ticket known by its id; who sends it again later is not heard: a webhook counts for five minutes, and a ticket for days."""
_DAY = len("2026-01-01")
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


def insert_ticket(conn: Connection, ticket: Ticket, waiting: Set[str] = frozenset()) -> bool:
    """Keeps a ticket; False for one that is there already. The first of a day adds up what is older than KEPT, without the ids of
    `waiting`: they come again."""
    _add_up_old(conn, ticket.at, waiting)
    row = (ticket.id, ticket.sender, str(ticket.face_value), str(ticket.expected_value), ticket.at)
    found = conn.execute(f"INSERT INTO tickets ({TICKET_COLUMNS}) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row)  # noqa: S608
    return found.rowcount > 0


def _add_up_old(conn: Connection, at: str, waiting: Set[str]) -> None:
    """Leaves of tickets that no sender sends again only their number and their sums."""
    before, day = _added_up(conn)
    if day >= at[:_DAY]:
        return
    oldest = iso(read_time("at", at) - KEPT)
    old = [
        row
        for row in conn.execute(f"SELECT {TICKET_COLUMNS} FROM tickets WHERE at < ?", (oldest,)).fetchall()  # noqa: S608
        if row[0] not in waiting
    ]
    found = before.plus(sum_tickets(old))
    conn.executemany("DELETE FROM tickets WHERE id = ?", [(row[0],) for row in old])
    text = json.dumps([found.count, str(found.face_value), str(found.expected_value), at[:_DAY]])
    put(conn, "meta", ("key", "value"), ("key",), [(ADDED_UP, text)])


def _added_up(conn: Connection) -> tuple[Tickets, str]:
    row = conn.execute("SELECT value FROM meta WHERE key = ?", (ADDED_UP,)).fetchone()
    return read_added_up(row[0]) if row is not None else (Tickets(), "")


def read_added_up(text: str) -> tuple[Tickets, str]:
    """The sums of tickets that are kept no more, and the day of the last that was added. Raises NotAsWritten."""
    try:
        count, face, expected, day = json.loads(text)
        if not isinstance(count, int) or not isinstance(day, str):
            raise TypeError
        return Tickets(count, wei_of(face), wei_of(expected)), day
    except (ValueError, TypeError, RecursionError):
        raise NotAsWritten(f"{ADDED_UP} is no sum of tickets") from None


def all_tickets(conn: Connection, kept: Tickets, waiting: Iterable[Ticket]) -> Tickets:
    """All that ever came: those that are kept, those that are not any more, and those that wait, unless they are kept by now."""
    new = [one for one in waiting if conn.execute("SELECT 1 FROM tickets WHERE id = ?", (one.id,)).fetchone() is None]
    return kept.plus(_added_up(conn)[0]).plus(Tickets.of(new))


def sum_tickets(rows: Iterable[Row]) -> Tickets:
    """Their number and sums: wei are more than 64 bits hold, so that no database adds them up."""
    count = face = expected = 0
    for _, _, one, of_it, _ in rows:
        count, face, expected = count + 1, face + wei_of(one), expected + wei_of(of_it)
    return Tickets(count, face, expected)


def wei_of(text: object) -> int:
    """Raises NotAsWritten for what is no number of wei."""
    if not isinstance(text, str) or not (text.isascii() and text.isdecimal()):
        raise NotAsWritten(f"{text!r} is no number of wei")
    return int(text)
