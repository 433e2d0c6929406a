"""What any plan promises, judged over drawn fleets: `make properties WORLDS=3000 SEED=200`. A failure is printed with its seed and kind.

The judge of the cards keeps its own sums: it shares no arithmetic with the planner.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

from agents_of_worlds import seen_of_agents
from pretend import some_order
from wide_fleets import CLOSED, TWINS, World, apply_all, blob_of, carry, wide_world

from reconciler.execution.lookup import find_resident
from reconciler.fleet import (
    AGENTS,
    OWN_BYTES,
    OWN_CARD,
    USES,
    EngineId,
    EngineKind,
    Fields,
    Near,
    ReplicaChange,
    Resident,
    parse_agent_address,
    parse_replica_address,
    replica_address,
)
from reconciler.planning import Action, Plan, SinceApproval, Step, first_stale_step
from reconciler.planning.begun import as_begun
from reconciler.planning.kinds.agent import AgentKind, AgentStep
from reconciler.planning.resource import seen_of, stale_resource

CHUNK = 50
KNOWN_BUILD = "0.34.0"
"""The build of an Ollama of the drawn fleets that goes by the settings of its process as far as anybody knows."""
RAM = -1
CONTAINERS = (Action.CREATE, Action.UPDATE)
LOADS = (Action.LOAD, Action.RELOAD)
UNSAFE = ("over_in_plan", "over_on_the_way", "error")
"""The kinds of broken promises that none may have; of the others a few worlds in 25,000 still have one."""
CardKey = tuple[str, int]


@dataclass(frozen=True)
class Failure:
    """A broken promise of one world: its kind, and what was seen."""

    seed: int
    kind: str
    seen: str


def over_in_plan(plan: Plan) -> list[str]:
    """The cards that the plan itself shows over what they may hold, or held before."""
    return [
        f"{card.node}/{card.gpu}: before {card.before_bytes}, peak {card.peak_bytes}, after {card.after_bytes}, "
        f"usable {card.usable_bytes}, foreign {card.foreign_bytes}"
        for card in plan.gpus
        if card.usable_bytes is not None
        and max(card.peak_bytes, card.after_bytes) > max(card.usable_bytes - (card.foreign_bytes or 0), card.before_bytes)
    ]


class CardJudge:
    """Who holds how much of which card while the steps of a plan run, by its own sums: a load counts from the moment when it begins, and an
    unload until it ended. A resident that was there before sits on every card of its engine that could hold it, or with a part on each."""

    def __init__(self, world: World, plan: Plan) -> None:
        self._world = world
        self._sizes = {(card.node, card.gpu): card.total_bytes or 0 for card in plan.gpus}
        self._most = {
            (card.node, card.gpu): max(card.usable_bytes - (card.foreign_bytes or 0), card.before_bytes)
            for card in plan.gpus
            if card.usable_bytes is not None
        }
        self._level = {(card.node, card.gpu): card.before_bytes for card in plan.gpus}
        self._by_uuid = {card.uuid: (node.node, card.index) for node in world.facts.nodes.values() for card in node.cards or ()}
        self._agents = {address: self.given(row.fields) for address, row in world.applied.resources.items()}
        for step in plan.steps:
            if isinstance(step, AgentStep) and step.action is Action.ADOPT:  # it takes what the files say by now, and none of it changes
                self._add(self._agents.pop(step.address, {}), -1)
                self._agents[step.address] = self.given(step.after)
                self._add(self._agents[step.address], 1)
        self._holds: dict[tuple[EngineId, str], Mapping[CardKey, int]] = {}
        self._models: Counter[EngineId] = Counter()
        self._most_models: dict[EngineId, int] = {}
        for node in world.fleet.nodes.values():
            for engine in node.engines:
                facts = world.facts.engine(engine.id)
                if facts is None or not facts.reachable:
                    continue
                cards = [(node.name, card.index) for card in node.gpus or () if engine.gpus is None or card.index in engine.gpus]
                for resident in facts.residents or ():
                    self._models[engine.id] += 1
                    held = self._where(cards, resident.vram_bytes) if resident.vram_bytes is not None else None
                    if held is not None:
                        self._holds[engine.id, self._key(engine.id, resident.name)] = self._remembered(engine.id, resident) or held
                told = engine.env.get("OLLAMA_MAX_LOADED_MODELS") if facts.build == KNOWN_BUILD else None
                most = int(told) if told else facts.max_residents
                if most:
                    self._most_models[engine.id] = max(most, self._models[engine.id])

    def _remembered(self, at: EngineId, resident: Resident) -> Mapping[CardKey, int]:
        """What the state says that it was charged, by its own name or another one of its weights, unless it has another context by now."""
        key = self._key(at, resident.name)
        rows = [row for row in self._world.applied.replicas.values() if row.at == at and row.ensure == "loaded"]
        own = [row for row in rows if row.engine_name == resident.name]
        row = next(iter(own or [row for row in rows if self._key(at, row.engine_name) == key]), None)
        if row is None or resident.context not in (None, row.observed_context or resident.context):
            return {}
        return {(at.node, index): count for index, count in row.charges or () if index != RAM}

    def _where(self, cards: Sequence[CardKey], held: int) -> Mapping[CardKey, int]:
        enough = [card for card in cards if self._sizes[card] >= held]
        return dict.fromkeys(enough, held) if enough else dict.fromkeys(cards, -(-held // len(cards)) if cards else 0)

    def _key(self, at: EngineId, name: str) -> str:
        facts = self._world.facts.engine(at)
        return blob_of(name) if facts is not None and facts.kind is EngineKind.OLLAMA else name

    def begin(self, step: Step) -> Iterator[str]:
        """A step begins; yields what is over its bound from now on."""
        if isinstance(step, AgentStep):
            yield from self._agent_begins(step)
        if step.action not in LOADS:
            return
        at = EngineId(step.node, step.engine)
        key = at, self._key(at, step.engine_name)
        before = self._holds.get(key)
        if before is None and step.action is Action.RELOAD:
            told = step.before.get("vram_bytes")
            before = dict.fromkeys(self._cards(step), told) if isinstance(told, int) else {}
        takes = dict.fromkeys(self._cards(step), step.vram_bytes or 0)
        for card, count in (before or {}).items():
            self._level[card] = self._level.get(card, 0) - count
        for card, count in takes.items():
            self._level[card] += count
            if card in self._most and count > (before or {}).get(card, 0) and self._level[card] > self._most[card]:
                yield f"{card[0]}/{card[1]}: {self._level[card]} of {self._most[card]} at {step.id}"
        self._holds[key] = takes
        self._models[at] += step.action is Action.LOAD
        if step.action is Action.LOAD and at in self._most_models and self._models[at] > self._most_models[at]:
            yield f"{at}: {self._models[at]} models of {self._most_models[at]} at {step.id}"

    def end(self, step: Step) -> None:
        """A step ended well."""
        if isinstance(step, AgentStep) and (step.action is Action.REMOVE or step.starts_beside):
            self._add(self._agents.pop(step.address), -1)
        if isinstance(step, AgentStep) and step.action in CONTAINERS:
            self._agents[step.address] = self.given(step.after)
        if step.action is not Action.UNLOAD:
            return
        at = EngineId(step.node, step.engine)
        held = self._holds.pop((at, self._key(at, step.engine_name)), None)
        if held is None:
            held = dict.fromkeys(self._cards(step), step.vram_bytes or 0)
        for card, count in held.items():
            self._level[card] -= count
        self._models[at] -= 1

    def _agent_begins(self, step: AgentStep) -> Iterator[str]:
        """What it is given counts from now on; what the container before it had does no more where that ends first."""
        if step.action not in CONTAINERS:
            return
        if step.action is Action.UPDATE and not step.starts_beside:
            self._add(self._agents.pop(step.address, {}), -1)
        takes = self.given(step.after)
        self._add(takes, 1)
        for card in takes:
            if card in self._most and self._level[card] > self._most[card]:
                yield f"{card[0]}/{card[1]}: {self._level[card]} of {self._most[card]} at {step.id}"

    def given(self, fields: Fields) -> Mapping[CardKey, int]:
        uuid, count = fields.get(OWN_CARD), fields.get(OWN_BYTES)
        return {self._by_uuid[uuid]: count} if uuid in self._by_uuid and isinstance(count, int) else {}

    def _add(self, held: Mapping[CardKey, int], sign: int) -> None:
        for card, count in held.items():
            self._level[card] += sign * count

    def _cards(self, step: Step) -> list[CardKey]:
        return [(step.node, index) for index in step.gpus or step.gpu_candidates or ()]


def over_on_the_way(world: World, plan: Plan, chance: random.Random) -> list[str]:
    """What is over a bound on one drawn schedule that respects `needs`, with any number of steps running at once."""
    judge = CardJudge(world, plan)
    left, running, done, found = list(plan.steps), [], set(), []
    while left or running:
        ready = [step for step in left if set(step.needs) <= done]
        if ready and (not running or chance.random() < 0.6):
            step = chance.choice(ready)
            left.remove(step)
            running.append(step)
            found += judge.begin(step)
        elif running:
            step = running.pop(chance.randrange(len(running)))
            judge.end(step)
            done.add(step.id)
        else:
            return [*found, f"nothing can begin: {[step.id for step in left]}"]
    return found


def against_when(world: World, plan: Plan) -> list[str]:
    """What is placed outside its hours, or loaded onto a card that cannot have had what it asks to be free."""
    cards = {(card.node, card.gpu): card for card in plan.gpus}
    models = {model.name: model for model in world.desired.models}
    loads = [step for step in plan.steps if step.action in LOADS]
    variants = {one.name for model in models.values() for one in model.variants}
    judge, agents = CardJudge(world, plan), [step for step in plan.steps if isinstance(step, AgentStep)]
    found = []
    for address in plan.placed:
        name, at = parse_replica_address(address)
        model, facts = models.get(name), world.facts.engine(at)
        seen = facts is not None and facts.reachable and (world.selected is None or at.node in world.selected)
        if seen and model is not None and name not in variants and model.when.hours is CLOSED:
            found.append(f"{address} is placed outside its hours")
    for step in loads:
        least = models[step.model].when.free_vram
        if least is None or step.action is Action.RELOAD:
            continue
        for card in ((step.node, gpu) for gpu in step.gpus or step.gpu_candidates or ()):
            balance = cards[card]
            came = sum(one.vram_bytes or 0 for one in loads if card in {(one.node, gpu) for gpu in one.gpus or one.gpu_candidates or ()})
            came += sum(judge.given(one.after).get(card, 0) for one in agents if step.id in one.needs)
            if balance.usable_bytes - (balance.foreign_bytes or 0) - balance.after_bytes + came < least:
                found.append(f"{step.id}: {card} never had {least} free")
    return found


def against_agents(world: World, plan: Plan) -> list[str]:
    """Which agents are, after the apply, without the model that they use, or away from it where they must be on its node."""
    after, found = apply_all(world, plan), []
    wanted = {spec.name: spec for spec in AGENTS.of(world.desired)}
    for address, row in after.applied.resources.items():
        name, _, node = parse_agent_address(address)
        at = EngineId.parse(str(row.fields[USES])) if USES in row.fields else None
        if at is None or name not in wanted or (world.selected is not None and node not in world.selected):
            continue
        engine = after.facts.engine(at)
        model = str(row.fields.get("model"))
        there = engine is None or not engine.reachable or replica_address(model, at) in plan.placed or find_resident(engine, model)
        if not there:
            found.append(f"{address} uses {model}, which is not at {at}")
        if wanted[name].near is Near.NODE and node != at.node:
            found.append(f"{address} is not on the node of {at}")
    return found


def against_company(world: World, plan: Plan) -> list[str]:
    """Who is on one card with a model that it is never with, or without one that it must be with, after the apply: by what the state says
    that each was charged. What nobody can ask or may touch is not judged, nor what is protected."""
    after = apply_all(world, plan)
    rows = {address: after.applied.replicas[address] for address in plan.placed if address in after.applied.replicas}
    models = {model.name: model for model in world.desired.models}

    def judged(at: EngineId) -> bool:
        facts = world.facts.engine(at)
        return facts is not None and facts.reachable and (world.selected is None or at.node in world.selected)

    on: dict[str, list[set[CardKey]]] = defaultdict(list)
    for row in rows.values():
        if judged(row.at) and row.ensure == "loaded" and not row.protect:
            on[row.model].append({(row.at.node, index) for index, _ in row.charges or () if index != RAM})
    found = []
    for name, places in on.items():
        model = models.get(name)
        for foe in model.never_with if model is not None else ():
            found += [f"{name} beside {foe} on {mine & theirs}" for mine in places for theirs in on.get(foe, ()) if mine & theirs]
        for mate in model.with_models if model is not None else ():
            mates = [row for row in rows.values() if row.model == mate]
            beside = {(row.at.node, index) for row in mates for index, _ in row.charges or ()}
            known = {row.at for row in mates if row.charges and judged(row.at)}
            untold = {at.node for name_of, at in map(parse_replica_address, plan.placed) if name_of == mate and at not in known}
            told = [mine for mine in places if mine and untold.isdisjoint(node for node, _ in mine)]
            found += [f"{name} without {mate} on {mine}" for mine in told if not mine <= beside]
    return found


def that_teach(world: World, plan: Plan) -> set[str]:
    """The pulls (ids) that tell what nobody could know: of a name that is on no disk, where its weights are those of another name, or where
    only its file tells how large a model is."""
    files = [one for node in world.facts.nodes.values() for engine in node.engines.values() for one in engine.installed or ()]
    unsized = {model.name for model in world.desired.models if model.vram is None} - {one.name for one in files}
    alike = {*TWINS} - {one.name for one in files if one.blob}
    pulls = (step for step in plan.steps if step.action is Action.PULL)
    return {step.id for step in pulls if step.base_name in unsized or step.engine_name in alike}


def settled(world: World, plan: Plan) -> World:
    """After a complete apply, and one more where the first one taught something."""
    after = apply_all(world, plan)
    return apply_all(after) if that_teach(world, plan) else after


def second_steps(world: World, plan: Plan) -> list[str]:
    """The steps of the plan after a complete apply."""
    return [step.id for step in settled(world, plan).plan().steps]


def refused(world: World, plan: Plan, order: Sequence[Step]) -> list[str]:
    """Where a saved plan is refused by the facts that it was made from, or by those after a part of it, until a pull teaches something."""
    since: dict[str, list[ReplicaChange]] = {}
    teaching = that_teach(world, plan)
    for step in (None, *order):
        if step is not None:
            if step.id in teaching:
                return []
            before, world = world, carry(world, plan, step)
            if world.applied.replicas.get(step.address) != before.applied.replicas.get(step.address):
                since[step.address] = [ReplicaChange(step.address, plan.serial + 1, plan_digest=plan.digest)]
        changes = SinceApproval(dict(since))
        stale = first_stale_step(plan, world.fleet, world.desired, world.facts, world.applied, world.selected, since=changes)
        if stale is not None:
            return [f"{'at once' if step is None else f'after {step.id}'}: {stale.step.id}: {stale.why}"]
        stale_agents = [f"{'at once' if step is None else f'after {step.id}'}: {one}" for one in refused_agents(world, plan)]
        if stale_agents:
            return stale_agents
    return []


def refused_agents(world: World, plan: Plan) -> list[str]:
    """The steps about agents that the plan of now, and what runs, refuse."""
    steps = [step for step in plan.steps if isinstance(step, AgentStep)]
    wanted = replace(world, applied=as_begun(plan, world.applied)).plan().wanted if steps else {}
    seen = seen_of_agents(world.fleet, world.applied, world.containers) if steps else {}
    whys = {
        step.id: stale_resource(
            AgentKind(), step, seen_of(seen, step.address, step.node), wanted.get(step.address), world.applied.resources.get(step.address)
        )
        for step in steps
    }
    return [f"{one}: {why}" for one, why in whys.items() if why is not None]


def third_steps(world: World, plan: Plan, chance: random.Random) -> list[str]:
    """The steps of the third plan where the first apply was cut or partly failed, and the second one was complete."""
    cut, fails = chance.random() < 0.5, chance.random() * 0.4
    order = some_order(plan, chance.randrange(2**32))
    if cut:
        for step in order[: chance.randint(0, len(order))]:
            world = carry(world, plan, step)
    else:
        lost: set[str] = set()
        for step in order:
            if lost & set(step.needs) or chance.random() < fails:
                lost.add(step.id)
        world = apply_all(world, plan, failed=frozenset(lost), order=order)
    again = world.plan()
    return [step.id for step in settled(world, again).plan().steps] if not again.refusals else []


def failures(seed: int) -> list[Failure]:
    """All promises over the world of a seed. A plan that a guard refuses is carried out by nobody, so only its cards are judged."""
    try:
        return list(_failures(seed))
    except Exception as error:  # noqa: BLE001 - a world that ends the planner is a finding like another
        return [Failure(seed, "error", f"{type(error).__name__}: {error}")]


def _failures(seed: int) -> Iterator[Failure]:
    world, chance = wide_world(seed), random.Random(seed)
    plan = world.plan()
    yield from (Failure(seed, "over_in_plan", one) for one in over_in_plan(plan))
    yield from (Failure(seed, "against_when", one) for one in against_when(world, plan))
    if plan.refusals:
        return
    ways: Mapping[str, Callable[[], list[str]]] = {
        "against_agents": lambda: against_agents(world, plan),
        "against_company": lambda: against_company(world, plan),
        "over_on_the_way": lambda: over_on_the_way(world, plan, chance),
        "second_not_empty": lambda: second_steps(world, plan),
        "refused": lambda: refused(world, plan, some_order(plan, seed)),
        "third_not_empty": lambda: third_steps(world, plan, chance),
    }
    for kind, asked in ways.items():
        seen = asked()
        if seen:
            yield Failure(seed, kind, "; ".join(seen))


def judged(seeds: range) -> list[Failure]:
    return [failure for seed in seeds for failure in failures(seed)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=int(os.environ.get("WORLDS") or 1000))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or random.SystemRandom().randrange(10**9)))
    parser.add_argument("--processes", type=int, default=int(os.environ.get("PROCESSES") or 2))
    parser.add_argument("--only-unsafe", action="store_true", help=f"fail only for {', '.join(UNSAFE)}; the others are still printed")
    asked = parser.parse_args()
    first, end, started = asked.seed, asked.seed + asked.worlds, time.monotonic()
    print(f"worlds of the seeds {first} to {end - 1}: the same again with WORLDS={asked.worlds} SEED={first}", flush=True)
    chunks = [range(start, min(start + CHUNK, end)) for start in range(first, end, CHUNK)]
    found: dict[str, list[Failure]] = defaultdict(list)
    with ProcessPoolExecutor(asked.processes) as pool:
        for some in pool.map(judged, chunks):
            for failure in some:
                found[failure.kind].append(failure)
                print(f"seed {failure.seed}: {failure.kind}: {failure.seen[:400]}", flush=True)
    counts = {kind: len({failure.seed for failure in some}) for kind, some in sorted(found.items())}
    told = ", ".join(f"{kind} {count}" for kind, count in counts.items()) or "every promise held"
    print(f"{asked.worlds} worlds in {time.monotonic() - started:.0f} s: {told}")
    return 1 if any(kind in UNSAFE or not asked.only_unsafe for kind in found) else 0


if __name__ == "__main__":
    sys.exit(main())
