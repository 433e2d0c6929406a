"""From placement to changes: what is done about each wanted replica and each unwanted resident, not yet in any order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field

from reconciler.capacity import Charges, EngineState, Holding, each_by_index, largest, margin_for
from reconciler.fleet import (
    AS_ENGINE_RUNS,
    Answers,
    Applied,
    AppliedReplica,
    CardCharges,
    Desired,
    EngineId,
    EngineKind,
    EngineSpec,
    Ensure,
    LoadKey,
    ModelSpec,
    replica_address,
)
from reconciler.placement import Occupant, Placement, Target
from reconciler.planning.kinds.model.change import Change
from reconciler.planning.kinds.model.holds import HELD, NO_HOLDS, Holds
from reconciler.planning.kinds.model.hours import OUTSIDE_HOURS
from reconciler.planning.kinds.model.replica import Replica, replica_of
from reconciler.planning.kinds.model.rules import Rule, decide
from reconciler.planning.kinds.model.step import VariantChoice
from reconciler.planning.plan import Action, Cause, Fields, Note, Reason, UnmanagedResident, Value, VariantRefusal
from reconciler.value_class import value_class

_STAYS = (Action.ADOPT, Action.UPDATE)


@value_class
class ProtectedChange:
    """A step that is not in the plan since it would take a protected replica away; `message` is why it would be there, and `wanted` says
    whether the files still name the model."""

    address: str
    model: str
    action: Action
    message: str
    wanted: bool


@value_class
class Judged:
    """What is done about replicas that are alike: the rule that holds, and what else is told of them. `before` and `after` are what a step
    says of what is there and of what is asked for."""

    replica: Replica
    rule: Rule
    reason: Reason
    asks_something_new: bool
    held: str | None
    cannot_change: bool
    other_weights: bool
    engine_name: str
    before: Fields
    after: Fields

    @classmethod
    def of(cls, replica: Replica) -> Judged:
        rule, held = decide(replica), replica.held
        told = held if rule.action is not Action.RELOAD else None
        cannot, other = not replica.sets_context or replica.model.runs != AS_ENGINE_RUNS, replica.other_weights is not None
        reason, before, after = Reason(rule.code, rule.says(replica)), _before(replica), asked_of(replica.model)
        return cls(replica, rule, reason, replica.asks_something_new, told, cannot, other, replica.engine_name, before, after)


@dataclass(slots=True)
class Changes:
    """All changes, and what needs none. `cannot_change` and `other_weights` are by address; `models` are the names of all wanted models,
    `resting` of those whose hours are over."""

    every: list[Change] = field(default_factory=list)
    unchanged: int = 0
    owned_residents: int = 0
    pending: int = 0
    unmanaged: list[UnmanagedResident] = field(default_factory=list)
    placed: dict[str, str] = field(default_factory=dict)
    charges: dict[str, CardCharges] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    cannot_change: list[tuple[str, EngineSpec, Replica]] = field(default_factory=list)
    other_weights: list[tuple[str, Replica]] = field(default_factory=list)
    spared: list[ProtectedChange] = field(default_factory=list)
    held: list[Note] = field(default_factory=list)
    unloads: dict[Occupant, Change] = field(default_factory=dict)
    models: frozenset[str] = frozenset()
    resting: frozenset[str] = frozenset()
    wanted: dict[Target, Change] = field(default_factory=dict)


def find_changes(
    placement: Placement,
    desired: Desired,
    applied: Applied,
    drifted: frozenset[str],
    holds: Holds = NO_HOLDS,
    again: Set[str] = frozenset(),
    restarted: Set[EngineId] = frozenset(),
) -> Changes:
    """Walks targets and unwanted residents once. `drifted` are the addresses that drifted, for the cause of each change; `again` those that
    are to be loaded again in any case; `restarted` the engines that this plan starts anew, so that they lose what they hold."""
    changes = Changes(
        models=frozenset(model.name for model in desired.models),
        resting=frozenset(model.name for model in desired.models if model.outside_hours),
    )
    moved = {model.name for found in placement.unwanted if found.owned is not None and (model := found.model or found.moving) is not None}
    judged, alike = Answers(Judged.of), Answers(each_by_index)
    for target in placement.targets:
        model, slot = target.model, target.slot
        address = replica_address(model.name, slot.id)
        row = applied.replicas.get(address)
        address = row.address if row is not None else address  # one text for both, of which a large fleet has many
        evictor = holds.evicted_by(row, slot.facts) if row is not None and target.found is None and row.ensure == Ensure.LOADED else None
        replica = replica_of(
            target, row, holds.by_address.get(address), evictor, address in again, bool(restarted) and slot.id in restarted
        )
        one = judged[replica]
        changes.placed[address] = one.engine_name
        changes.owned_residents += row is not None and replica.resident is not None
        if target.deferred:
            continue
        change = _wanted(changes, one, target, address, applied, address in drifted, model.name in moved)
        runner = slot.runners.get(slot.runner(model))
        if change is not None and change.action in (Action.LOAD, Action.RELOAD) and runner is not None:
            change.cache = (runner.cache, target.found.cache if change.action is Action.RELOAD and target.found is not None else 0)
        if _is_charged_now(change, row, runner) and (charges := _charges_of(target, runner)):
            changes.charges[address] = slot.by_index(charges, alike)
    for target, change in changes.wanted.items() if placement.foes else ():
        change.apart = placement.foes.get(target.model.name, frozenset())
    stuck = {lacking.model.name for lacking in placement.lacking}
    replaced = {target.replaces for target in placement.targets if target.replaces is not None}
    for found in placement.unwanted:
        changes.owned_residents += found.owned is not None
        _unwanted(changes, found, placement, applied, stuck, found in replaced)
    _after_what_they_need(changes, placement)
    there = {found.owned.address for found in placement.unwanted if found.owned is not None}
    there |= {found.owned.address for found in _kept(placement) if found.owned is not None and found.protected}
    there |= {row.address for found in (*placement.unwanted, *_kept(placement)) for row in found.protecting}
    for address, row in applied.replicas.items():
        if address in changes.placed or address in there:
            continue
        owner = placement.board.slots.get(row.at)
        if owner is None or (owner.reachable and owner.selected):
            changes.forgotten.append(address)
    return changes


def _is_charged_now(change: Change | None, row: AppliedReplica | None, runner: Holding | None) -> bool:
    """Whether a row that the apply of this plan writes has to say what the replica is charged with: that of a step, and where the state
    does not say it, or says it of an earlier load, or where it is charged by the row of another name on its runner."""
    if change is not None or row is None or row.charges is None:
        return True
    return isinstance(runner, Occupant) and (not runner.remembered or runner.owned is None or runner.owned.address != row.address)


def _charges_of(target: Target, runner: Holding | None) -> Charges:
    """The charges of its runner, which names on the same weights share; () where nobody knows its bytes."""
    if target.found is not None and not target.found.sized:
        return ()
    return runner.charges if runner is not None else target.charges


def _kept(placement: Placement) -> Iterator[Occupant]:
    """The residents that are targets."""
    return (target.found for target in placement.targets if target.found is not None)


def _wanted(changes: Changes, judged: Judged, target: Target, address: str, applied: Applied, drifted: bool, moved: bool) -> Change | None:
    """Notes what is done about a target, and gives the change that brings it about; None where there is none."""
    replica, rule = judged.replica, judged.rule
    if judged.asks_something_new and (rule.action is not None or rule.code == HELD):
        changes.pending += 1  # where only the state has to learn what is so already, there is nothing left to do
    if judged.cannot_change:
        changes.cannot_change.append((address, target.slot.spec, replica))
    if judged.other_weights:
        changes.other_weights.append((address, replica))
    if judged.held is not None:
        changes.held.append(Note(address, HELD, judged.held))
    if rule.action is None:
        changes.unchanged += rule.code != HELD
        return None
    model, slot, cause = target.model, target.slot, _cause(replica, rule.action, drifted, moved)
    if rule.action is Action.PULL:
        fetches = _fetch(replica, target, address, cause)
        changes.every.extend(fetches)
        changes.wanted[target] = fetches[-1]
        return fetches[-1]
    if rule.action is Action.RELOAD and target.protected:
        changes.spared.append(ProtectedChange(address, model.name, Action.RELOAD, judged.reason.message, True))
        return None
    change = Change(
        rule.action,
        address,
        model.name,
        slot,
        judged.engine_name,
        replica.base_name,
        judged.reason,
        cause,
        model.priority,
        before=judged.before,
        after=judged.after,
        variant=_choice(target),
    )
    if rule.action in (Action.LOAD, Action.RELOAD):
        change.takes = target.charges
        change.margin = margin_for(slot, model)
        change.need = target.need
        change.waits_for_all = model.when.free_vram is not None
        if applied.load_seconds:
            change.seconds = applied.load_seconds.get(LoadKey(slot.kind, judged.engine_name, model.context))
        if rule.action is Action.RELOAD and target.found is not None:
            change.frees = target.found.charges
            change.before = {**change.before, "vram_bytes": largest(change.frees)}
            change.takes = change.takes or target.found.charges
        change.spread = slot.is_spread(change.takes, target.need.bytes if target.need is not None else None)
    changes.every.append(change)
    changes.wanted[target] = change
    if (rule.action in (Action.LOAD, Action.RELOAD) and _must_pull(replica)) or (
        rule.action in _STAYS and (replica.deleted or (target.shares and _must_pull(replica)))
    ):
        changes.every.extend(fetches := _fetch(replica, target, address, cause))
        change.needs.append(fetches[-1])
    return change


def _after_what_they_need(changes: Changes, placement: Placement) -> None:
    """A load anew waits for the unloads at its own place and of its own weights, a name that shares a runner for what brings or pins it."""
    if not changes.unloads and not any(target.shares for target in placement.targets):
        return
    leaving = {(found.slot, found.resident.blob or found.resident.name): unload for found, unload in changes.unloads.items()}
    carriers: dict[tuple[EngineState, str], Change] = {}
    for target, change in changes.wanted.items():
        before = [changes.unloads.get(target.replaces)] if target.replaces is not None else []
        if change.action is Action.LOAD and leaving:
            before.append(leaving.get((target.slot, target.slot.runner(target.model))))
        change.needs.extend(dict.fromkeys(unload for unload in before if unload is not None))
        if not target.shares and change.action is not Action.ADOPT:
            carriers[target.slot, target.slot.runner(target.model)] = change
    if not carriers:
        return
    for target in placement.targets:
        carrier = carriers.get((target.slot, target.slot.runner(target.model))) if target.shares else None
        if carrier is not None and target in changes.wanted:
            changes.wanted[target].needs.append(carrier)


def _must_pull(replica: Replica) -> bool:
    return replica.kind is EngineKind.OLLAMA and replica.lists_known and not replica.is_installed


def _fetch(replica: Replica, target: Target, address: str, cause: Cause) -> list[Change]:
    """What brings the file of a replica to its engine: a pull where its model is not there, then the derived tag where it has one."""
    installed: Fields = {} if replica.wants_resident else {"installed": True}
    steps: list[Change] = []

    def step(action: Action, name: str, reason: Reason, after: Fields) -> None:
        model, base = replica.model, replica.base_name
        before = steps[:]
        steps.append(
            Change(
                action,
                address,
                model.name,
                target.slot,
                name,
                base,
                reason,
                cause,
                model.priority,
                after={**installed, **after},
                variant=_choice(target),
                needs=before,
            )
        )

    tagged = replica.engine_name != replica.base_name
    if not replica.base_installed:
        why = f"is not installed; {replica.engine_name} is made from it" if tagged else "is not installed"
        reason = Reason("deleted", "runs, and is gone from the disk of its engine") if replica.deleted else Reason("not_installed", why)
        step(Action.PULL, replica.base_name, reason, {})
    if tagged:
        why = f"{replica.engine_name} is made from {replica.base_name}, without a download"
        step(Action.TAG, replica.engine_name, Reason("make_tag", why), _context(replica.model))
    return steps


def _choice(target: Target) -> VariantChoice | None:
    if target.model.variant is None:
        return None
    return VariantChoice(target.model.variant, tuple(VariantRefusal(one.name, one.reason, one.message) for one in target.passed_over))


def _cause(replica: Replica, action: Action, drifted: bool, moved: bool) -> Cause:
    if action is Action.ADOPT:
        return Cause.ADOPT
    if action is Action.LOAD and replica.applied is None and moved:
        return Cause.DISPLACED
    pending = replica.asks_something_new
    if drifted:
        return Cause.BOTH if pending else Cause.DRIFT
    if replica.wants_resident and not pending:
        return Cause.DRIFT
    return Cause.PENDING


def _before(replica: Replica) -> Fields:
    resident = replica.resident
    if resident is None:
        return {}
    fraction = resident.gpu_fraction
    return {
        "name": resident.name,
        "context": resident.context,
        "gpu_fraction": None if fraction is None else round(fraction, 4),
        "pinned": resident.pinned,
    }


def _context(model: ModelSpec) -> dict[str, Value]:
    return {} if model.wanted_context is None else {"context": model.wanted_context}


def asked_of(model: ModelSpec) -> Fields:
    """What a step for `model` says that will be after it, whatever is there."""
    if model.ensure is Ensure.PRESENT:
        return {"installed": True} | _context(model)
    fields: dict[str, Value] = {
        **_context(model),
        "keep_alive": model.keep_alive,
        "residency": model.residency.value,
        "min_gpu_fraction": model.min_gpu_fraction,
    }
    fields |= dict(model.runs.items())
    for name, value in sorted(model.options.items()):
        fields[f"options.{name}"] = value
    return fields


def _unwanted(changes: Changes, found: Occupant, placement: Placement, applied: Applied, stuck: set[str], replaced: bool) -> None:
    """A resident that is no target's, and of which placement says whether it leaves: why it does, else whose it stays."""
    slot, resident, owned = found.slot, found.resident, found.owned
    of = found.model or found.moving
    if not slot.selected:
        return
    if found in placement.displaced:
        by = placement.displaced_for[found]
        if found.model is not None and found.model.ensure is Ensure.PRESENT:
            what = f"is there on demand and yields its room to {by}"
        else:
            what = f"makes room for {by}" if owned is not None or of is not None else f"is unmanaged and yields its room to {by}"
        evicted = owned is None or found.yields
        _unload(changes, found, applied, Reason("eviction" if evicted else "displaced", what), Cause.DISPLACED, by)
    elif found not in placement.released and found not in placement.spared:
        if owned is not None and of is not None and (of.name in stuck or not slot.is_fixed):
            if owned.model not in changes.resting:
                changes.placed.setdefault(owned.address, owned.engine_name)
        elif found.model is None or (found.model.ensure is Ensure.LOADED and found.model.name not in stuck):
            held = (largest(found.charges) or 0) if found.sized else None
            changes.unmanaged.append(UnmanagedResident(slot.id.node, slot.id.engine, resident.name, held, resident.pinned))
    elif owned is None and not found.absent:
        _unload(changes, found, applied, Reason("unmanaged", "nobody here asked for it"), Cause.DRIFT)
    else:
        changes.pending += 1
        _unload(changes, found, applied, _why_it_leaves(found, replaced, placement.parted.get(found)), Cause.PENDING)


def _why_it_leaves(found: Occupant, replaced: bool, parted: tuple[str, str] | None = None) -> Reason:
    """Why a resident leaves for good, by the files. `replaced`: another one takes its very place."""
    of = found.model or found.moving
    if found.absent:
        return Reason("absent", "is to be deleted from disk")
    if of is None:
        return Reason("not_wanted", "is no longer wanted")
    if of.ensure is Ensure.PRESENT:
        return Reason("on_demand", "is to be loaded on demand, and gpurec keeps it loaded")
    if parted is not None:
        return Reason(*parted)
    if of.outside_hours and of.when.hours is not None:
        return Reason(OUTSIDE_HOURS, f"is wanted at {of.when.hours.shown} only")
    if replaced or (found.moving is not None and of.variants):
        return Reason("variant_changed", f"another variant of {of.name} takes its place")
    return Reason("surplus", "is wanted elsewhere, or in fewer places")


def _unload(changes: Changes, found: Occupant, applied: Applied, reason: Reason, cause: Cause, by: str | None = None) -> None:
    row = found.owned
    model = found.model or found.moving
    address = row.address if row is not None else replica_address(found.resident.name, found.slot.id)
    if found.protected:
        if found.protecting and row not in found.protecting:
            row = found.protecting[0]
            address = row.address
        name = row.model if row is not None else model.name if model is not None else found.resident.name
        changes.spared.append(ProtectedChange(address, name, Action.UNLOAD, reason.message, name in changes.models))
        return
    before: Mapping[str, Value] = {"name": found.resident.name, "context": found.resident.context, "pinned": found.resident.pinned}
    there = applied.replicas.get(address) if row is None else None
    changes.unloads[found] = change = Change(
        Action.UNLOAD,
        address,
        row.model if row is not None else found.resident.name,
        found.slot,
        found.resident.name,
        found.resident.name,
        reason,
        cause,
        model.priority if model is not None else 0,
        frees=found.charges,
        cache=(0, found.cache),
        before=before,
        by=by,
        order=model.rollout.order if model is not None and by is None else None,
        made_room=by is not None,
        spread=found.slot.is_spread(found.charges, found.resident.vram_bytes),
        beside=there is not None and there.engine_name != found.resident.name,
    )
    changes.every.append(change)
