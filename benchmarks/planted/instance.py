"""An instance: a fleet, what is wanted, what is seen and what was applied, with a placement that is known to be possible.

A drawing says where each replica is now (`now`) and where it could be (`planted`), engine by engine; this module makes of that what a plan
is made from. Cards may be filled to the last byte: no limit and no reserve is declared.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from reconciler.fleet import (
    AGENTS,
    OWN_BYTES,
    OWN_CARD,
    AgentSpec,
    Applied,
    AppliedReplica,
    AppliedResource,
    CardFacts,
    CardSpec,
    ContainerSpec,
    Desired,
    DockerSpec,
    EngineFacts,
    EngineId,
    EngineKind,
    EngineSpec,
    Fleet,
    FleetFacts,
    GpuRequirement,
    Installed,
    Limits,
    ModelSpec,
    NodeFacts,
    NodeSpec,
    Resident,
    Strategy,
    agent_address,
    replica_address,
)

Card = tuple[str, int]
"""A node and the index of one of its cards."""

MIB, GIB = 2**20, 2**30
AT = "2026-01-01T00:00:00Z"
WHOLE = Limits(max_vram_utilization=Fraction(1), reserve=0)
BUILD = "0.30.0"
"""An Ollama of which nobody knows how it decides: bytes alone bound it."""
CONTEXT = 4096


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent that is given bytes of a card, where that is planted, and where it runs now (None: it is new)."""

    name: str
    size: int
    planted: Card
    now: Card | None


@dataclass(frozen=True, slots=True)
class Cards:
    """The cards of a fleet in bytes, node by node, each with engines of its own: an Ollama, then one of every kind of `beside`. `foreign`
    are bytes of other programs by card. By engine `most` is how many models it says that it holds, `limits` the bytes that it may take of
    its card, and `shares` the part of its card (0..1) that a vLLM took at its start, for a model of its own. `over` are routers of
    llama.cpp over several cards of their node. The cards of the nodes `sliced` are slices of one card."""

    nodes: Mapping[str, tuple[int, ...]]
    beside: tuple[EngineKind, ...] = ()
    foreign: Mapping[tuple[str, int], int] = field(default_factory=dict)
    most: Mapping[EngineId, int] = field(default_factory=dict)
    limits: Mapping[EngineId, int] = field(default_factory=dict)
    shares: Mapping[EngineId, Fraction] = field(default_factory=dict)
    over: Mapping[EngineId, tuple[int, ...]] = field(default_factory=dict)
    sliced: frozenset[str] = frozenset()
    agents: tuple[Agent, ...] = ()

    def of(self, at: EngineId) -> tuple[Card, ...]:
        """The cards of an engine."""
        return tuple((at.node, index) for index in self.over[at]) if at in self.over else (card_of(at),)

    def engines(self) -> dict[EngineId, int]:
        """Every engine with one card, and the bytes of that."""
        return {
            EngineId(node, _name(index, number)): size
            for node, sizes in self.nodes.items()
            for index, size in enumerate(sizes)
            for number in range(1 + len(self.beside))
        }


def _name(index: int, number: int) -> str:
    return f"e{index}" if number == 0 else f"e{index}{'abcdefgh'[number]}"


def uuid_of(card: Card) -> str:
    return f"GPU-{card[0]}-{card[1]}"


def card_of(at: EngineId) -> Card:
    """The card of a drawn engine with one."""
    return at.node, int(at.engine[1:].rstrip("abcdefgh"))


@dataclass(slots=True)
class Piece:
    """One replica of a drawing. `planted` None: it has no place in the planted placement; `now` None: it is not loaded. Of `wanted` False a
    later change of the files wants it no more; of `ours` False nobody here asked for it. `fields` are those of its model. One with a `tag`
    is a model of its own; `with_models` and `never_with` are tags of others."""

    size: int
    planted: EngineId | None
    now: EngineId | None = None
    priority: int = 0
    wanted: bool = True
    ours: bool = True
    kind: EngineKind | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    tag: str | None = None
    with_models: tuple[str, ...] = ()
    never_with: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Instance:
    """What a plan is made from, and the placement that was planted: the engines of each model. `sizes` are the bytes of one replica by
    model: all of it on the card of its engine, or as many of them on each of several."""

    title: str
    fleet: Fleet
    desired: Desired
    facts: FleetFacts
    applied: Applied
    sizes: Mapping[str, int]
    planted: Mapping[str, frozenset[EngineId]]
    cards: Cards

    def takes(self, name: str, at: EngineId) -> Mapping[Card, int]:
        """What a replica of a model takes of each card of an engine."""
        cards = self.cards.of(at)
        return dict.fromkeys(cards, -(-self.sizes[name] // len(cards)))


def instance(
    title: str, cards: Cards, pieces: Sequence[Piece], chance: random.Random, strategy: Strategy = Strategy.LEAST_LOADED
) -> Instance:
    """The instance of a drawing. Replicas of one size become one model where they are on engines apart; names say nothing of sizes."""
    fleet = _fleet(cards)
    grouped = _models(pieces, chance)
    names = [f"m{number:05d}:latest" for number in range(len(grouped))]
    chance.shuffle(names)
    called = {group[0].tag: name for name, group in zip(names, grouped, strict=True)}
    models, sizes, planted = [], {}, {}
    there: dict[EngineId, list[tuple[str, int]]] = {at: [] for at in (*cards.engines(), *cards.over)}
    rows: dict[str, AppliedReplica] = {}
    every = tuple(sorted(fleet.nodes))
    for name, group in zip(names, grouped, strict=True):
        first = group[0]
        sizes[name] = first.size
        if first.wanted:
            models.append(
                ModelSpec(
                    name,
                    every,
                    engine=first.kind,
                    priority=first.priority,
                    replicas=len(group),
                    vram=first.size,
                    with_models=tuple(called[tag] for tag in first.with_models),
                    never_with=tuple(called[tag] for tag in first.never_with),
                    **first.fields,  # type: ignore[arg-type]  # drawn by name
                )
            )
            planted[name] = frozenset(piece.planted for piece in group if piece.planted is not None)
        for piece in group:
            if piece.now is not None:
                there[piece.now].append((name, piece.size))
                if piece.ours:
                    row = _row(cards, name, piece.now, piece.size)
                    rows[row.address] = row
    known = tuple(Installed(name, size) for name, size in sorted(sizes.items()))
    desired = Desired(models=tuple(sorted(models, key=lambda model: model.name)), limits=WHOLE, strategy=strategy)
    if cards.agents:
        desired = replace(desired, sections={AGENTS.key: tuple(_agent(one, every) for one in cards.agents)})
    facts = _facts(fleet, cards, there, known)
    applied = Applied("bench", 1, rows, resources=given({one.name: one.now for one in cards.agents if one.now is not None}, cards))
    return Instance(title, fleet, desired, facts, applied, sizes, planted, cards)


def _agent(one: Agent, nodes: tuple[str, ...]) -> AgentSpec:
    return AgentSpec(one.name, nodes, ContainerSpec("", "agent:1", "", ""), requires_gpu=True, requirement=GpuRequirement(one.size))


def given(places: Mapping[str, Card], cards: Cards) -> dict[str, AppliedResource]:
    """The rows of agents that were given these cards."""
    sizes = {one.name: one.size for one in cards.agents}
    rows = {}
    for name, card in places.items():
        address = agent_address(name, 1, card[0])
        rows[address] = AppliedResource(address, {OWN_CARD: uuid_of(card), OWN_BYTES: sizes[name]})
    return rows


def _facts(fleet: Fleet, of: Cards, there: Mapping[EngineId, Sequence[tuple[str, int]]], installed: tuple[Installed, ...]) -> FleetFacts:
    """What probing would see where these models, with their bytes, are loaded."""
    nodes = {}
    for name, node in fleet.nodes.items():
        cards = tuple(
            CardFacts(
                c.index,
                c.uuid,
                None,
                c.vram,
                None,
                of.foreign.get((name, int(c.index)), 0),
                c.compute_capability,
                assumed=False,
                mig_parent=c.mig,
            )
            for c in node.gpus or ()
        )
        engines = {spec.id.engine: _engine(spec, of, there[spec.id], installed) for spec in node.engines}
        nodes[name] = NodeFacts(name, cards, None, engines)
    return FleetFacts(AT, nodes)


def _engine(spec: EngineSpec, of: Cards, there: Sequence[tuple[str, int]], installed: tuple[Installed, ...]) -> EngineFacts:
    if spec.kind is EngineKind.VLLM:
        share = of.shares.get(spec.id)
        served = () if share is None else (Resident("served", options=(f"gpu_memory_utilization={float(share)}",)),)
        return EngineFacts(spec.id, spec.kind, True, mode="single", residents=served)
    ollama = spec.kind is EngineKind.OLLAMA
    residents = tuple(
        Resident(name, size_bytes=size, vram_bytes=size, context=CONTEXT, pinned=True) if ollama else Resident(name) for name, size in there
    )
    return EngineFacts(
        spec.id,
        spec.kind,
        True,
        build=BUILD if ollama else None,
        mode=None if ollama else "router",
        max_residents=of.most.get(spec.id),
        installed=installed,
        residents=residents,
    )


def _fleet(cards: Cards) -> Fleet:
    nodes = {}
    kinds = (EngineKind.OLLAMA, *cards.beside)
    for name, sizes in cards.nodes.items():
        engines = tuple(
            EngineSpec(
                at := EngineId(name, _name(index, number)),
                kind,
                f"http://{name}:{1000 * (number + 1) + index}",
                gpus=(index,),
                memory_limit=cards.limits.get(at),
            )
            for index in range(len(sizes))
            for number, kind in enumerate(kinds)
        )
        engines += tuple(
            EngineSpec(at, EngineKind.LLAMACPP, f"http://{name}:{9000 + number}", gpus=together)
            for number, (at, together) in enumerate(cards.over.items())
            if at.node == name
        )
        parent = f"GPU-{name}" if name in cards.sliced else None
        gpus = tuple(
            CardSpec(index, uuid_of((name, index)) if cards.agents else None, vram=size, compute_capability=(8, 6), mig=parent)
            for index, size in enumerate(sizes)
        )
        docker = DockerSpec("unix:///var/run/docker.sock") if cards.agents else None
        nodes[name] = NodeSpec(name, name, engines, gpus, docker=docker)
    return Fleet("bench", dict(sorted(nodes.items())))


def _models(pieces: Sequence[Piece], chance: random.Random) -> list[list[Piece]]:
    """Pieces that are alike, up to four of them, as the replicas of one model: no two on one engine, now or as planted, and none on one
    node where they are to be spread."""
    groups: list[list[Piece]] = []
    open_groups: dict[tuple[object, ...], list[Piece]] = {}
    for piece in pieces:
        alike = (piece.size, piece.priority, piece.wanted, piece.ours, piece.kind, piece.planted is None, piece.tag)
        key = (*alike, *sorted(piece.fields.items()))
        group = open_groups.get(key)
        apart = group is not None and all(_apart(piece, other) for other in group)
        if group is None or not apart or chance.random() < 0.3 or len(group) == 4:
            group = open_groups[key] = []
            groups.append(group)
        group.append(piece)
    return groups


def _apart(one: Piece, other: Piece) -> bool:
    spread = bool(one.fields.get("spread_hard"))
    pairs = ((one.planted, other.planted), (one.now, other.now))
    return all(a is None or b is None or (a.node != b.node if spread else a != b) for a, b in pairs)


def _row(of: Cards, name: str, at: EngineId, size: int) -> AppliedReplica:
    cards = of.of(at)
    return AppliedReplica(
        replica_address(name, at),
        name,
        at,
        name,
        keep_alive=-1.0,
        observed_context=CONTEXT,
        observed_gpu_fraction=1.0,
        observed_pinned=True,
        vram_bytes=size,
        charges=tuple((index, -(-size // len(cards))) for _, index in cards),
    )


def after(
    of: Instance, placed: Mapping[str, frozenset[EngineId]], left: Mapping[EngineId, Sequence[str]], agents: Mapping[str, Card]
) -> Instance:
    """The instance when a plan was carried out: `placed` has the engines of each wanted model, `left` what else stays on each engine,
    `agents` their cards."""
    there: dict[EngineId, list[tuple[str, int]]] = {spec.id: [] for node in of.fleet.nodes.values() for spec in node.engines}
    rows = {}
    for name, engines in placed.items():
        for at in engines:
            there[at].append((name, of.sizes[name]))
            row = _row(of.cards, name, at, of.sizes[name])
            rows[row.address] = row
    for at, names in left.items():
        there[at] += ((name, of.sizes[name]) for name in names if name in of.sizes)
    known = tuple(Installed(name, size) for name, size in sorted(of.sizes.items()))
    facts = _facts(of.fleet, of.cards, there, known)
    return replace(of, facts=facts, applied=Applied("bench", 2, rows, resources=given(agents, of.cards)))
