"""What agents wait for, and what waits for them.

An agent starts after its model is there and after what it depends on; where its model goes, it leaves or changes first, and what it
depended on goes after it. A card that it is given is free before, and one that it leaves is free after.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from reconciler.fleet import (
    DEPENDS_ON,
    OWN_CARD,
    USES,
    CardId,
    EngineId,
    Scalar,
    parse_agent_address,
    replica_address,
    resource_address,
)
from reconciler.planning.edges import Edge
from reconciler.planning.kinds.engine.kind import EngineStep, own_cards
from reconciler.planning.kinds.model.step import ModelStep
from reconciler.planning.plan import Action, Step
from reconciler.planning.resource import AfterPlan

_MODEL, _CARDS = "model", "cards"
_CardAt = tuple[str, CardId]
_STARTS = (Action.CREATE, Action.UPDATE, Action.WAIT)
_LEAVES = (Action.REMOVE, Action.UPDATE)
_BRINGS = (Action.PULL, Action.TAG, Action.LOAD, Action.RELOAD, Action.UPDATE, Action.WAIT, Action.CREATE)
_TAKES_AWAY = (Action.UNLOAD, Action.REMOVE)


def edges_of(made: Sequence[Step], after: AfterPlan) -> list[Edge]:
    """The edges between the steps about agents and all others, and among them."""
    if not made:
        return []
    by_address: dict[str, list[Step]] = defaultdict(list)
    for step in after.steps:
        by_address[step.address].append(step)
    edges: list[Edge] = []
    for step in made:
        edges += _after_its_model(step, by_address)
        edges += _before_its_model_goes(step, after, by_address)
    edges += _dependencies(made, after)
    edges += _moves(made)
    edges += _cards(made, after)
    return edges


def _after_its_model(step: Step, by_address: Mapping[str, Sequence[Step]]) -> Iterator[Edge]:
    at = _engine(step.after.get(USES))
    if step.action not in _STARTS or at is None:
        return
    for address in (replica_address(str(step.after.get(_MODEL)), at), resource_address("engine", at.engine, at.node)):
        for needed in by_address.get(address, ()):
            if needed.action in _BRINGS:
                yield Edge(step.id, needed.id)


def _before_its_model_goes(step: Step, after: AfterPlan, by_address: Mapping[str, Sequence[Step]]) -> Iterator[Edge]:
    """What the agent used until now goes after it has left, where that closes no ring."""
    row = after.applied.resources.get(step.address)
    at = _engine(row.fields.get(USES)) if row is not None else None
    if step.action not in _LEAVES or row is None or at is None or all(step.after.get(one) == row.fields.get(one) for one in (USES, _MODEL)):
        return
    for address in (replica_address(str(row.fields.get(_MODEL)), at), resource_address("engine", at.engine, at.node)):
        for waits in by_address.get(address, ()):
            if waits.action in _TAKES_AWAY:
                yield Edge(waits.id, step.id, soft=True)


def _dependencies(made: Sequence[Step], after: AfterPlan) -> Iterator[Edge]:
    """`depends_on`: what is needed starts before, and leaves after; of what left the files the state knows it."""
    by_name: dict[str, list[Step]] = defaultdict(list)
    for step in made:
        by_name[parse_agent_address(step.address)[0]].append(step)
    for step in made:
        row = after.applied.resources.get(step.address)
        fields = step.after if step.action is not Action.REMOVE else row.fields if row is not None else {}
        for name in str(fields.get(DEPENDS_ON) or "").split():
            for other in by_name.get(name, ()):
                if step.action in _STARTS and other.action in _STARTS:
                    yield Edge(step.id, other.id)
                if step.action is Action.REMOVE and other.action is Action.REMOVE:
                    yield Edge(other.id, step.id, soft=True)


def _moves(made: Sequence[Step]) -> Iterator[Edge]:
    """Of one agent the new container comes before an old one goes, where that is possible."""
    comes: dict[str, list[Step]] = defaultdict(list)
    goes: dict[str, list[Step]] = defaultdict(list)
    for step in made:
        if step.action in (Action.CREATE, Action.REMOVE):
            (comes if step.action is Action.CREATE else goes)[parse_agent_address(step.address)[0]].append(step)
    for name, leaving in goes.items():
        for old, new in zip(leaving, comes.get(name, ()), strict=False):
            yield Edge(old.id, new.id, soft=True)


def _cards(made: Sequence[Step], after: AfterPlan) -> Iterator[Edge]:
    """Who is given a card waits for all that leaves it, and for what asks for free memory of it before it comes; a model that comes to a
    card waits for the agents that leave it for good."""
    rows = after.applied.resources
    if not any(step.after.get(OWN_CARD) or ((row := rows.get(step.address)) is not None and row.fields.get(OWN_CARD)) for step in made):
        return
    uuids: dict[str, _CardAt] = {}
    for node in after.facts.nodes.values():
        uuids |= {card.uuid: (node.node, card.index) for card in node.cards or () if card.uuid is not None}
    leaves: dict[_CardAt, list[Step]] = defaultdict(list)
    comes: dict[_CardAt, list[str]] = defaultdict(list)
    for step in made:
        row = rows.get(step.address)
        before = row.fields.get(OWN_CARD) if row is not None else None
        now = step.after.get(OWN_CARD) if step.action in _STARTS else None
        if before is not None and before != now and step.action in _LEAVES and before in uuids:
            leaves[uuids[str(before)]].append(step)
        if now is not None and now != before and now in uuids:
            comes[uuids[str(now)]].append(step.id)
    for card, ids in comes.items():
        yield from (Edge(one, gone.id) for one in ids for gone in leaves.get(card, ()))
    yield from _cards_of_engines(after, uuids, leaves, comes)
    asks_for_free = {model.name for model in after.desired.models if model.when.free_vram is not None}
    for step in after.steps:
        if not isinstance(step, ModelStep):
            continue
        for card in after.frees.get(step.id, ()):
            yield from (Edge(one, step.id) for one in comes.get(card, ()))
        for card in ((step.node, index) for index in step.cards):
            if step.action is Action.LOAD and step.model in asks_for_free:
                yield from (Edge(one, step.id) for one in comes.get(card, ()))
            if step.action in (Action.LOAD, Action.RELOAD):
                yield from (Edge(step.id, gone.id) for gone in leaves.get(card, ()) if gone.action is Action.REMOVE)


def _cards_of_engines(
    after: AfterPlan, uuids: Mapping[str, _CardAt], leaves: Mapping[_CardAt, Sequence[Step]], comes: Mapping[_CardAt, Sequence[str]]
) -> Iterator[Edge]:
    """An engine that comes to a card waits for the agents that leave it, and an agent for the engine that does."""
    specs = {engine.id: engine for node in after.fleet.nodes.values() for engine in node.engines}
    for step in after.steps:
        if not isinstance(step, EngineStep) or step.action not in (Action.CREATE, Action.UPDATE, Action.REMOVE):
            continue
        row = after.applied.resources.get(step.address)
        had = {uuids[one] for one in str(row.fields.get(_CARDS) or "").split(", ") if one in uuids} if row is not None else set()
        spec = specs.get(EngineId(step.node, step.engine)) if step.action is not Action.REMOVE else None
        has = {(step.node, card.index) for card in (own_cards(after.facts, spec) or () if spec is not None else ())}
        for card in sorted(has - had, key=str):
            yield from (Edge(step.id, gone.id, soft=True) for gone in leaves.get(card, ()))
        for card in sorted(had - has, key=str):
            yield from (Edge(one, step.id, soft=True) for one in comes.get(card, ()))


def _engine(value: Scalar | None) -> EngineId | None:
    return EngineId.parse(value) if isinstance(value, str) else None
