"""Making room: by displacing what matters less, else by moving one replica that also fits elsewhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from reconciler.capacity import EngineState
from reconciler.fleet import EngineId, Ensure, ModelSpec
from reconciler.needs.run_settings import in_ram
from reconciler.placement.eligibility import ModelClass
from reconciler.placement.fit import Fit, fit, static_refusal
from reconciler.placement.keep import come_to
from reconciler.placement.leaving import Compared, Leaving
from reconciler.placement.result import Target
from reconciler.placement.search_state import Placing

DISPLACEMENTS = 64
"""How many engines where a displacement would do are compared; the search goes on from where the last one was found."""
EJECTION_SLOTS = 256
"""How many engines are looked at for a swap of equal priority, before a replica is called unplaced."""


def displace(placing: Placing, model: ModelSpec, candidates: Sequence[EngineState]) -> bool:
    """Takes the place of residents of lower priority (and of those that yield) where the most important of them matters least."""
    if not placing.yielding and (placing.lowest is None or placing.lowest >= model.priority):
        return False
    best: tuple[tuple[tuple[int, ...], int, EngineId], EngineState, list[Leaving]] | None = None
    kind = ModelClass.of(model)
    start = placing.displaced_last.get(kind, 0) if len(candidates) > DISPLACEMENTS else 0
    found = 0
    for number in range(len(candidates)):
        slot = candidates[(start + number) % len(candidates)]
        if not any(_may_give_way(placing, model, near) for near in (slot, *placing.beside(model, slot))):
            continue
        kept_away = placing.is_kept_away(model, slot, by=model.priority)
        if slot in placing.at[model.name] or kept_away or static_refusal(slot, model) is not None:
            continue
        victims = _known_victims(placing, model, slot)
        if victims is None:
            continue
        found += 1
        placing.displaced_last[kind] = (start + number) % len(candidates)
        lost = tuple(sorted((victim.priority for victim in victims if victim.targets), reverse=True))
        size = sum(victim.bytes for victim in victims)
        key = (lost, size, slot.id)
        if best is None or key < best[0]:
            best = (key, slot, victims)
        if found == DISPLACEMENTS:
            break
    if best is None:
        return False
    for victim in best[2]:
        drop(placing, victim, model)
    placing.freed()
    return placing.try_at(model, best[1])


def _may_give_way(placing: Placing, model: ModelSpec, slot: EngineState) -> bool:
    """Whether anything on this engine could leave for `model`, whatever it holds."""
    lower = any(target.model.priority < model.priority for target in placing.on_slot[slot])
    return lower or bool(placing.yielding.get(slot) or placing.not_right.get(slot))


def _known_victims(placing: Placing, model: ModelSpec, slot: EngineState) -> list[Leaving] | None:
    """`victims_of`, worked out anew only where the engine, its cards or the engines on them are not as they were: replica after replica of
    a model compares the same engines, of which each displacement changes one."""
    near = (slot, *placing.beside(model, slot))
    state = (slot.held, [(one.placed, [*placing.on_slot[one]], [*placing.yielding.get(one, ())]) for one in near])
    compared = placing.compared.get(slot)
    if compared is None or compared.model is not model or compared.state != state:
        compared = placing.compared[slot] = Compared(model, state, victims_of(placing, model, slot))
    return compared.victims


def victims_of(placing: Placing, model: ModelSpec, slot: EngineState) -> list[Leaving] | None:
    """Who must leave to make room for `model` on `slot`, whatever engine of its cards holds them: what yields first, then the least
    priority, and none that is not needed."""
    giving = placing.gives_way(model, slot)
    yielding: list[Leaving] = []
    lower: list[Leaving] = []
    for near in (slot, *placing.beside(model, slot)):
        yields = placing.yielding.get(near, ())
        waiting = dict.fromkeys(found for some in placing.not_right.get(near, {}).values() for found in some)
        not_right = [found for found in waiting if found not in yields]
        there = [*together(placing, near), *(Leaving(near, (found,), found=found) for found in not_right if found not in giving)]
        yielding += (Leaving(near, (found,), found=found) for found in yields if found not in giving)
        lower += (one for one in there if one.priority < model.priority and not _is_mate(placing, model, one))
    foes = placing.company.foes.get(model.name, ())
    must = [one for one in _in_the_way(lower, model, slot) if any(target.model.name in foes for target in one.targets)]
    gone: list[Leaving] = []
    others = [*_in_the_way(yielding, model, slot), *sorted(_in_the_way(lower, model, slot), key=_least_first)]
    with placing.board.trial():
        for victim in must:
            victim.lift(placing.board)
        if must and isinstance(placing.room_at(model, slot), Fit):
            return must
        for victim in (one for one in others if one not in must):
            victim.lift(placing.board)
            gone.append(victim)
            if isinstance(placing.room_at(model, slot), Fit):
                break
        else:
            return None
        chosen = [*must, *gone]
        for victim in sorted(gone[:-1], key=lambda one: (one in yielding, -one.priority)):
            victim.set_down(placing.board)
            if isinstance(placing.room_at(model, slot), Fit):
                chosen.remove(victim)
            else:
                victim.lift(placing.board)
    return chosen


def _is_mate(placing: Placing, model: ModelSpec, leaving: Leaving) -> bool:
    """Whether `model` may only be where this is, so that it finds no place where this has left."""
    mates = placing.company.mates.get(model.name, ())
    return any(target.model.name in mates for target in leaving.targets)


def _in_the_way(leaving: Iterable[Leaving], model: ModelSpec, slot: EngineState) -> list[Leaving]:
    """Those whose room `model` could take on `slot`: all of that very engine, and of others what sits where `model` would."""
    where = slot.places(in_ram(slot, model))
    return [one for one in leaving if one.slot is slot or any(card in where for held in one.holdings for card, _ in held.charges)]


def together(placing: Placing, slot: EngineState) -> list[Leaving]:
    """The targets of an engine by what can leave: the names on one runner leave only together. None that nothing is known about now, none
    that is protected, and none that holds no room."""
    by_runner: dict[str, list[Target]] = defaultdict(list)
    alone: list[Leaving] = []
    for target in placing.on_slot[slot]:
        if target.model.ensure is not Ensure.LOADED:
            continue
        key = slot.runner(target.model)
        if key in slot.runners:
            by_runner[key].append(target)
        elif not target.stays and target.holding is not None:
            alone.append(Leaving(slot, (target.holding,), (target,)))
    for key, targets in by_runner.items():
        if not any(target.stays for target in targets):
            own = (target.holding for target in targets if target.holding is not None)
            alone.append(Leaving(slot, tuple(dict.fromkeys((slot.runners[key], *own))), tuple(targets)))
    return alone


def eject(placing: Placing, model: ModelSpec, candidates: Sequence[EngineState]) -> bool:
    """Moves one replica of no higher priority to another engine where it fits, if that makes room here and no search looked at it."""
    looked, searched = 0, placing.is_searched(model)
    for slot in candidates:
        if slot in placing.at[model.name] or placing.is_kept_away(model, slot) or static_refusal(slot, model) is not None:
            continue
        looked += 1
        if looked > EJECTION_SLOTS:
            return False
        there = [one for near in (slot, *placing.beside(model, slot)) for one in together(placing, near)]
        for leaving in sorted(_in_the_way(there, model, slot), key=lambda one: (one.bytes, one.name, one.slot is not slot)):
            victim = leaving.targets[0]
            if len(leaving.targets) > 1 or victim.model.priority > model.priority or victim.model.each is not None:
                continue
            if _is_mate(placing, model, leaving) or (searched and placing.is_searched(victim.model)):
                continue
            placing.looks_left -= 1
            if placing.looks_left < 0:
                return False
            with placing.board.trial():
                leaving.lift(placing.board)
                enough = isinstance(placing.room_at(model, slot), Fit)
            if not enough:
                continue
            other = elsewhere(placing, victim)
            if other is None:
                continue
            drop(placing, leaving, model)
            come_to(placing, victim.model, other)
            placing.freed()
            return placing.try_at(model, slot)
    return False


def elsewhere(placing: Placing, victim: Target) -> EngineState | None:
    kind, need = ModelClass.of(victim.model), victim.need.bytes if victim.need is not None else 0
    if need >= placing.no_elsewhere.get(kind, need + 1):
        return None
    here = placing.at[victim.model.name]
    excluded = False
    for slot in placing.class_of(victim.model).slots[:EJECTION_SLOTS]:
        if slot in here or any(card in (victim.slot.cards or ()) for card in slot.cards or ()) or placing.is_kept_away(victim.model, slot):
            excluded = excluded or isinstance(fit(slot, victim.model, placing.applied), Fit)
            continue
        placing.looks_left -= 1
        if isinstance(fit(slot, victim.model, placing.applied), Fit):
            return slot
    if not excluded and victim.model.vram is not None:
        placing.no_elsewhere[kind] = min(need, placing.no_elsewhere.get(kind, need))
    return None


def drop(placing: Placing, leaving: Leaving, by: ModelSpec) -> None:
    """Takes it off the board for the model `by`; what was there of it is displaced, and its models ask for a place again."""
    there = [leaving.found, *(target.found for target in leaving.targets)]
    placing.result.displaced_for.update({found: by.name for found in there if found is not None})
    leaving.lift(placing.board)
    if leaving.found is not None:
        wanted = [model for model in (leaving.found.model, *leaving.found.also) if model is not None]
        placing.moved.update(model.name for model in wanted if model.ensure is Ensure.LOADED)
        if leaving.found in placing.yielding.get(leaving.slot, ()):
            placing.yielding[leaving.slot].remove(leaving.found)
        placing.leave(leaving.found, placing.result.displaced)
    for target in leaving.targets:
        placing.moved.add(target.model.name)
        placing.on_slot[target.slot].remove(target)
        del placing.at[target.model.name][target.slot]
        placing.count(target, -1)
        if target.found is not None:
            placing.leave(target.found, placing.result.displaced)


def _least_first(leaving: Leaving) -> tuple[int, int, str]:
    return leaving.priority, -leaving.bytes, leaving.name
