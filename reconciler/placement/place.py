"""Where each wanted replica goes.

Keep what is right where it is; then, in order of priority, place what is missing: where it was last applied, else the strategy's best
engine with room, else by displacing residents of lower priority, else by moving one replica of the same priority that fits elsewhere.
Everything is reserved on one board, so no two replicas are sent to the same free space. Deterministic: sorted, ties by name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from reconciler.fleet import (
    Applied,
    ContextVia,
    Desired,
    Each,
    EngineId,
    EngineKind,
    Ensure,
    ModelSpec,
    Residency,
    ResidentStatus,
    Spread,
    Unmanaged,
)
from reconciler.placement.board import Board, Slot
from reconciler.placement.eligibility import NEVER_QUALIFIES, Eligible, ModelClass, eligible
from reconciler.placement.fit import CAPACITY_REASONS, Fit, fit, hold_runner, in_ram, release, room_for, static_refusal, take
from reconciler.placement.found import Found, Names, applied_by_engine, charge_found, need_on
from reconciler.placement.result import Lacking, Placement, Target
from reconciler.placement.strategies import STRATEGIES, Order

EJECTION_SLOTS = 256
"""How many engines are looked at for a swap of equal priority, before a replica is called unplaced."""

ROUNDS = 4
"""How often what has no place is asked for again after others moved; two are enough in all cases seen."""


def place(board: Board, desired: Desired, applied: Applied) -> Placement:
    """The place of every wanted replica on a fresh board (as `set_up` gives it); the board is charged with the result."""
    return _Placing(board, desired, applied).run()


class _Placing:
    def __init__(self, board: Board, desired: Desired, applied: Applied) -> None:
        self.board = board
        self.desired = desired
        self.applied = applied
        self.models = sorted(desired.models, key=lambda model: (-model.priority, model.name))
        self.names = Names(self.models)
        self.result = Placement(board)
        self.at: dict[str, dict[Slot, Target]] = {model.name: {} for model in self.models}
        self.nodes_of: dict[str, Counter[str]] = defaultdict(Counter)
        self.cards_of: dict[str, Counter[int]] = defaultdict(Counter)
        self.on_slot: dict[Slot, list[Target]] = defaultdict(list)
        self.found_of: dict[str, list[Found]] = defaultdict(list)
        self.yielding: dict[Slot, list[Found]] = defaultdict(list)
        self.lowest: int | None = None
        self.released: set[Found] = set()
        self._moved: set[str] = set()
        self._eligible: dict[ModelClass, Eligible] = {}
        self._eligible_for: dict[str, Eligible] = {}
        self._orders: dict[tuple[ModelClass, bool], Order] = {}
        self._nothing_fits: dict[tuple[ModelClass, bool], int] = {}

    def run(self) -> Placement:
        every = charge_found(self.board, self.desired, self.applied, self.names)
        for found in every:
            if found.model is not None:
                self.found_of[found.model.name].append(found)
        rows = self._rows()
        groups = {model.name: self._groups(model) for model in self.models if model.each is not None}
        for model in self.models:
            if model.ensure is Ensure.LOADED:
                self._keep(model, rows[model.name], groups.get(model.name))
        self.lowest = min((target.model.priority for targets in self.at.values() for target in targets.values()), default=None)
        self._release_leaving(every)
        self._let_yield(every)
        for model in self.models:
            if model.ensure is Ensure.PRESENT:
                self._place_present(model, rows[model.name], groups.get(model.name))
            else:
                self._place_missing(model, rows[model.name], groups.get(model.name))
        for _ in range(ROUNDS):
            if not self._try_again(every, rows, groups):
                break
        kept = {target.found for targets in self.at.values() for target in targets.values() if target.found is not None}
        self.result.unwanted = [found for found in every if found not in kept]
        self.result.targets = [target for model in self.models for target in self.at[model.name].values()]
        return self.result

    def _try_again(
        self, every: Sequence[Found], rows: Mapping[str, Sequence[Slot]], groups: Mapping[str, Sequence[Sequence[Slot]]]
    ) -> bool:
        """Asks once more for what has no place, when something has left or moved since it was asked for."""
        freed = self._release_leaving(every)
        moved, self._moved = self._moved, set()
        lacking = {lacking.model.name for lacking in self.result.lacking if lacking.model.ensure is Ensure.LOADED}
        if not moved and not (freed and lacking):
            return False
        again = lacking | moved
        self.result.lacking = [entry for entry in self.result.lacking if entry.model.name not in again]
        for model in self.models:
            if model.name in again:
                self._place_missing(model, rows[model.name], groups.get(model.name))
        return True

    # -- what is there already ----------------------------------------------------------------------------------------------------

    def _rows(self) -> dict[str, list[Slot]]:
        """The engines on which each model was last applied, in name order, as far as they still are engines of its nodes."""
        rows: dict[str, list[Slot]] = {model.name: [] for model in self.models}
        by_name = {model.name: model for model in self.models}
        for at, applied in sorted(applied_by_engine(self.applied).items()):
            slot = self.board.slots.get(at)
            if slot is None:
                continue
            for row in applied:
                model = by_name.get(row.model)
                if model is not None and self.names.on(model, at.node) and slot not in self._class(model).refused:
                    rows[row.model].append(slot)
        return rows

    def _class(self, model: ModelSpec) -> Eligible:
        known = self._eligible_for.get(model.name)
        if known is None:
            key = ModelClass.of(model)
            if key not in self._eligible:
                self._eligible[key] = eligible(self.board, model)
            known = self._eligible_for[model.name] = self._eligible[key]
        return known

    def _groups(self, model: ModelSpec) -> list[tuple[Slot, ...]]:
        """For `each`: the engines that may serve each node, card or engine, one replica a group; counts what can never qualify."""
        known = self._class(model)
        never = sum(1 for reason in known.refused.values() if reason in NEVER_QUALIFIES)
        groups: list[tuple[Slot, ...]]
        match model.each:
            case Each.NODE:
                by_node: dict[str, list[Slot]] = defaultdict(list)
                unknown: dict[str, list[Slot]] = defaultdict(list)
                for slot in known.slots:
                    by_node[slot.id.node].append(slot)
                for slot, reason in known.refused.items():
                    if reason not in NEVER_QUALIFIES:
                        unknown[slot.id.node].append(slot)
                groups = [tuple(slots) for _, slots in sorted((by_node | {n: s for n, s in unknown.items() if n not in by_node}).items())]
                never = len(set(model.nodes)) - len(groups)
            case Each.GPU:
                one = [slot for slot in known.slots if slot.cards is not None and len(slot.cards) == 1]
                never += len(known.slots) - len(one)
                groups = [(slot,) for slot in one]
                groups += [(slot,) for slot, reason in known.refused.items() if reason not in NEVER_QUALIFIES]
            case _:
                groups = [(slot,) for slot in known.slots]
                groups += [(slot,) for slot, reason in known.refused.items() if reason not in NEVER_QUALIFIES]
        self.result.not_applicable[model.name] = never
        return groups

    def _keep(self, model: ModelSpec, rows: Sequence[Slot], groups: Sequence[Sequence[Slot]] | None) -> None:
        """Keeps replicas that are there, up to the number wanted, counting those on engines that cannot be asked."""
        refused = self._class(model).refused
        here: dict[Slot, Found] = {}
        for found in self.found_of[model.name]:
            best = here.get(found.slot)
            if found in self.result.displaced or found.slot in self.at[model.name]:
                continue
            if found.slot not in refused and (best is None or _better(model, found, best)):
                here[found.slot] = found
        owned = set(rows)
        asleep = [slot for slot in rows if (not slot.reachable or not slot.selected) and slot not in self.at[model.name]]
        if groups is not None:
            for group in groups:
                there = [slot for slot in group if slot in here] or [slot for slot in group if slot in owned and slot in asleep]
                if there:
                    self._keep_at(model, min(there, key=lambda slot: (slot not in owned, slot.id)), here)
            return
        ordered = [slot for slot in asleep if slot not in here]
        ordered += sorted(here, key=lambda slot: (slot not in owned, slot.selected, not _right(model, here[slot]), slot.id))
        for slot in ordered[:]:
            if len(self.at[model.name]) >= (model.replicas or 0):
                break
            if not self._breaks_spread(model, slot):
                self._keep_at(model, slot, here)

    def _keep_at(self, model: ModelSpec, slot: Slot, here: dict[Slot, Found]) -> None:
        found = here.get(slot)
        need = need_on(slot, model, self.applied)
        if found is not None and found in self.released:
            if any(card.held + count > max(card.capacity, card.before) for card, count in found.charges):
                return
            slot.add(found.charges)
            slot.placed += 1
            self.released.discard(found)
        if found is not None and found in self.yielding.get(slot, ()):
            self.yielding[slot].remove(found)
        if found is None:
            self._note(Target(model, slot, need, deferred=True))
            return
        if not slot.selected:
            self._note(Target(model, slot, need, found.charges, found, deferred=True))
            hold_runner(slot, model)
            return
        if _right(model, found) and _on_asked_device(model, found):
            self._note(Target(model, slot, need, found.charges, found))
            hold_runner(slot, model)
            return
        slot.remove(found.charges)
        slot.placed -= 1
        room = room_for(slot, model, self.applied)
        if isinstance(room, Fit):
            take(slot, model, room)
            self._note(Target(model, slot, room.need, room.charges, found, shares=room.shares))
        else:
            slot.add(found.charges)
            slot.placed += 1
            if room == "need_unknown":
                self._note(Target(model, slot, need, found.charges, found))

    def _release_leaving(self, every: Sequence[Found]) -> bool:
        """Gives back the room of residents that will be unloaded: ours that nobody wants any more, and strangers where the policy says so.

        One that is still the only replica of a wanted model stays charged until that has its place.
        """
        kept = {target.found for targets in self.at.values() for target in targets.values()}
        gone = False
        for found in every:
            if found in self.released or found in kept or found in self.result.displaced or not self._leaves(found):
                continue
            found.slot.remove(found.charges)
            found.slot.placed -= 1
            self.released.add(found)
            gone = True
        if gone:
            self._orders.clear()
            self._nothing_fits.clear()
        return gone

    def _let_yield(self, every: Sequence[Found]) -> None:
        """Strangers with a finite keep-alive that no target uses, where the policy lets them be evicted."""
        if self.desired.policy.unmanaged is not Unmanaged.YIELD:
            return
        kept = {target.found for targets in self.at.values() for target in targets.values()}
        for found in every:
            if found not in kept and found.owned is None and found.resident.pinned is False:
                self.yielding[found.slot].append(found)

    def _leaves(self, found: Found) -> bool:
        slot, model = found.slot, found.model
        if not slot.selected or (slot.facts is not None and slot.facts.mode == "single"):
            return False
        if model is None:
            return found.owned is not None or self.desired.policy.unmanaged is Unmanaged.UNLOAD
        if model.ensure is Ensure.PRESENT or found.owned is None:
            return False
        if model.each is not None:
            return slot in self._class(model).refused or any(other.id.node == slot.id.node for other in self.at[model.name])
        return len(self.at[model.name]) >= (model.replicas or 0)

    def _note(self, target: Target) -> None:
        self.at[target.model.name][target.slot] = target
        self._count(target, 1)
        self.on_slot[target.slot].append(target)

    def _count(self, target: Target, by: int) -> None:
        self.nodes_of[target.model.name][target.slot.id.node] += by
        if target.model.spread is Spread.GPU:
            for card in target.slot.cards or ():
                self.cards_of[target.model.name][id(card)] += by

    # -- what is missing ----------------------------------------------------------------------------------------------------------

    def _place_missing(self, model: ModelSpec, rows: Sequence[Slot], groups: Sequence[Sequence[Slot]] | None) -> None:
        if groups is not None:
            self._place_each(model, rows, groups)
            return
        if len(self.at[model.name]) < (model.replicas or 0) and self.found_of[model.name]:
            self._keep(model, rows, groups)
        missing = (model.replicas or 0) - len(self.at[model.name])
        for slot in rows:
            if missing > 0 and self._try(model, slot):
                missing -= 1
        on_cards_first = (False, True) if model.residency is Residency.GPU_PREFERRED else (model.residency is Residency.CPU,)
        for ram in on_cards_first:
            if missing > 0:
                missing -= self._pick(model, missing, ram)
        candidates = self._class(model).slots
        while missing > 0 and (self._displace(model, candidates) or self._eject(model, candidates)):
            missing -= 1
        if missing > 0:
            self.result.lacking.append(Lacking(model, missing))

    def _place_each(self, model: ModelSpec, rows: Sequence[Slot], groups: Sequence[Sequence[Slot]]) -> None:
        placed = self.at[model.name]
        owned = set(rows)
        refused = self._class(model).refused
        lacking: list[Slot] = []
        count = 0
        for group in groups:
            if any(slot in placed for slot in group):
                continue
            asked = [slot for slot in group if slot.reachable and slot.selected]
            if not asked:
                if group[0].selected:
                    self._note(Target(model, group[0], need_on(group[0], model, self.applied), deferred=True))
                continue
            usable = [slot for slot in asked if slot not in refused]
            best = sorted(usable, key=lambda slot: (slot not in owned, slot.used_fraction, slot.id)) if len(usable) > 1 else usable
            if any(self._try(model, slot) for slot in best) or self._displace(model, best):
                continue
            count += 1
            lacking.extend(asked)
        if count:
            self.result.lacking.append(Lacking(model, count, tuple(lacking)))

    def _place_present(self, model: ModelSpec, rows: Sequence[Slot], groups: Sequence[Sequence[Slot]] | None) -> None:
        """`ensure: present`: on the disk of as many engines as asked, those that have it first; no card is charged."""
        owned = set(rows)

        def order(slot: Slot) -> tuple[bool, bool, EngineId]:
            return slot not in owned, slot.installed(model.engine_name(slot.kind)) is None, slot.id

        def put(slot: Slot) -> bool:
            deferred = not slot.reachable or not slot.selected
            if deferred and slot not in owned:
                return False
            if not deferred and self._cannot_hold(model, slot):
                return False
            self._note(Target(model, slot, None, deferred=deferred))
            return True

        if groups is None:
            missing = model.replicas or 0
            for slot in sorted(self._class(model).slots, key=order):
                if missing > 0 and not self._breaks_spread(model, slot) and put(slot):
                    missing -= 1
            if missing:
                self.result.lacking.append(Lacking(model, missing))
            return
        lacking: list[Slot] = []
        count = 0
        for group in groups:
            if not any(put(slot) for slot in sorted(group, key=order)):
                if all(not slot.selected for slot in group):
                    continue
                if all(not slot.reachable for slot in group):
                    self._note(Target(model, group[0], None, deferred=True))
                    continue
                count += 1
                lacking.extend(group)
        if count:
            self.result.lacking.append(Lacking(model, count, tuple(lacking)))

    def _cannot_hold(self, model: ModelSpec, slot: Slot) -> bool:
        if slot.facts is not None and slot.facts.mode == "single":
            return slot.installed(model.base_name(slot.kind)) is None
        return static_refusal(slot, model) is not None

    def _try(self, model: ModelSpec, slot: Slot) -> bool:
        if slot in self.at[model.name] or self._breaks_spread(model, slot):
            return False
        room = fit(slot, model, self.applied)
        if not isinstance(room, Fit):
            return False
        take(slot, model, room)
        self._note(Target(model, slot, room.need, room.charges, shares=room.shares))
        return True

    def _order(self, model: ModelSpec, ram: bool) -> Order:
        key = (ModelClass.of(model), ram)
        if key not in self._orders:
            slots = [slot for slot in self._class(model).slots if slot.selected and slot.reachable and in_ram(slot, model) == ram]
            self._orders[key] = STRATEGIES[self.desired.strategy](slots)
        return self._orders[key]

    def _pick(self, model: ModelSpec, count: int, ram: bool) -> int:
        """Places up to `count` replicas in one pass over the strategy's order, nodes without one first. Answers how many it placed."""
        key = (ModelClass.of(model), ram)
        least = model.vram
        bound = self._nothing_fits.get(key)
        if bound is not None and least is not None and least >= bound:
            return 0
        order = self._order(model, ram)
        here = self.at[model.name]
        nodes = self.nodes_of[model.name]
        second: list[Slot] = []
        placed = 0
        only_capacity = not here
        for slot in order.candidates(least or 0):
            if slot in here:
                continue
            room = fit(slot, model, self.applied)
            if not isinstance(room, Fit):
                only_capacity = only_capacity and room in CAPACITY_REASONS
                continue
            only_capacity = False
            if model.spread is Spread.NODE and nodes[slot.id.node]:
                if not model.spread_hard:
                    second.append(slot)
                continue
            if self._try(model, slot):
                order.taken(slot)
                placed += 1
                if placed == count:
                    break
        for slot in second:
            if placed == count:
                break
            if self._try(model, slot):
                order.taken(slot)
                placed += 1
        order.settle()
        if only_capacity and least is not None:
            self._nothing_fits[key] = min(least, bound if bound is not None else least)
        return placed

    def _breaks_spread(self, model: ModelSpec, slot: Slot) -> bool:
        """Whether a replica here would stand beside another one where a written `spread` forbids it."""
        if not model.spread_hard or model.spread is Spread.NONE:
            return False
        own = slot in self.at[model.name]
        if model.spread is Spread.NODE:
            return self.nodes_of[model.name][slot.id.node] > own
        cards = self.cards_of[model.name]
        return any(cards[id(card)] > own for card in slot.cards or ())

    # -- making room --------------------------------------------------------------------------------------------------------------

    def _displace(self, model: ModelSpec, candidates: Iterable[Slot]) -> bool:
        """Takes the place of residents of lower priority (and of those that yield) where that costs least."""
        if not self.yielding and (self.lowest is None or self.lowest >= model.priority):
            return False
        best: tuple[tuple[int, int, EngineId], Slot, list[Target | Found]] | None = None
        for slot in candidates:
            if slot in self.at[model.name] or self._breaks_spread(model, slot) or static_refusal(slot, model) is not None:
                continue
            victims = self._victims(model, slot)
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
            self._drop(victim)
        self._nothing_fits.clear()
        self._orders.clear()
        return self._try(model, best[1])

    def _victims(self, model: ModelSpec, slot: Slot) -> list[Target | Found] | None:
        """The residents whose leaving makes room for `model` on `slot`: least priority first, and none that is not needed. The board is as
        before when this returns."""
        lower = [target for target in self.on_slot[slot] if target.model.priority < model.priority and not target.deferred]
        candidates: list[Target | Found] = [*self.yielding.get(slot, ())]
        ordered = sorted(lower, key=_least_first)
        candidates += ordered
        gone: list[Target | Found] = []
        enough = False
        for victim in candidates:
            self._lift(victim)
            gone.append(victim)
            if isinstance(room_for(slot, model, self.applied), Fit):
                enough = True
                break
        chosen = list(gone) if enough else []
        if enough:
            for victim in gone[:-1]:
                self._set_down(victim)
                if isinstance(room_for(slot, model, self.applied), Fit):
                    chosen.remove(victim)
                else:
                    self._lift(victim)
            gone = chosen
        for victim in gone:
            self._set_down(victim)
        return chosen if enough else None

    def _eject(self, model: ModelSpec, candidates: Sequence[Slot]) -> bool:
        """Moves one replica of no higher priority to another engine where it fits, if that makes room here."""
        looked = 0
        for slot in candidates:
            if slot in self.at[model.name] or self._breaks_spread(model, slot) or static_refusal(slot, model) is not None:
                continue
            looked += 1
            if looked > EJECTION_SLOTS:
                return False
            movable = [t for t in self.on_slot[slot] if t.model.priority <= model.priority and not t.deferred and t.model.each is None]
            for victim in sorted(movable, key=lambda target: (sum(count for _, count in target.charges), target.model.name)):
                self._lift(victim)
                enough = isinstance(room_for(slot, model, self.applied), Fit)
                self._set_down(victim)
                if not enough:
                    continue
                other = self._elsewhere(victim)
                if other is None:
                    continue
                self._drop(victim)
                self._try(victim.model, other)
                self._orders.clear()
                self._nothing_fits.clear()
                return self._try(model, slot)
        return False

    def _elsewhere(self, victim: Target) -> Slot | None:
        here = self.at[victim.model.name]
        for slot in self._class(victim.model).slots[:EJECTION_SLOTS]:
            if (
                slot in here
                or any(card in (victim.slot.cards or ()) for card in slot.cards or ())
                or self._breaks_spread(victim.model, slot)
            ):
                continue
            if isinstance(fit(slot, victim.model, self.applied), Fit):
                return slot
        return None

    def _lift(self, victim: Target | Found) -> None:
        if isinstance(victim, Target):
            release(victim.slot, victim.model, victim.charges)
        else:
            victim.slot.remove(victim.charges)
            victim.slot.placed -= 1

    def _set_down(self, victim: Target | Found) -> None:
        victim.slot.add(victim.charges)
        victim.slot.placed += 1
        if isinstance(victim, Target):
            hold_runner(victim.slot, victim.model)

    def _drop(self, victim: Target | Found) -> None:
        if victim.model is not None:
            self._moved.add(victim.model.name)
        self._lift(victim)
        if isinstance(victim, Found):
            self.yielding[victim.slot].remove(victim)
            self.result.displaced.add(victim)
            return
        self.on_slot[victim.slot].remove(victim)
        del self.at[victim.model.name][victim.slot]
        self._count(victim, -1)
        if victim.found is not None:
            self.result.displaced.add(victim.found)


def _right(model: ModelSpec, found: Found) -> bool:
    """Whether the resident is what is wanted, as far as it can be seen, apart from where it sits: then it needs no second space."""
    context = found.resident.context
    can_change = found.slot.kind is EngineKind.OLLAMA
    sets_context = can_change and model.context_via is not ContextVia.ENGINE
    if model.context is not None and context is not None and context != model.context and sets_context:
        return False
    return found.owned is None or dict(found.owned.options) == dict(model.options) or not can_change


def _on_asked_device(model: ModelSpec, found: Found) -> bool:
    """Whether the resident sits where it should: wholly (or enough) on cards, or on the CPU. Unknown counts as right."""
    fraction = found.resident.gpu_fraction
    if fraction is None or found.slot.cards == () or found.resident.status is ResidentStatus.LOADING:
        return True
    if model.residency is Residency.CPU:
        return fraction == 0.0
    return fraction >= model.min_gpu_fraction


def _better(model: ModelSpec, found: Found, other: Found) -> bool:
    wanted = model.engine_name(found.slot.kind)
    return (found.resident.name != wanted, found.resident.name) < (other.resident.name != wanted, other.resident.name)


def _least_first(target: Target) -> tuple[int, int, str]:
    return target.model.priority, -sum(count for _, count in target.charges), target.model.name
