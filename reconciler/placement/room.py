"""Making room: by displacing what matters less, else by moving one replica that also fits elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.fleet import EngineId, ModelSpec
from reconciler.placement.board import Slot
from reconciler.placement.fit import Fit, fit, hold_runner, release, room_for, static_refusal
from reconciler.placement.found import Found
from reconciler.placement.placing import Placing
from reconciler.placement.result import Target

EJECTION_SLOTS = 256
"""How many engines are looked at for a swap of equal priority, before a replica is called unplaced."""


def displace(placing: Placing, model: ModelSpec, candidates: Iterable[Slot]) -> bool:
    """Takes the place of residents of lower priority (and of those that yield) where that costs least."""
    if not placing.yielding and (placing.lowest is None or placing.lowest >= model.priority):
        return False
    best: tuple[tuple[int, int, EngineId], Slot, list[Target | Found]] | None = None
    for slot in candidates:
        if slot in placing.at[model.name] or placing.breaks_spread(model, slot) or static_refusal(slot, model) is not None:
            continue
        victims = victims_of(placing, model, slot)
        if victims is None:
            continue
        weight = sum(1 + max(0, victim.model.priority) for victim in victims if isinstance(victim, Target))
        size = sum(count for victim in victims for _, count in victim.charges)
        key = (weight, size, slot.id)
        if best is None or key < best[0]:
            best = (key, slot, victims)
    if best is None:
        return False
    for victim in best[2]:
        drop(placing, victim)
    placing.nothing_fits.clear()
    placing.orders.clear()
    return placing.try_at(model, best[1])


def victims_of(placing: Placing, model: ModelSpec, slot: Slot) -> list[Target | Found] | None:
    """The residents whose leaving makes room for `model` on `slot`: least priority first, and none that is not needed. The board is as
    before when this returns."""
    lower = [target for target in placing.on_slot[slot] if target.model.priority < model.priority and not target.deferred]
    candidates: list[Target | Found] = [*placing.yielding.get(slot, ())]
    ordered = sorted(lower, key=_least_first)
    candidates += ordered
    gone: list[Target | Found] = []
    enough = False
    for victim in candidates:
        lift(placing, victim)
        gone.append(victim)
        if isinstance(room_for(slot, model, placing.applied), Fit):
            enough = True
            break
    chosen = list(gone) if enough else []
    if enough:
        for victim in gone[:-1]:
            set_down(placing, victim)
            if isinstance(room_for(slot, model, placing.applied), Fit):
                chosen.remove(victim)
            else:
                lift(placing, victim)
        gone = chosen
    for victim in gone:
        set_down(placing, victim)
    return chosen if enough else None


def eject(placing: Placing, model: ModelSpec, candidates: Sequence[Slot]) -> bool:
    """Moves one replica of no higher priority to another engine where it fits, if that makes room here."""
    looked = 0
    for slot in candidates:
        if slot in placing.at[model.name] or placing.breaks_spread(model, slot) or static_refusal(slot, model) is not None:
            continue
        looked += 1
        if looked > EJECTION_SLOTS:
            return False
        movable = [t for t in placing.on_slot[slot] if t.model.priority <= model.priority and not t.deferred and t.model.each is None]
        for victim in sorted(movable, key=lambda target: (sum(count for _, count in target.charges), target.model.name)):
            lift(placing, victim)
            enough = isinstance(room_for(slot, model, placing.applied), Fit)
            set_down(placing, victim)
            if not enough:
                continue
            other = elsewhere(placing, victim)
            if other is None:
                continue
            drop(placing, victim)
            placing.try_at(victim.model, other)
            placing.orders.clear()
            placing.nothing_fits.clear()
            return placing.try_at(model, slot)
    return False


def elsewhere(placing: Placing, victim: Target) -> Slot | None:
    here = placing.at[victim.model.name]
    for slot in placing.class_of(victim.model).slots[:EJECTION_SLOTS]:
        if slot in here or any(card in (victim.slot.cards or ()) for card in slot.cards or ()) or placing.breaks_spread(victim.model, slot):
            continue
        if isinstance(fit(slot, victim.model, placing.applied), Fit):
            return slot
    return None


def lift(placing: Placing, victim: Target | Found) -> None:
    if isinstance(victim, Target):
        release(victim.slot, victim.model, victim.charges)
    else:
        victim.slot.remove(victim.charges)
        victim.slot.placed -= 1


def set_down(placing: Placing, victim: Target | Found) -> None:
    victim.slot.add(victim.charges)
    victim.slot.placed += 1
    if isinstance(victim, Target):
        hold_runner(victim.slot, victim.model)


def drop(placing: Placing, victim: Target | Found) -> None:
    if victim.model is not None:
        placing.moved.add(victim.model.name)
    lift(placing, victim)
    if isinstance(victim, Found):
        placing.yielding[victim.slot].remove(victim)
        placing.result.displaced.add(victim)
        return
    placing.on_slot[victim.slot].remove(victim)
    del placing.at[victim.model.name][victim.slot]
    placing.count(victim, -1)
    if victim.found is not None:
        placing.result.displaced.add(victim.found)


def _least_first(target: Target) -> tuple[int, int, str]:
    return target.model.priority, -sum(count for _, count in target.charges), target.model.name
