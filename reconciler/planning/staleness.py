"""Does a plan that was made earlier still stand on the facts of now? Step by step, each for the moment before it, as if those before it
were done.

A plan stands when every step is either satisfied already or can still be done as it was approved: its engine answers, what it needs is
installed, its cards have the room. Facts that no step depends on may have moved. What comes from a file is never trusted to be about this
fleet: a step that these files could not have asked for is refused like one that is out of date.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from reconciler.capacity import Card, EngineState, Holding, Occupancy, set_up
from reconciler.fleet import (
    Applied,
    Desired,
    Each,
    EngineId,
    EngineKind,
    Ensure,
    Fleet,
    FleetFacts,
    ModelSpec,
    Unmanaged,
    WantedNames,
    format_bytes,
    parse_replica_address,
    parse_time,
)
from reconciler.placement import Occupant, Target, charge_found, is_there_without, need_on, refusal
from reconciler.planning.approved_from import NOTHING_SINCE, SinceApproval, differs_from_before, not_as_approved
from reconciler.planning.kinds.model.changes import asked_of
from reconciler.planning.kinds.model.replica import Replica, replica_of
from reconciler.planning.kinds.model.rules import ASKED_AGAIN, decide
from reconciler.planning.kinds.model.step import ModelStep, model_steps
from reconciler.planning.plan import FETCHES, Action, Plan, Step
from reconciler.planning.planner import room_needed
from reconciler.value_class import value_class
from reconciler.vram import NO_CATALOGUE, Catalogue


@value_class
class Moved:
    """The first step that no longer stands, and why, as a sentence without its subject."""

    step: Step
    why: str


def first_moved(
    plan: Plan,
    fleet: Fleet,
    desired: Desired,
    facts: FleetFacts,
    applied: Applied,
    selected: frozenset[str] | None = None,
    catalogue: Catalogue = NO_CATALOGUE,
    since: SinceApproval = NOTHING_SINCE,
) -> Moved | None:
    """The first step that cannot be done any more as planned; None when the whole plan still stands.

    `selected` are the node names of the plan's own `--limit` and `--exclude`; None means all. `since` is what
    the state tells of the time since the plan was made.
    """
    desired = desired.at(parse_time(facts.at)) if desired.hours else desired
    board = set_up(fleet, facts, desired.limits, selected, catalogue, desired.policy.assumes_foreign)
    now = _Now(plan, fleet, desired, board, applied, since)
    for step in model_steps(plan.steps):
        why = now.take(step)
        if why is not None:
            return Moved(step, why)
    return None


class _Now:
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
        self._loads = [step for step in model_steps(plan.steps) if step.action in (Action.LOAD, Action.RELOAD)]
        self._placed = plan.placed
        self._places = _places(plan)
        self._twins = _staying_twins(plan)
        for step in self._loads:
            self._as_planned(step)

    def _as_planned(self, step: ModelStep) -> None:
        """What this plan has loaded already sits on the cards that it charged, whatever the state knows of it."""
        slot = self._board.slots.get(step.at)
        found = self._found.get(slot, {}).get(step.engine_name) if slot is not None else None
        wanted = self._models.get(step.model)
        model = wanted.called(slot.kind, step.base_name) if wanted is not None and slot is not None else None
        if slot is None or model is None or found is None or step.vram_bytes is None:
            return
        if step.action is Action.RELOAD and decide(self._replica(slot, model, found, step.address)).action is Action.RELOAD:
            return
        self._board.remove(found)
        found.charges = tuple((card, step.vram_bytes) for card in _cards(step, slot) or ()) or found.charges
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
        if found is None:
            return None
        if self._came_back(step, slot, found):
            return None
        may_go = found.absent or self._yields(found) or self._desired.policy.unmanaged is Unmanaged.UNLOAD
        if not self._was_its_row(step):
            if not found.rows and found.model is None and not may_go:
                return "it is resident and was not loaded by gpurec"
            if found.rows and all(row.address != step.address for row in found.rows):
                return f"it is {found.rows[0].address} by now"
        if found.protected:
            return "it is protected"
        if (why := self._not_as_approved(step, found)) is not None:
            return why
        if (gone := self._gone_twin(step.model)) is not None:
            return f"{gone}, which was to stay, is not resident now"
        models = _judged_by(found)
        if models and not any(self._may_leave(step, slot, found, model.unchosen()) for model in models):
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
            for load in self._loads
        )

    def _was_its_row(self, step: ModelStep) -> bool:
        """Whether this very plan has loaded something else under the address of what leaves, so that the state has that in its place."""
        load = next((load for load in self._loads if load.address == step.address and load.engine_name != step.engine_name), None)
        done = self._since.changes.get(step.address, ())
        return load is not None and any(one.plan_digest == self._plan.digest for one in done)

    def _yields(self, found: Occupant) -> bool:
        return found.yields and self._desired.policy.unmanaged is Unmanaged.YIELD

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

    def _may_leave(self, step: ModelStep, slot: EngineState, found: Occupant, model: ModelSpec) -> bool:
        """Whether a wanted resident may leave: it yields to a load, is to be there on demand, or cannot serve; the model is there without
        it; or a load on its node matters more, or as much where the model has another place."""
        loads = [self._models[load.model] for load in self._loads if load.node == step.node and load.model in self._models]
        if self._yields(found) and loads:
            return True
        if model.ensure is not Ensure.LOADED:
            return found.held_by_us
        if step.reason.code in ("never_with", "with") and (model.with_models or self._has_foes(model)):
            return True
        if refusal(slot, model) is not None or (model.each is Each.GPU and len(slot.cards or ()) != 1):
            return True
        here = [one for address, one in self._places_of(model) if self._is_or_comes(address, one, model, found)]
        if is_there_without(model, slot, here):
            return True
        return any(other.priority > model.priority or (other.priority == model.priority and here) for other in loads)

    def _has_foes(self, model: ModelSpec) -> bool:
        return bool(model.never_with) or any(model.name in other.never_with for other in self._models.values())

    def _places_of(self, model: ModelSpec) -> Sequence[tuple[str, EngineState]]:
        """The places that the plan leaves or brings a model, of those in the inventory."""
        places = ((address, self._board.slots.get(at)) for address, at in self._places.get(model.name, ()))
        return [(address, slot) for address, slot in places if slot is not None]

    def _is_or_comes(self, address: str, slot: EngineState, model: ModelSpec, but: Occupant | None = None) -> bool:
        """Whether a replica of the plan is there, as what is wanted or by the name that the plan has for it, or comes with a load of its
        weights; where nobody is to look, or can, also whether the state has it. `but`: without this resident."""
        if address in self._applied.replicas and not (slot.reachable and slot.selected):
            return True
        name = self._placed[address]
        for one in self._found.get(slot, {}).values():
            wanted = any(_is(each, model) for each in (one.model, *one.also))
            if one is not but and (wanted or name in slot.identity.names(one.resident)):
                return True
        loads = (load for load in self._loads if load.at == slot.id)
        return any(load.address == address or slot.identity.same_weights(load.engine_name, name) for load in loads)

    def _gone_twin(self, name: str) -> str | None:
        """A replica of this model that the plan leaves alone and that is not there: unloading another one is no longer what was meant."""
        model = self._models.get(name)
        if model is None or model.ensure is not Ensure.LOADED:
            return None
        for address, at in self._twins.get(name, ()):
            slot = self._board.slots.get(at)
            if slot is None or (slot.selected and not slot.reachable) or not self._is_or_comes(address, slot, model):
                return address
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
        cards = _cards(step, slot)
        if cards is None:
            return "the step names cards that its engine does not use"
        taken = step.vram_bytes or 0
        need = need_on(slot, model, self._applied)
        if need is None or need.bytes > taken * max(1, len(cards)):
            return f"it needs {format_bytes(need.bytes)} now" if need is not None else "nobody knows any more what it needs"
        if step.action is Action.LOAD and step.preconditions != room_needed(tuple((card, taken) for card in cards)):
            return "its preconditions are not those of its bytes"
        for card in cards:
            if card.usable is None:
                return f"the size of card {card.node}/{card.index} is not known now"
            least = model.when.free_vram if step.action is Action.LOAD else None
            if least is not None and not card.is_ram and card.left + self._own[card] < least:
                return f"it asks for {format_bytes(least)} free on {_where(card)} before it comes, where {format_bytes(card.left)} are now"
            if taken > card.left:
                return f"it needs {format_bytes(taken)} on {_where(card)}, where {format_bytes(max(0, card.left))} are free now"
        self._board.put(Holding(slot, tuple((card, taken) for card in cards)))
        self._own.update(dict.fromkeys(cards, taken))
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
        return next((found for _, found in sorted(here.items()) if any(_is(one, model) for one in (found.model, *found.also))), None)

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


def _is(found: ModelSpec | None, model: ModelSpec) -> bool:
    """Whether what was found is `model`: any of its variants where none is chosen."""
    return found is not None and (found == model or (found.name == model.name and model.variant is None))


def _judged_by(found: Occupant) -> list[ModelSpec]:
    """The wanted models that a resident stays for, as placement sees it: all that it is and that are to be loaded; where it is only what is
    to be there on demand, those."""
    models = [one for one in (found.model, *found.also) if one is not None]
    return [one for one in models if one.ensure is Ensure.LOADED] or models


def _places(plan: Plan) -> Mapping[str, Sequence[tuple[str, EngineId]]]:
    """By model all its places in a plan that unloads something."""
    places: dict[str, list[tuple[str, EngineId]]] = defaultdict(list)
    for address in sorted(plan.placed) if plan.count(Action.UNLOAD) else ():
        name, at = parse_replica_address(address)
        places[name].append((address, at))
    return places


def _staying_twins(plan: Plan) -> Mapping[str, Sequence[tuple[str, EngineId]]]:
    """By model of which the plan unloads a replica: the replicas of it that have a place and no step.

    What could not be seen when the plan was made was no reason for it.
    """
    leaving = {step.model for step in model_steps(plan.steps) if step.action is Action.UNLOAD}
    with_step = {step.address for step in model_steps(plan.steps)}
    unknown = {(deferred.node, deferred.engine) for deferred in plan.deferred}
    twins: dict[str, list[tuple[str, EngineId]]] = defaultdict(list)
    for address in sorted(plan.placed) if leaving else ():
        name, at = parse_replica_address(address)
        if name in leaving and address not in with_step and (at.node, at.engine) not in unknown:
            twins[name].append((address, at))
    return twins


def _cards(step: ModelStep, slot: EngineState) -> list[Card] | None:
    """The cards that a load is charged to (a node's RAM where it names none); None when they are not its engine's."""
    named = step.gpus or step.gpu_candidates or ()
    if not named:
        return [slot.ram]
    by_index = {card.index: card for card in slot.cards or ()}
    return [by_index[index] for index in named] if set(named) <= set(by_index) else None


def _where(card: Card) -> str:
    return f"the RAM of {card.node}" if card.is_ram else f"{card.node}/{card.index}"
