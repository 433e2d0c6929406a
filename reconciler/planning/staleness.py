"""Does a plan that was made earlier still stand on the facts of now? Step by step, each for the moment before it, as if those before it
were done.

A plan stands when every step is either satisfied already or can still be done as it was approved: its engine answers, what it needs is
installed, its cards have the room. Facts that no step depends on may have moved. What comes from a file is never trusted to be about this
fleet: a step that these files could not have asked for is refused like one that is out of date.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cached_property

from reconciler.capacity import Card, Charges, EngineState, Holding, Occupancy, set_up
from reconciler.fleet import (
    Applied,
    Desired,
    EngineKind,
    Ensure,
    Fleet,
    FleetFacts,
    ModelSpec,
    WantedNames,
    format_bytes,
    parse_replica_address,
    parse_time,
)
from reconciler.placement import Decided, Occupant, Target, charge_found, need_on
from reconciler.planning.approved_from import NOTHING_SINCE, SinceApproval, differs_from_before, not_as_approved
from reconciler.planning.kinds.model.changes import asked_of
from reconciler.planning.kinds.model.replica import Replica, replica_of
from reconciler.planning.kinds.model.rules import ASKED_AGAIN, decide
from reconciler.planning.kinds.model.step import ModelStep, model_steps
from reconciler.planning.plan import FETCHES, Action, Plan, Step
from reconciler.planning.planner import room_needed
from reconciler.value_class import value_class
from reconciler.vram import NO_CATALOGUE, Catalogue

_LOADS = (Action.LOAD, Action.RELOAD)


@value_class
class StaleStep:
    """The first step that no longer stands, and why, as a sentence without its subject."""

    step: Step
    why: str


def first_stale_step(
    plan: Plan,
    fleet: Fleet,
    desired: Desired,
    facts: FleetFacts,
    applied: Applied,
    selected: frozenset[str] | None = None,
    catalogue: Catalogue = NO_CATALOGUE,
    since: SinceApproval = NOTHING_SINCE,
) -> StaleStep | None:
    """The first step that cannot be done any more as planned; None when the whole plan still stands.

    `selected` are the node names of the plan's own `--limit` and `--exclude`; None means all. `since` is what
    the state tells of the time since the plan was made.
    """
    desired = desired.at(parse_time(facts.at)) if desired.hours else desired
    board = set_up(fleet, facts, desired.limits, selected, catalogue, desired.policy.assumes_foreign)
    replay = _Replay(plan, fleet, desired, board, applied, since)
    for step in model_steps(plan.steps):
        why = replay.take(step)
        if why is not None:
            return StaleStep(step, why)
    return None


class _Replay:
    """The fleet as found, and what the steps so far would have made of it."""

    def __init__(self, plan: Plan, fleet: Fleet, desired: Desired, board: Occupancy, applied: Applied, since: SinceApproval) -> None:
        self._board, self._plan, self._since = board, plan, since
        _reckon_with_what_was_there(plan, board)
        self._models = {model.name: model for model in desired.wanted}
        self._absent = {model.name: model for model in desired.absent}
        self._desired, self._applied = desired, applied
        names = WantedNames(sorted(desired.wanted, key=lambda model: (-model.priority, model.name)))
        self._names = names
        self._found: dict[EngineState, dict[str, Occupant]] = {}
        for found in charge_found(self._board, desired, applied, names):
            if not found.left_over:
                self._found.setdefault(found.slot, {})[found.resident.name] = found
        self._brought: set[tuple[EngineState, str]] = set()
        self._pulled: set[tuple[EngineState, str]] = set()
        self._pinned: set[Occupant] = set()
        self._deletions = 0
        self._own: Counter[Card] = Counter()
        self._gone: dict[str, str] = {}
        self._steps = tuple(model_steps(plan.steps))
        self._loads: dict[str, list[ModelStep]] = defaultdict(list)
        self._comes: dict[str, list[ModelSpec]] = defaultdict(list)
        for step in self._steps:
            if step.action in (*_LOADS, Action.ADOPT, Action.UPDATE) and step.model in self._models:
                self._comes[step.node].append(self._models[step.model])
            if step.action in _LOADS:
                self._loads[step.node].append(step)
                self._as_planned(step)

    @cached_property
    def _decided(self) -> Decided:
        return Decided(self._board, self._desired, self._applied, self._targets())

    def _targets(self) -> Iterator[Target]:
        """The places of the plan where a model comes, is and stays, or where nobody can look. Notes of each model the first that was to
        stay as it is and is not there."""
        leaving = {(step.at, step.engine_name) for step in self._steps if step.action is Action.UNLOAD}
        with_step = {step.address for step in self._steps} | {note.address for note in self._plan.held}
        away = {(deferred.node, deferred.engine) for deferred in self._plan.deferred}
        for address, name in sorted(self._plan.placed.items()):
            of, at = parse_replica_address(address)
            slot, model = self._board.slots.get(at), self._models.get(of)
            if slot is None or model is None or model.ensure is not Ensure.LOADED:
                continue
            loads = (one for one in self._loads[at.node] if one.at == at)
            load = next((one for one in loads if one.address == address or slot.identity.same_weights(one.engine_name, name)), None)
            here = (one for one in self._found.get(slot, {}).values() if (at, one.resident.name) not in leaving)
            found = next((one for one in here if _is(one, model) or name in slot.identity.names(one.resident)), None)
            unseen = not (slot.reachable and slot.selected)
            if load is None and found is None and not (unseen and address in self._applied.replicas):
                if address not in with_step and (at.node, at.engine) not in away:
                    self._gone.setdefault(of, address)
            elif self._names.on(model, at.node):
                one = model.called(slot.kind, name) or model
                comes = Holding(slot, _charges(load, slot) or ()) if load is not None else None
                yield Target(one, slot, None, comes or found, found if comes is None else None, deferred=unseen)

    def _as_planned(self, step: ModelStep) -> None:
        """What this plan has loaded already sits on the cards that it charged, whatever the state knows of it."""
        slot = self._board.slots.get(step.at)
        found = self._found.get(slot, {}).get(step.engine_name) if slot is not None else None
        wanted = self._models.get(step.model)
        model = wanted.called(slot.kind, step.base_name) if wanted is not None and slot is not None else None
        if slot is None or model is None or found is None or step.vram_bytes is None:
            return
        if decide(self._replica(slot, model, found, step.address)).action is Action.RELOAD:
            return  # it is still to be reloaded, or to leave and be loaded again
        self._board.remove(found)
        found.charges = _charges(step, slot) or found.charges
        self._board.put(found)
        if step.action is Action.LOAD:
            self._own.update(dict(found.charges))

    def take(self, step: ModelStep) -> str | None:
        """Why the step cannot be done now, or None; then it counts as done."""
        slot = self._board.slots.get(step.at)
        if slot is None:
            return "its engine is not in the inventory"
        if not slot.selected:
            return "its node is outside the plan's own --limit and --exclude"
        if not slot.reachable:
            return (slot.facts.reason if slot.facts is not None else None) or "nothing is known about its engine now"
        if step.action is Action.UNLOAD:
            return self._unload(step, slot)
        if step.action is Action.REMOVE:
            return self._remove(step, slot)
        model = self._models.get(step.model)
        if model is None or not self._names.on(model, slot.id.node) or model.engine not in (None, slot.kind):
            return "the desired state does not ask for it there"
        model = model.called(slot.kind, step.base_name) or model
        name = model.base_name(slot.kind) if step.action is Action.PULL else model.engine_name(slot.kind)
        if (step.engine_name, step.base_name) != (name, model.base_name(slot.kind)):
            return f"the desired state calls it {model.engine_name(slot.kind)} there"
        if step.action not in FETCHES and step.after != asked_of(model):
            return "the desired state asks for other options"
        match step.action:
            case Action.PULL | Action.TAG:
                return self._fetch(step, slot, model)
            case Action.LOAD | Action.RELOAD:
                return self._load(step, slot, model)
            case Action.ADOPT | Action.UPDATE | Action.WAIT:
                return self._stay(step, slot, model)
            case _:
                return f"this version does not {step.action.value} models"

    def _fetch(self, step: ModelStep, slot: EngineState, model: ModelSpec) -> str | None:
        if slot.kind is not EngineKind.OLLAMA:
            return "its engine cannot pull"
        if step.action is Action.TAG and step.after.get("context") != model.wanted_context:
            return "the desired state asks for another context"
        if step.action is Action.TAG and self._missing(slot, step.base_name):
            return f"{step.base_name} is not installed any more"
        if self._missing(slot, step.engine_name) and (why := self._not_as_approved(step, None)) is not None:
            return why
        self._pulled.add((slot, step.engine_name))
        return None

    def _unload(self, step: ModelStep, slot: EngineState) -> str | None:
        found = self._found.get(slot, {}).get(step.engine_name)
        if found is None or self._came_back(step, slot, found):
            return None
        may_leave = self._decided.may_leave(found, self._comes[step.node])
        if not self._was_its_row(step):
            if not found.rows and found.model is None and not may_leave:
                return "it is resident and was not loaded by gpurec"
            if found.rows and all(row.address != step.address for row in found.rows):
                return f"it is {found.rows[0].address} by now"
        if found.protected:
            return "it is protected"
        if (why := self._not_as_approved(step, found)) is not None:
            return why
        if (gone := self._gone.get(step.model)) is not None:
            return f"{gone}, which was to stay, is not resident now"
        if found.model is not None and not may_leave:
            return "the desired state asks for it there, and no other step of the plan takes its place or its room"
        self._leave(found)
        return None

    def _came_back(self, step: ModelStep, slot: EngineState, found: Occupant) -> bool:
        """Whether the load that brings the same weights back after this unload was done already: what is there is that."""
        owner = found.owned.address if found.owned is not None else None
        differs = differs_from_before(step, found.resident) is not None
        return any(
            step.id in load.needs
            and load.at == slot.id
            and slot.identity.same_weights(load.engine_name, found.resident.name)
            and (differs or (load.address == owner != step.address))
            for load in self._loads[step.node]
        )

    def _was_its_row(self, step: ModelStep) -> bool:
        """Whether this very plan has loaded something else under the address of what leaves, so that the state has that in its place."""
        load = next((one for one in self._loads[step.node] if one.address == step.address and one.engine_name != step.engine_name), None)
        done = self._since.changes.get(step.address, ())
        return load is not None and any(one.plan_digest == self._plan.digest for one in done)

    def _remove(self, step: ModelStep, slot: EngineState) -> str | None:
        model = self._absent.get(step.model)
        if model is None or slot.id.node not in model.nodes or model.engine not in (None, slot.kind):
            return "the desired state does not ask for it to be absent there"
        base = model.base_name(slot.kind)
        names = {step.engine_name, step.base_name, *str(step.after.get("tags", "")).split()}
        row = self._applied.replicas.get(step.address)
        ours = {tag for tag, made_from in self._applied.tags.get(slot.id, {}).items() if made_from == base}
        listed = slot.facts.installed if slot.facts is not None else None
        there = listed is None or any(one.name in names for one in listed)
        if step.base_name != base or (there and not names <= {base, *ours, *([row.engine_name] if row is not None else [])}):
            return "these are not its names there"
        if there and (why := self._not_as_approved(step, None)) is not None:
            return why
        self._deletions += 1
        if self._deletions > self._desired.policy.guards.max_delete:
            return f"guards.max_delete is {self._desired.policy.guards.max_delete}"
        if any(name in self._found.get(slot, {}) for name in names):
            return "it is resident"
        return None

    def _leave(self, found: Occupant) -> None:
        self._board.remove(found)
        del self._found[found.slot][found.resident.name]

    def _load(self, step: ModelStep, slot: EngineState, model: ModelSpec) -> str | None:
        if model.ensure is not Ensure.LOADED:
            return "the desired state does not ask for it to be loaded"
        found = self._resident(slot, model)
        if found is not None:
            rule = decide(self._replica(slot, model, found, step.address))
            if rule.action is not Action.RELOAD:
                return self._not_as_approved(step, found) if step.reason.code == ASKED_AGAIN else None
            if step.action is Action.LOAD:
                return f"it is resident by now and not as wanted: {rule.says(self._replica(slot, model, found, step.address))}"
        if slot.facts is not None and slot.facts.mode == "single":
            return "its engine serves one fixed model"
        if self._missing(slot, step.engine_name):
            return f"{step.engine_name} is not installed any more"
        if slot.identity.weights_differ(model, slot.kind):
            return "other weights are installed there than its digest pins"
        if found is not None and found.protected:
            return "it is protected"
        if (why := self._not_as_approved(step, found)) is not None:
            return why
        if found is not None:
            self._leave(found)
        return self._room(step, slot, model)

    def _room(self, step: ModelStep, slot: EngineState, model: ModelSpec) -> str | None:
        if slot.full:
            return f"its engine holds {slot.placed} of at most {slot.rules.most} models"
        charges, taken = _charges(step, slot), step.vram_bytes or 0
        if charges is None:
            return "the step names cards that its engine does not use"
        need = need_on(slot, model, self._applied)
        if need is None or need.bytes > taken * len(charges):
            return f"it needs {format_bytes(need.bytes)} now" if need is not None else "nobody knows any more what it needs"
        if step.action is Action.LOAD and step.preconditions != room_needed(charges):
            return "its preconditions are not those of its bytes"
        for card, _ in charges:
            if card.usable is None:
                return f"the size of card {card.node}/{card.index} is not known now"
            least = model.when.free_vram if step.action is Action.LOAD else None
            if least is not None and not card.is_ram and card.left_without(self._own[card]) < least:
                return f"it asks for {format_bytes(least)} free on {_where(card)} before it comes, where {format_bytes(card.left)} are now"
            if taken > card.left:
                return f"it needs {format_bytes(taken)} on {_where(card)}, where {format_bytes(max(0, card.left))} are free now"
        self._board.put(Holding(slot, charges))
        self._own.update(dict(charges))
        self._brought |= {(slot, step.engine_name), (slot, step.base_name)}
        return None

    def _stay(self, step: ModelStep, slot: EngineState, model: ModelSpec) -> str | None:
        """An adoption, a pin or a wait: what is there must be what is wanted, or come to be it."""
        if model.ensure is Ensure.PRESENT:
            return f"{step.engine_name} is not installed any more" if self._missing(slot, step.engine_name) else None
        own = (step.engine_name, step.base_name)
        if any(at is slot and slot.identity.same_weights(name, one) for at, name in self._brought for one in own):
            return None
        found = self._resident(slot, model)
        if found is None:
            return "it is not resident any more"
        replica = self._replica(slot, model, found, step.address)
        rule = decide(replica)
        if step.action is Action.UPDATE:
            if rule.action is Action.UPDATE and (why := self._not_as_approved(step, found)) is not None:
                return why
            self._pinned.add(found)
            if step.before and differs_from_before(step, found.resident) is None:
                return None  # pinned as it runs: what else is not as wanted is held
        if rule.action is Action.RELOAD or (rule.action is Action.UPDATE and found not in self._pinned):
            return f"it is not as wanted any more: {rule.says(replica)}"
        return None

    def _not_as_approved(self, step: ModelStep, found: Occupant | None) -> str | None:
        return not_as_approved(self._plan, step, found.resident if found is not None else None, self._since)

    def _resident(self, slot: EngineState, model: ModelSpec) -> Occupant | None:
        here = self._found.get(slot, {})
        name = model.engine_name(slot.kind)
        if name in here:
            return here[name]
        return next((found for _, found in sorted(here.items()) if _is(found, model)), None)

    def _missing(self, slot: EngineState, name: str) -> bool:
        known = slot.facts is not None and slot.facts.installed is not None
        return known and slot.installed(name) is None and (slot, name) not in self._pulled

    def _replica(self, slot: EngineState, model: ModelSpec, found: Occupant, address: str) -> Replica:
        target = Target(model, slot, need_on(slot, model, self._applied), found, found)
        return replica_of(target, self._applied.replicas.get(address))


def _reckon_with_what_was_there(plan: Plan, board: Occupancy) -> None:
    """An engine that held more models when the plan was made than its version does by itself holds as many, though by now a part of the
    plan's own unloads is done."""
    gone: Counter[EngineState] = Counter()
    for step in model_steps(plan.steps):
        slot = board.slots.get(step.at)
        if slot is not None and step.action in (Action.UNLOAD, Action.LOAD):
            there = slot.identity.resident(step.engine_name) is not None
            if step.action is Action.UNLOAD and not there:
                gone[slot] += 1
            elif step.action is Action.LOAD and there:
                gone[slot] -= 1
    for slot, count in gone.items():
        held = slot.facts.residents if slot.facts is not None else None
        slot.at_once = len(held or ()) + count


def _is(found: Occupant, model: ModelSpec) -> bool:
    """Whether what was found is `model`: any of its variants where none is chosen."""
    every = (one for one in (found.model, *found.also) if one is not None)
    return any(one == model or (one.name == model.name and model.variant is None) for one in every)


def _charges(step: ModelStep, slot: EngineState) -> Charges | None:
    """What a load is charged with: its bytes on each of its cards (in its node's RAM where it names none); None where they are not its
    engine's."""
    named, by_index = step.gpus or step.gpu_candidates or (), {card.index: card for card in slot.cards or ()}
    if not set(named) <= set(by_index):
        return None
    return tuple((card, step.vram_bytes or 0) for card in ([by_index[index] for index in named] or [slot.ram]))


def _where(card: Card) -> str:
    return f"the RAM of {card.node}" if card.is_ram else f"{card.node}/{card.index}"
