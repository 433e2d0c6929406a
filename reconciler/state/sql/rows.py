"""Values to rows and back. Rows are plain tuples: a state of 100,000 replicas is read in well under a second."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import astuple, replace
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from reconciler.fleet import (
    AllocatedAgent,
    Answers,
    Applied,
    AppliedReplica,
    AppliedResource,
    AskedBefore,
    CardCharges,
    CardFacts,
    CardId,
    EngineFacts,
    EngineId,
    EngineKind,
    FleetFacts,
    Heat,
    Incident,
    LoadKey,
    Measured,
    MeasuredKey,
    ModelHeader,
    NodeFacts,
    ReplicaChange,
    Scalar,
    Ticket,
    Tickets,
    with_headers,
)
from reconciler.state.frames import unpack
from reconciler.state.not_as_written import NotAsWritten
from reconciler.state.protocol import StepStatus
from reconciler.state.renames import address_now, names_now
from reconciler.state.sql.allocated import ADDED_UP, AGENT_COLUMNS, TICKET_COLUMNS, all_tickets, read_added_up, read_agents, sum_tickets
from reconciler.state.sql.columns import read_change, read_charges, read_mapping, read_measured_key, read_number, read_time, read_word
from reconciler.state.sql.connection import Connection
from reconciler.state.sql.ranges import ASKED_TOKENS, SEEN_TOKENS, SIZE, known_change, known_charges, known_columns
from reconciler.state.sql.renames import read_renames
from reconciler.state.sql.row_errors import UndecodableRow, decoding

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic.main import IncEx

REPLICA_COLUMNS = (
    "address, model, node, engine, engine_name, ensure, context, options, keep_alive, residency, "
    "observed_context, observed_gpu_fraction, observed_pinned, vram_bytes, protect, charges, serial"
)
ReplicaRow = tuple[
    str, str, str, str, str, str, int | None, str, float | None, str, int | None, float | None, int | None, int | None, int, str | None, int
]  # fmt: skip


_VRAM = 9
"""Where the bytes stand in a row of `changes`. After them comes whether it was protected (nothing was in rows of before schema 4), and then
the context that it ran with."""


def replica_row(replica: AppliedReplica, serial: int) -> ReplicaRow:
    """The row of a replica; `serial` is the one that it was last changed at."""
    pinned = replica.observed_pinned
    return (
        replica.address,
        replica.model,
        replica.at.node,
        replica.at.engine,
        replica.engine_name,
        replica.ensure,
        ASKED_TOKENS.known(replica.context),
        json.dumps(dict(replica.options), sort_keys=True) if replica.options else "{}",
        replica.keep_alive,
        replica.residency,
        SEEN_TOKENS.known(replica.observed_context),
        replica.observed_gpu_fraction,
        None if pinned is None else int(pinned),
        SIZE.known(replica.vram_bytes),
        int(replica.protect),
        None if replica.charges is None else json.dumps(replica.charges, separators=(",", ":")),
        serial,
    )


def change_body(replica: AppliedReplica) -> str:
    """What was asked of a replica, its bytes and the context that it ran with, as one line of JSON: a row of `changes`."""
    body = [
        replica.model,
        replica.at.node,
        replica.at.engine,
        replica.engine_name,
        replica.ensure,
        replica.context,
        dict(replica.options),
        replica.keep_alive,
        replica.residency,
        replica.vram_bytes,
        replica.protect,
        replica.observed_context,
    ]
    return json.dumps(body, separators=(",", ":"), sort_keys=True)


def read_applied_at(conn: Connection, serial: int) -> Mapping[str, AppliedReplica]:
    """What was owned at a serial, by address, and with which context it ran; nothing else of what was observed.

    The caller holds a transaction, and has checked the serial. Nodes are called as they are now; a node of then whose name another one has
    got since is gone, and what it held with it. Rows of before schema 4 do not say what was protected (nothing was), nor older ones with
    which context it ran.
    """
    names = names_now(rename for rename in read_renames(conn) if rename.serial > serial)
    taken = frozenset(names.values()) - names.keys()
    rows = conn.execute(
        "SELECT changes.address, changes.serial, body FROM changes JOIN (SELECT address, max(serial) AS serial FROM changes "
        "WHERE serial <= ? GROUP BY address) AS latest ON changes.address = latest.address AND changes.serial = latest.serial "
        "WHERE body IS NOT NULL ORDER BY changes.address",
        (serial,),
    )
    replicas: dict[str, AppliedReplica] = {}
    for address, changed_at, body in rows:
        with decoding("changes", str(address)):
            model, node, engine, name, ensure, context, options, keep_alive, residency, vram, *later = known_change(read_change(body))
        if node in taken:
            continue
        node, address = names.get(node, node), address_now(address, names)
        replicas[address] = AppliedReplica(
            address,
            model,
            EngineId(node, engine),
            name,
            ensure,
            context,
            options,
            keep_alive,
            residency,
            vram_bytes=vram,
            serial=changed_at,
            protect=bool(later and later[0]),
            observed_context=later[1] if len(later) > 1 else None,
        )
    return replicas


def read_changes_since(conn: Connection, serial: int, addresses: Iterable[str]) -> Iterator[ReplicaChange]:
    """Each time since `serial` that what is asked of one of `addresses` changed. The caller holds a transaction."""
    for address in sorted(set(addresses)):
        rows = conn.execute(
            "SELECT serial, body FROM changes WHERE address = ? AND serial >= "
            "coalesce((SELECT max(serial) FROM changes WHERE address = ? AND serial <= ?), 0) ORDER BY serial",
            (address, address, serial),
        )
        was: list[object] | None = None
        for at, body in rows.fetchall():
            asked = _asked(body)
            if at > serial and asked != was:
                yield ReplicaChange(address, at, *_run_of(conn, at, address))
            was = asked


def _asked(body: str | None) -> list[object] | None:
    """What a row of `changes` says was asked; its bytes are observed. None: it was given up."""
    if body is None:
        return None
    values = read_change(body)
    return [*values[:_VRAM], *(values[_VRAM + 1 : _VRAM + 2] or [False])]


def _run_of(conn: Connection, serial: int, address: str) -> tuple[int | None, str | None, str]:
    """The run that recorded something at a serial: its id, the digest of its plan, and who ran what. One that was killed still has the
    serial that it began with."""
    row = conn.execute(
        "SELECT id, plan_digest, command, who, host, started_at FROM runs WHERE serial = ? "
        "OR (serial = ? AND result IN ('interrupted', 'running')) "
        "ORDER BY EXISTS (SELECT 1 FROM journal WHERE run_id = runs.id AND address = ?) DESC, serial DESC, id LIMIT 1",
        (serial, serial - 1, address),
    ).fetchone()
    if row is None:
        return None, None, f"serial {serial}"
    run_id, digest, command, who, host, at = row
    return run_id, digest, f"run {run_id} ({command}, by {who} on {host}, {at})"


def key_text(key: MeasuredKey) -> str:
    """The key of a measured need as one line of JSON, its fields in their order."""
    return json.dumps(astuple(key), separators=(",", ":"), ensure_ascii=False)


def read_meta(conn: Connection) -> Mapping[str, str]:
    return dict(conn.execute("SELECT key, value FROM meta"))


def fields_text(fields: Mapping[str, Scalar]) -> str:
    """The fields of a resource as they are kept, always the same for the same fields."""
    return json.dumps(dict(sorted(fields.items())), separators=(",", ":"))


def read_applied(conn: Connection) -> Applied:
    """Everything that planning needs, as of one moment: the caller holds a transaction. Raises UndecodableRow."""
    with decoding("meta"):
        meta = read_meta(conn)
        serial = read_number("serial", meta.get("serial", "0"))
    return Applied(
        meta.get("lineage"),
        serial,
        _read(conn, "replicas", _replicas),
        _read(conn, "needs", _needs),
        _read(conn, "load_times", _load_times),
        _read(conn, "incidents", _incidents),
        _read(conn, "silent", _silent),
        _read(conn, "heat", _heat),
        resources=_read(conn, "resources", _resources),
    )


Row = tuple[Any, ...]
Found = TypeVar("Found")
_QUERIES = {
    "replicas": f"SELECT {known_columns('replicas', REPLICA_COLUMNS)} FROM replicas",  # noqa: S608
    "needs": f"SELECT {known_columns('needs', 'key, reported_bytes, card_bytes')} FROM needs",  # noqa: S608
    "load_times": f"SELECT {known_columns('load_times', 'kind, engine_name, context, load_seconds')} FROM load_times "  # noqa: S608
    "WHERE context IS NULL OR context >= 0",
    "incidents": "SELECT address, code, at, asked, evictor FROM incidents ORDER BY address, at, code",
    "silent": "SELECT node, engine, since FROM silent",
    "heat": "SELECT node, gpu, level FROM heat",
    "resources": "SELECT address, fields, written, serial FROM resources ORDER BY address",
    "headers": "SELECT key, body FROM headers",
    "facts": "SELECT node, body FROM facts ORDER BY node",
    "changes": "SELECT address, serial, body FROM changes WHERE body IS NOT NULL ORDER BY address",
    "journal": "SELECT step_id, status FROM journal",
    "meta": "SELECT key, value FROM meta",
    "frames": "SELECT span, at, body FROM frames ORDER BY span, at",
    "agents": f"SELECT {AGENT_COLUMNS} FROM agents ORDER BY name",  # noqa: S608
    "tickets": f"SELECT {TICKET_COLUMNS} FROM tickets ORDER BY id",  # noqa: S608
}


def _read(conn: Connection, table: str, read: Callable[[Iterable[Row]], Found]) -> Found:
    """All rows of a table. Raises UndecodableRow, with the first such row."""
    try:
        with decoding(table):
            return read(conn.execute(_QUERIES[table]))
    except UndecodableRow:
        for row in conn.execute(_QUERIES[table]):
            with decoding(table, str(row[0])):
                read([row])
        raise


def read_allocated(conn: Connection) -> tuple[AllocatedAgent, ...]:
    """Agents that were allocated over HTTP, by name."""
    return _read(conn, "agents", read_agents)


def read_tickets(conn: Connection, waiting: Iterable[Ticket]) -> Tickets:
    """All tickets, added up."""
    kept = _read(conn, "tickets", sum_tickets)
    with decoding("meta"):
        return all_tickets(conn, kept, waiting)


def _replicas(every: Iterable[Row]) -> Mapping[str, AppliedReplica]:
    """The replicas by address. What rows say alike is one value: a large fleet has many of few kinds."""
    alike = Answers(_Alike)
    models: dict[str, str] = {}
    engines: dict[tuple[str, str], EngineId] = {}
    charged: dict[str | None, CardCharges | None] = {None: None}
    replicas: dict[str, AppliedReplica] = {}
    rows = sorted(every, key=itemgetter(0))  # in the database the order would cost a third more: the rows lie elsewhere than their index
    for row in rows:
        address, model, node, engine, name, ensure, context, text, keep, residency, ctx, fraction, pinned, vram, protect, on, serial = row
        at = engines.get((node, engine))
        if at is None:
            at = engines[node, engine] = EngineId(node, engine)
        if address != f"model.{model}@{node}/{engine}":
            raise NotAsWritten(f"this is not the address of {model!r} on {at}")
        said = alike[name, ensure, context, text, keep, residency, ctx, fraction, pinned, protect]
        if on not in charged:
            charged[on] = known_charges(read_charges(on))
        told = *said.asked_and_seen, vram, serial, said.protect, charged[on]
        replicas[address] = AppliedReplica(address, models.setdefault(model, model), at, *told).sharing(said.asked)
    return replicas


class _Alike:
    """What a row says, but for where its replica is and how many bytes it takes."""

    __slots__ = ("asked", "asked_and_seen", "protect")

    def __init__(self, row: Row) -> None:
        name, ensure, context, text, keep, residency, ctx, fraction, pinned, protect = row
        options = read_mapping("options", text)
        self.protect = bool(protect)
        self.asked_and_seen = (
            name, ensure, context, options, keep, residency, ctx, fraction, None if pinned is None else bool(pinned),
        )  # fmt: skip
        self.asked = AskedBefore.with_options(ensure, name, context, keep, residency, self.protect, options)


def _needs(rows: Iterable[Row]) -> Mapping[MeasuredKey, Measured]:
    return {read_measured_key(key): Measured(reported, card) for key, reported, card in rows}


def _load_times(rows: Iterable[Row]) -> Mapping[LoadKey, float]:
    return {LoadKey(read_word("kind", EngineKind, kind), name, context): load for kind, name, context, load in rows if load is not None}


def _incidents(rows: Iterable[Row]) -> tuple[Incident, ...]:
    found = tuple(Incident(*row) for row in rows)
    for one in found:
        read_time("at", one.at)
    return found


def _silent(rows: Iterable[Row]) -> Mapping[EngineId, str]:
    return {EngineId(node, engine): since for node, engine, since in rows}


def _silent_since(rows: Iterable[Row]) -> None:
    for since in _silent(rows).values():
        read_time("since", since)


def _heat(rows: Iterable[Row]) -> Mapping[tuple[str, CardId], Heat]:
    return {(node, json.loads(gpu)): read_word("level", Heat, level) for node, gpu, level in rows}


def _resources(rows: Iterable[Row]) -> dict[str, AppliedResource]:
    return {address: AppliedResource(address, read_mapping("fields", fields), written, serial) for address, fields, written, serial in rows}


def _changes(rows: Iterable[Row]) -> None:
    for _, _, body in rows:
        read_change(body)


def _statuses(rows: Iterable[Row]) -> None:
    for _, status in rows:
        read_word("status", StepStatus, status)


def _meta(rows: Iterable[Row]) -> None:
    for key, value in rows:
        if key in ("serial", "changes_since"):
            read_number("value", value)
        elif key == "facts_at":
            read_time("value", value)
        elif key == ADDED_UP:
            read_added_up(value)


def _frames(every: Iterable[Row]) -> None:
    for span, at, body in every:
        unpack(at, span, body)


def undecodable_rows(conn: Connection) -> Iterator[tuple[str, str]]:
    """Every row that holds something else than this program writes: its table and key, and what is wrong with it.

    By the very readers that the commands use, one row at a time.
    """
    readers: Mapping[str, Callable[[Iterable[Row]], object]] = {
        "meta": _meta,
        "replicas": _replicas,
        "needs": _needs,
        "load_times": _load_times,
        "incidents": _incidents,
        "silent": _silent_since,
        "heat": _heat,
        "resources": _resources,
        "headers": _headers,
        "facts": lambda rows: _facts(rows, {}),
        "changes": _changes,
        "journal": _statuses,
        "frames": _frames,
        "agents": read_agents,
        "tickets": sum_tickets,
    }
    for table, read in readers.items():
        for row in conn.execute(_QUERIES[table]):
            try:
                with decoding(table):
                    read([row])
            except UndecodableRow as error:
                yield f"{table} {row[0]}", error.why


@cache
def _node_adapter() -> TypeAdapter[NodeFacts]:
    from pydantic import TypeAdapter

    return TypeAdapter(NodeFacts)


@cache
def _header_adapter() -> TypeAdapter[ModelHeader]:
    from pydantic import TypeAdapter

    return TypeAdapter(ModelHeader)


_WITHOUT_HEADERS: IncEx = {"engines": {"__all__": {"installed": {"__all__": {"header"}}}}}
"""A header has a row of its own, and not one with every engine that has its file."""


def node_body(node: NodeFacts) -> str:
    """A node's facts as JSON, without what changes at every look: how long it took, expiries, how warm a card is."""
    engines = {name: _steady(engine) for name, engine in sorted(node.engines.items())}
    cards = node.cards and tuple(_steady_card(card) for card in node.cards)
    probe = replace(node.card_probe, at=None, seconds=0.0, clock_skew=None) if node.card_probe is not None else None
    return _node_adapter().dump_json(replace(node, engines=engines, cards=cards, card_probe=probe), exclude=_WITHOUT_HEADERS).decode()


def _steady_card(card: CardFacts) -> CardFacts:
    if card.at is None:
        return card
    return replace(card, temperature=None, power=None, utilisation=None, throttle=None, processes=None, at=None)


def header_body(header: ModelHeader) -> str:
    return _header_adapter().dump_json(header).decode()


def _steady(engine: EngineFacts) -> EngineFacts:
    residents = engine.residents
    if residents is not None:
        residents = tuple(replace(resident, expires_in=None) for resident in sorted(residents, key=lambda one: one.name))
    return replace(engine, probe_seconds=0.0, clock_skew=None, residents=residents, notes=())


def read_facts(conn: Connection) -> FleetFacts | None:
    """The facts of the last apply; None before the first. Raises UndecodableRow."""
    at = read_meta(conn).get("facts_at")
    if at is None:
        return None
    headers = _read(conn, "headers", _headers)
    return FleetFacts(at, _read(conn, "facts", lambda rows: _facts(rows, headers)))


def _headers(rows: Iterable[Row]) -> Mapping[str, ModelHeader]:
    adapter = _header_adapter()
    return {key: adapter.validate_json(body) for key, body in rows}


def _facts(rows: Iterable[Row], headers: Mapping[str, ModelHeader]) -> dict[str, NodeFacts]:
    adapter = _node_adapter()
    return {node: with_headers(adapter.validate_json(body), headers) for node, body in rows}
