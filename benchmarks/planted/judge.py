"""Judges a plan by sums of its own: it takes sizes from what was drawn and places from the steps, and shares no sums with the program.

Card by card it adds up who is there in the end. A *fault* is a broken promise; *inversions* and *needless moves* are what a good plan does
not have; bytes without a place and bytes that moved are what plans are compared by.
"""

from __future__ import annotations

import gc
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from planted.instance import AT, Card, Instance, after, card_of
from reconciler.capacity import set_up
from reconciler.fleet import (
    AGENT,
    OWN_CARD,
    EngineId,
    EngineKind,
    ModelSpec,
    ResourceFacts,
    Spread,
    parse_agent_address,
    parse_replica_address,
)
from reconciler.placement import place_most
from reconciler.planning import Action, Plan, make_plan
from reconciler.planning.kinds.agent import AgentKind, AgentStep
from reconciler.planning.kinds.model.step import ModelStep
from reconciler.planning.resource import anywhere_on

Places = Mapping[str, frozenset[EngineId]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one plan is worth. Bytes by priority, the highest first; `wanted` are those of all wanted replicas. `moved` are bytes of
    replicas that leave their engine, beside what is too many; `planted_moved` the same for the planted placement. `seconds` are of
    CPU. `second` steps has the plan after this one was carried out. `proved` is what the plan says of itself."""

    title: str
    cards: int
    replicas: int
    wanted: Mapping[int, int]
    unplaced: Mapping[int, int]
    planted_unplaced: Mapping[int, int]
    unplaced_count: int
    moved: int
    planted_moved: int
    inversions: Sequence[str]
    needless: Sequence[str]
    faults: Sequence[str]
    second: int
    seconds: float
    proved: bool

    @property
    def unplaced_share(self) -> float:
        """Bytes without a place beyond those of the planted placement, of all wanted bytes: the most of that down to any priority, so that
        what matters less makes good for nothing."""
        worst = more = 0
        for priority, count in self.unplaced.items():
            more += count - self.planted_unplaced[priority]
            worst = max(worst, more)
        return worst / max(1, sum(self.wanted.values()))

    @property
    def moved_share(self) -> float:
        return self.moved / max(1, sum(self.wanted.values()))


def plan_of(of: Instance) -> Plan:
    """The plan; of agents one that makes each container anew on the card that it has or gets, since no container is looked at."""
    seen = {anywhere_on(AGENT, node): ResourceFacts(False) for node in of.fleet.nodes} if of.cards.agents else {}
    return make_plan(
        of.fleet,
        of.desired,
        of.facts,
        of.applied,
        config_digest="sha256:bench",
        created_at=AT,
        resources=seen,
        kinds=(AgentKind(),) if of.cards.agents else (),
    )


def placement_seconds(of: Instance) -> float:
    """CPU seconds of placement alone, without the rest of a plan: the least of five. The cycle collector is off, as it is while a command
    plans."""
    taken = []
    gc.disable()
    for _ in range(5):
        started = time.process_time()
        place_most(lambda: set_up(of.fleet, of.facts, of.desired.limits), of.desired, of.applied)
        taken.append(time.process_time() - started)
    gc.enable()
    return min(taken)


def judge(of: Instance) -> Verdict:
    """Plans, and judges the plan. A plan is made by one thread, so its CPU time is what a free core takes, however busy the machine is."""
    started = time.process_time()
    plan = plan_of(of)
    seconds = time.process_time() - started
    return verdict(of, plan, seconds, second=True)


@dataclass(slots=True)
class _Board:
    """Who is where in the end, and what each card holds then."""

    of: Instance
    places: Places
    left: Mapping[EngineId, Sequence[str]]
    agents: Mapping[str, Card]
    held: dict[Card, int] = field(default_factory=lambda: defaultdict(int))
    sizes: dict[Card, int] = field(default_factory=dict)
    on_card: dict[Card, list[tuple[str, EngineId]]] = field(default_factory=lambda: defaultdict(list))
    own: Counter[EngineId] = field(default_factory=Counter)
    models: Counter[EngineId] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for node in self.of.facts.nodes.values():
            for card in node.cards or ():
                self.sizes[node.node, int(card.index)] = (card.total_bytes or 0) - (card.foreign_bytes or 0)
        for at, share in self.of.cards.shares.items():
            self.held[card_of(at)] += int(share * self.of.cards.nodes[at.node][card_of(at)[1]])
        for one in self.of.cards.agents:
            if one.name in self.agents:
                self.held[self.agents[one.name]] += one.size
        there = [(name, at) for name, engines in self.places.items() for at in engines]
        for name, at in (*there, *((name, at) for at, names in self.left.items() for name in names if name in self.of.sizes)):
            for where, count in self.of.takes(name, at).items():
                self.held[where] += count
            self.own[at] += self.of.sizes[name]
            self.models[at] += 1
        for name, at in there:
            for where in self.of.cards.of(at):
                self.on_card[where].append((name, at))

    @property
    def engines(self) -> list[EngineId]:
        return [spec.id for node in self.of.fleet.nodes.values() for spec in node.engines]

    def takes(self, model: str, at: EngineId, without: Sequence[tuple[str, EngineId]] = ()) -> bool:
        """Whether an engine takes one more of this model, where some others left."""
        gone: Counter[Card] = Counter()
        for name, other in without:
            gone.update(self.of.takes(name, other))
        own = [self.of.sizes[name] for name, other in without if other == at]
        most, limit = self.of.cards.most.get(at), self.of.cards.limits.get(at)
        return (
            all(self.held[card] - gone[card] + count <= self.sizes[card] for card, count in self.of.takes(model, at).items())
            and (most is None or self.models[at] - len(own) + 1 <= most)
            and (limit is None or self.own[at] - sum(own) + self.of.sizes[model] <= limit)
        )

    def may_be(self, model: ModelSpec, at: EngineId, without: Sequence[tuple[str, EngineId]] = ()) -> bool:
        """Whether the files allow a replica there, beside the others, whatever room there is."""
        if at in self.places[model.name] or not allowed(self.of, model, at) or beside(self.of, model, at, self.places[model.name]):
            return False
        return self.wrong_company(model, at, without) is None

    def wrong_company(self, model: ModelSpec, at: EngineId, without: Sequence[tuple[str, EngineId]] = ()) -> str | None:
        """Who is on a card of an engine and may not be with this model, or is to be and is not."""
        foes = foes_of(self.of)[model.name]
        for card in self.of.cards.of(at):
            there = {name for name, where in self.on_card[card] if (name, where) not in without}
            for name in sorted(there & foes):
                return f"beside {name}"
            for name in sorted(set(model.with_models) - there):
                return f"without {name}"
        return None


def foes_of(of: Instance) -> Mapping[str, set[str]]:
    """By model those with which it is never on one card, whoever of the two says so."""
    foes: dict[str, set[str]] = defaultdict(set)
    for model in of.desired.models:
        for other in model.never_with:
            foes[model.name].add(other)
            foes[other].add(model.name)
    return foes


def allowed(of: Instance, model: ModelSpec, at: EngineId) -> bool:
    """Whether a model may be on an engine by its node, its kind and what its card must have."""
    kinds = {spec.id: spec.kind for spec in of.fleet.nodes[at.node].engines}
    if kinds[at] is EngineKind.VLLM:  # it has the model of its start
        return False
    cards = of.cards.of(at)
    specs = {int(card.index): card for card in of.fleet.nodes[at.node].gpus or ()}
    enough = model.requires.vram is None or all((specs[index].vram or 0) >= model.requires.vram for _, index in cards)
    parts = model.runs.split_cards in (None, len(cards))
    return at.node in model.nodes and (model.engine is None or kinds[at] is model.engine) and enough and parts


def beside(of: Instance, model: ModelSpec, at: EngineId, others: frozenset[EngineId]) -> bool:
    """Whether a written spread forbids a replica there."""
    if not model.spread_hard or model.spread is Spread.NONE:
        return False
    if model.spread is Spread.NODE:
        return any(other.node == at.node for other in others if other != at)
    return any(not set(of.cards.of(at)).isdisjoint(of.cards.of(other)) for other in others if other != at)


def residents_of(of: Instance) -> dict[EngineId, list[str]]:
    """Who is where now, by what is seen."""
    return {
        engine.id: [resident.name for resident in engine.residents or ()]
        for node in of.facts.nodes.values()
        for engine in node.engines.values()
    }


def end_of(of: Instance, plan: Plan) -> dict[EngineId, list[str]]:
    """Who is where when every step was done."""
    there = residents_of(of)
    for step in plan.steps:
        if not isinstance(step, ModelStep):
            continue
        at = EngineId(step.node, step.engine)
        if step.action is Action.UNLOAD:
            there[at].remove(step.engine_name)
        elif step.action is Action.LOAD:
            there[at].append(step.engine_name)
    return there


def agents_of(plan: Plan) -> dict[str, Card]:
    """The card of each agent when every step was done."""
    found = {}
    for step in plan.steps:
        if isinstance(step, AgentStep) and step.after.get(OWN_CARD) is not None:
            _, node, index = str(step.after[OWN_CARD]).split("-")
            found[parse_agent_address(step.address)[0]] = node, int(index)
    return found


def verdict(of: Instance, plan: Plan, seconds: float = 0.0, second: bool = False) -> Verdict:
    """The verdict on a plan that was made for an instance; with `second` also on the plan after it."""
    models = {model.name: model for model in of.desired.models}
    end = end_of(of, plan)
    places: dict[str, frozenset[EngineId]] = {name: frozenset(at for at, names in end.items() if name in names) for name in models}
    left = {at: [name for name in names if name not in models] for at, names in end.items()}
    agents = agents_of(plan)
    board = _Board(of, places, left, agents)
    now = residents_of(of)
    before: dict[str, set[EngineId]] = {name: set() for name in models}
    for at, names in now.items():
        for name in names:
            if name in before:
                before[name].add(at)
    missing = {name: (model.replicas or 0) - len(places[name]) for name, model in models.items()}
    steps = 0
    if second:
        then = plan_of(after(of, places, left, agents))
        steps = sum(isinstance(step, ModelStep) for step in then.steps) + (agents_of(then) != agents)
    return Verdict(
        title=of.title,
        cards=len(board.sizes),
        replicas=sum(model.replicas or 0 for model in models.values()),
        wanted=_by_priority(of, models, {name: model.replicas or 0 for name, model in models.items()}),
        unplaced=_by_priority(of, models, missing),
        planted_unplaced=_by_priority(of, models, {name: (model.replicas or 0) - len(of.planted[name]) for name, model in models.items()}),
        unplaced_count=sum(missing.values()),
        moved=sum(of.sizes[name] * _gone(models[name], engines, places[name]) for name, engines in before.items()),
        planted_moved=sum(of.sizes[name] * _gone(models[name], engines, of.planted[name]) for name, engines in before.items()),
        inversions=_inversions(board, models, missing),
        needless=_needless(board, models, before),
        faults=_faults(board, models, missing, plan),
        second=steps,
        seconds=seconds,
        proved=plan.placement.proved,
    )


def _by_priority(of: Instance, models: Mapping[str, ModelSpec], counts: Mapping[str, int]) -> dict[int, int]:
    found = dict.fromkeys(sorted({model.priority for model in models.values()}, reverse=True), 0)
    for name, count in counts.items():
        found[models[name].priority] += count * of.sizes[name]
    return found


def _gone(model: ModelSpec, before: set[EngineId], now: frozenset[EngineId]) -> int:
    """How many replicas leave their engine, beside those that are too many."""
    return max(0, min(model.replicas or 0, len(before)) - len(before & now))


def _faults(board: _Board, models: Mapping[str, ModelSpec], missing: Mapping[str, int], plan: Plan) -> list[str]:
    faults = [
        f"{card[0]}/{card[1]} holds {held:,} of {board.sizes[card]:,}"
        for card, held in sorted(board.held.items())
        if held > board.sizes[card]
    ]
    faults += [f"{at} holds {board.models[at]} models of {most}" for at, most in board.of.cards.most.items() if board.models[at] > most]
    faults += [f"{at} takes {board.own[at]:,} of {limit:,}" for at, limit in board.of.cards.limits.items() if board.own[at] > limit]
    for name, model in sorted(models.items()):
        if model.protect:
            there = {at for at, names in residents_of(board.of).items() if name in names}
            faults += [f"{name} is protected and leaves {at}" for at in sorted(there - board.places[name])]
        faults += [f"{name} may not be on {at}" for at in sorted(board.places[name]) if not allowed(board.of, model, at)]
        faults += [
            f"{name} stands beside itself on {at}" for at in sorted(board.places[name]) if beside(board.of, model, at, board.places[name])
        ]
        company = ((at, board.wrong_company(model, at)) for at in sorted(board.places[name]))
        faults += [f"{name} is {wrong} on {at}" for at, wrong in company if wrong is not None]
        if missing[name] < 0:
            faults.append(f"{name} has {-missing[name]} replicas too many")
        if missing[name] > 0:
            fits = [at for at in board.engines if board.may_be(model, at) and board.takes(name, at)]
            faults += [f"{name} has no place, and fits on {at}" for at in fits[:1]]
    for one in board.of.cards.agents:
        if one.now is not None and board.agents.get(one.name) != one.now:
            faults.append(f"{one.name} has {one.now} and gets {board.agents.get(one.name)}")
        fitting = [card for card, size in board.sizes.items() if size - board.held[card] >= one.size]
        if one.name not in board.agents and fitting:
            faults.append(f"{one.name} has no card, and fits on {fitting[0]}")
    told = {entry.model: entry.count for entry in plan.unplaced if entry.agent is None}
    if told != {name: count for name, count in missing.items() if count > 0}:
        faults.append("the plan says something else of what has no place than its steps")
    placed: dict[str, set[EngineId]] = defaultdict(set)
    for address in plan.placed:
        name, at = parse_replica_address(address)
        placed[name].add(at)
    if {name: frozenset(engines) for name, engines in placed.items()} != {name: some for name, some in board.places.items() if some}:
        faults.append("the plan says another placement than its steps")
    return faults


def _inversions(board: _Board, models: Mapping[str, ModelSpec], missing: Mapping[str, int]) -> list[str]:
    """Models without a place that would have one if all of lower priority left a card."""
    found = []
    for name, count in sorted(missing.items()):
        model = models[name]
        for at in board.engines if count > 0 else ():
            lower = [
                (other, where)
                for card in board.of.cards.of(at)
                for other, where in board.on_card[card]
                if models[other].priority < model.priority and not models[other].protect
            ]
            lower = [*dict.fromkeys(lower)]
            if lower and board.may_be(model, at, lower) and board.takes(name, at, lower):
                found.append(f"{name} has no place, and would fit on {at} if all of lower priority left")
                break
    return found


def _needless(board: _Board, models: Mapping[str, ModelSpec], before: Mapping[str, set[EngineId]]) -> list[str]:
    """Replicas that left an engine where they would fit still, with everybody else where the plan puts them."""
    found = []
    followed = {other for model in models.values() for other in model.with_models}
    for name, engines in sorted(before.items()):
        model = models[name]
        new = sorted(board.places[name] - engines)
        for at in sorted(engines - board.places[name]) if _gone(model, engines, board.places[name]) else ():
            others = board.places[name] - set(new[:1])
            own = [(name, other) for other in new[:1]]
            fits = allowed(board.of, model, at) and not beside(board.of, model, at, others) and board.takes(name, at, own)
            if fits and name not in followed and board.wrong_company(model, at) is None:
                found.append(f"{name} left {at} and would fit there")
    return found
