"""What one run of placement knows while it works: targets so far, what was found, candidates and orders of each class of models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import field

from reconciler.capacity import Card, EngineState, Occupancy, Seat, on_card
from reconciler.fleet import Answers, Applied, Desired, EngineId, EngineKind, Ensure, ModelSpec, Prefer, Spread, Unmanaged, WantedNames
from reconciler.fleet.matching import as_loaded
from reconciler.needs.run_settings import in_ram
from reconciler.placement.company import NOBODY, Company, cards_of
from reconciler.placement.eligibility import Eligible, ModelClass, eligible
from reconciler.placement.engine_admission import would_evict
from reconciler.placement.fit import Fit, fit, take
from reconciler.placement.leaving import Compared
from reconciler.placement.residents import Occupant, applied_by_engine, most_needed
from reconciler.placement.result import Placement, Target
from reconciler.placement.strategies import EngineOrder, Wish, order_of
from reconciler.placement.variants import passed_over
from reconciler.value_class import value_class


@value_class
class HeldReplicas:
    """Replicas that are left alone for now, by model and engine: `away` are not loaded where they are gone, `as_is` are not reloaded
    for these faults (`context_differs`, `cpu_fallback`)."""

    away: Set[tuple[str, EngineId]] = frozenset()
    as_is: Mapping[tuple[str, EngineId], Set[str]] = field(default_factory=dict)


NOTHING_HELD = HeldReplicas()
EJECTION_LOOKS = 100_000
"""How often, in one round, a replica's place is looked at for somebody else; beyond that a replica is called unplaced."""


RESEATING_LOOKS = 100_000
"""How often, in one round, another order on an engine is tried."""


class Placing:
    """Mutable and private to one run.

    `at` has the targets of each model by engine, `on_slot` those of each engine; `rows_of` the engines where each model was last applied,
    `groups_of` the engines that may serve each node, card or engine of an `each`. `settled`: all have the places that they get, so that
    what may only be beside another waits for that no more. `staying` has by model what stays where it is not wanted, since it has no place
    elsewhere. `left` has the residents that were told to leave, by
    model and place: one that comes back there stays if its room is still free, else it is unloaded and loaded anew. `not_right` has those
    that are not as wanted and found no room to be loaded anew in their place. `alternatives` has the variants of each model, best first
    (the model itself where it has none). `moved` are the models of which something was displaced.
    `brief`: no search takes long.
    `as_there`: what has a place counts as resident there in a search, as it will for the next plan.
    `version` changes whenever anything does; `searched` has by priority (and `as_there`) of what a search had nothing to offer at which
    version, `seats` what a replica of a model and variant takes on an engine, as a search sees it.
    """

    def __init__(
        self, board: Occupancy, desired: Desired, applied: Applied, held: HeldReplicas = NOTHING_HELD, brief: bool = False
    ) -> None:
        self.board = board
        self.brief = brief
        self.desired = desired
        self.applied = applied
        self.held = held
        self.models = sorted(desired.wanted, key=lambda model: (-model.priority, model.name))
        self.alternatives = {model.name: model.alternatives() for model in self.models}
        self.names = WantedNames(self.models)
        self.company = Company(self.models)
        self.result = Placement(board, foes=self.company.foes)
        self.at: dict[str, dict[EngineState, Target]] = {model.name: {} for model in self.models}
        self.nodes_of: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.cards_of: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        self.on_slot: dict[EngineState, list[Target]] = defaultdict(list)
        self.found_of: dict[str, list[Occupant]] = defaultdict(list)
        self.yielding: dict[EngineState, list[Occupant]] = defaultdict(list)
        self.left: dict[tuple[str, EngineState], Occupant] = {}
        self.as_loaded = Answers(as_loaded)
        self.not_right: dict[EngineState, dict[str, list[Occupant]]] = defaultdict(dict)
        self.settled = False
        self.staying: dict[str, list[Occupant]] = defaultdict(list)
        self.looks_left = EJECTION_LOOKS
        self.reseats_left = RESEATING_LOOKS
        self.no_elsewhere: dict[ModelClass, int] = {}
        self.displaced_last: dict[ModelClass, int] = {}
        self.compared: dict[EngineState, Compared] = {}
        self.lowest: int | None = None
        self.moved: set[str] = set()
        self.as_there = False
        self.version = 0
        self.searched: dict[tuple[int, bool], tuple[int, tuple[tuple[str, int], ...]]] = {}
        self.seats: dict[tuple[str, str | None], dict[EngineState, Seat | None]] = {}
        self._beside: dict[tuple[EngineState, bool], Sequence[EngineState]] = {}
        self._eligible: dict[ModelClass, Eligible] = {}
        self._eligible_for: dict[str, Eligible] = {}
        self._serves: dict[str, Set[EngineState]] = {}
        self._applied_as: dict[tuple[str, EngineState], ModelSpec] = {}
        self.may_share = self._may_share()
        self.rows_at = applied_by_engine(applied)
        self.rows_of = self._rows()
        self.models = self._largest_first()
        self.groups_of: dict[str, Sequence[Sequence[EngineState]]] = {}
        self.orders: dict[tuple[ModelClass, bool, Prefer], EngineOrder] = {}
        self.nothing_fits: dict[tuple[ModelClass, bool], int] = {}

    def _rows(self) -> dict[str, list[EngineState]]:
        """The engines on which each model was last applied, in name order, as far as they still are engines of its nodes."""
        rows: dict[str, list[EngineState]] = {model.name: [] for model in self.models}
        by_name = {model.name: model for model in self.models}
        for at, applied in sorted(self.rows_at.items(), key=lambda item: (item[0].node, item[0].engine)):
            slot = self.board.slots.get(at)
            if slot is None:
                continue
            for row in applied:
                model = by_name.get(row.model)
                if model is not None and self.names.on(model, at.node) and slot not in self.class_of(model).refused:
                    rows[row.model].append(slot)
                    called = model.called(slot.kind, row.engine_name, row.context) if model.variants else None
                    if called is not None:
                        self._applied_as[model.name, slot] = called
        return rows

    def as_applied(self, model: ModelSpec, slot: EngineState) -> ModelSpec | None:
        """The variant that `model` was where it was last applied; None where it is none of its variants any more."""
        every = self.alternatives[model.name]
        return every[0] if len(every) == 1 else self._applied_as.get((model.name, slot))

    def _may_share(self) -> set[str]:
        """Wanted models that may share a runner with another wanted one: a name of theirs, or of their weights, is its too."""
        kind = EngineKind.OLLAMA
        names = {
            name: {called for one in variants for called in (one.engine_name(kind), one.base_name(kind))}
            for name, variants in self.alternatives.items()
        }
        models: dict[str, set[str]] = defaultdict(set)
        for model, own in names.items():
            for name in own:
                models[name].add(model)
        told = (slot.identity.shared_names for slot in self.board if slot.kind is kind)
        alike = {tuple(some) for every in (self.board.weights.shared(), *told) for some in every}
        of_one = [*models.values(), *({model for name in some for model in models.get(name, ())} for some in alike)]
        return {model for some in of_one if len(some) > 1 for model in some}

    def _largest_first(self) -> list[ModelSpec]:
        """The wanted models in the order in which they are kept and placed: priority, then what one replica needs, then the name. What is
        large finds room only before what is small is spread."""
        sizes = {
            model.name: most_needed(self.class_of(model).slots, self.alternatives[model.name][0], self.applied)
            for model in self.models
            if model.ensure is Ensure.LOADED
        }
        return sorted(self.models, key=lambda model: (-model.priority, -sizes.get(model.name, 0), model.name))

    def is_searched(self, model: ModelSpec) -> bool:
        """Whether places for it are searched for, and what has one moves in a search. Names that may share a runner are charged by what is
        there already, and variants are chosen by what fits: those are placed one by one. What asks for free memory makes nothing move."""
        one_by_one = model.name in self.may_share or bool(model.variants) or model.when.free_vram is not None
        return model.ensure is Ensure.LOADED and not one_by_one

    def begin_round(self) -> None:
        """Forgets how much was looked at, and where: each round asks as the next plan will."""
        self.moved.clear()
        self.displaced_last.clear()
        self.looks_left, self.reseats_left = EJECTION_LOOKS, RESEATING_LOOKS
        self.lowest = self._lowest_priority()

    def freed(self) -> None:
        """Forgets what was found out about a fuller board."""
        self.version += 1
        self.nothing_fits.clear()
        self.no_elsewhere.clear()
        self.orders.clear()

    def beside(self, model: ModelSpec, slot: EngineState) -> Sequence[EngineState]:
        """The other engines that take orders and have room where a replica of `model` on `slot` would sit: on one of its cards, or in the
        RAM of its node."""
        every = self.board.by_node[slot.id.node]
        if len(every) == 1:
            return ()
        ram = in_ram(slot, model)
        known = self._beside.get((slot, ram))
        if known is None:
            where = set(slot.places(ram))
            near = [other for other in every if other is not slot and other.takes_orders]
            known = self._beside[slot, ram] = tuple(other for other in near if where & {other.ram, *(other.cards or ())})
        return known

    def serves(self, model: ModelSpec) -> Set[EngineState]:
        """For `each`: the engines of all its groups."""
        known = self._serves.get(model.name)
        if known is None:
            known = self._serves[model.name] = {slot for group in self.groups_of[model.name] for slot in group}
        return known

    def leave(self, found: Occupant, gone: set[Occupant]) -> None:
        """Puts a resident among those that leave (`gone`: displaced or released)."""
        gone.add(found)
        found.runner = ""
        for model in (found.model, *found.also):
            if model is not None:
                self.left[model.name, found.slot] = found
        self._settle(found)

    def has_left(self, found: Occupant) -> bool:
        return found in self.result.displaced or found in self.result.released

    def come_back(self, found: Occupant) -> bool:
        """Takes a resident that was told to leave back, where its room is still there."""
        slot = found.slot
        if slot.full or found.resident.blob in slot.runners or not slot.may_hold(found.charges, lambda card: not self._newly_taken(card)):
            return False
        self.board.put(found)
        if (slot.coming and would_evict(slot)) or self._takes_what_is_to_be_free(found):
            self.board.remove(found)
            return False
        self.result.displaced.discard(found)
        self.result.released.discard(found)
        for model in (found.model, *found.also):
            if model is not None:
                self.left.pop((model.name, slot), None)
        self.may_yield(found)
        return True

    def may_yield(self, found: Occupant) -> None:
        """Lets a stranger with a finite keep-alive, which is no target, be evicted where the policy says so."""
        if self.desired.policy.unmanaged is Unmanaged.YIELD and found.yields and found not in self.yielding[found.slot]:
            self.yielding[found.slot].append(found)

    def stays_a_stranger(self, found: Occupant) -> None:
        """Gives a client's resident its room again, which was to be a replica and is none."""
        found.runner = ""
        self.board.put(found)
        self.may_yield(found)

    def _newly_taken(self, card: Card) -> bool:
        """Whether something was given room on this card that it does not hold yet: then what was there before is no measure any more."""
        return any(
            count > on_card(target.found.charges if target.found is not None else (), card)
            for slot in self.board.by_node[card.node]
            for target in self.on_slot[slot]
            for taken, count in target.charges
            if taken is card
        )

    def _takes_what_is_to_be_free(self, found: Occupant) -> bool:
        """Whether something comes to one of its cards that asks for more free memory before than this leaves there (`when.free_vram`)."""
        cards = {card for card, _ in found.charges if not card.is_ram}
        return any(
            card in cards and card.left_without(count) < target.model.when.free_vram
            for slot in self.board.by_node[found.slot.id.node]
            for target in self.on_slot[slot]
            if target.model.when.free_vram is not None and target.found is None
            for card, count in target.charges
        )

    def class_of(self, model: ModelSpec) -> Eligible:
        known = self._eligible_for.get(model.name)
        if known is None:
            key = ModelClass.of(model)
            if key not in self._eligible:
                self._eligible[key] = eligible(self.board, model)
            known = self._eligible_for[model.name] = self._eligible[key]
        return known

    def note(self, target: Target) -> None:
        self.version += 1
        self.at[target.model.name][target.slot] = target
        if target.slot in self.not_right:
            self.not_right[target.slot].pop(target.model.name, None)
        if target.found is not None:
            self.taken(target.found)
        self.count(target, 1)
        self.on_slot[target.slot].append(target)

    def count(self, target: Target, by: int) -> None:
        self.nodes_of[target.model.name][target.slot.id.node] += by
        if target.model.spread is Spread.GPU:
            for card in target.slot.cards or ():
                self.cards_of[target.model.name][id(card)] += by

    def try_at(self, model: ModelSpec, slot: EngineState) -> bool:
        if slot in self.at[model.name] or self.is_kept_away(model, slot):
            return False
        giving = self.gives_way(model, slot)
        for found in giving:
            self.board.remove(found)
        room = fit(slot, model, self.applied)
        if not isinstance(room, Fit):
            for found in giving:
                self.board.put(found)
            return False
        again = next((found for found in giving if _same_weights(found, model)), None)
        for found in giving:
            if found is not again:
                self.leave(found, self.result.released)
        better = passed_over(slot, model, self.alternatives[model.name], self.applied)
        holding = take(self.board, slot, model, room, self.applied)
        left = self.left.get((model.name, slot))
        self.note(Target(model, slot, room.need, holding, again, shares=room.shares, replaces=left, passed_over=better))
        return True

    def gives_way(self, model: ModelSpec, slot: EngineState) -> Sequence[Occupant]:
        """The residents of this model there that are not as wanted, where `model` may have their room: the very weights are loaded anew in
        their place, and other variants are unloaded first, as far as they are ours."""
        waiting = self.not_right[slot].get(model.name, ()) if slot in self.not_right else ()
        return [found for found in waiting if found.owned is not None or _same_weights(found, model)]

    def without_room_here(self) -> Set[str]:
        """The models of which a resident is not as wanted and found no room to be loaded anew in its place."""
        return {name for names in self.not_right.values() for name in names}

    def _lowest_priority(self) -> int | None:
        """The least of all that has a place, or is to be loaded anew in its own; None where there is nothing."""
        placed = {name for name, targets in self.at.items() if targets} | self.without_room_here()
        return min((model.priority for model in self.models if model.name in placed), default=None)

    def room_at(self, model: ModelSpec, slot: EngineState) -> Fit | str:
        """Like `fit`; a resident of it that is not as wanted gives its own room first, since it is loaded anew in its place."""
        giving = self.gives_way(model, slot)
        if not giving:
            return fit(slot, model, self.applied)
        with self.board.trial():
            for found in giving:
                self.board.remove(found)
            return fit(slot, model, self.applied)

    def is_taken(self, found: Occupant) -> bool:
        """Whether a resident is a target already, maybe that of another model: it is one variant of that, and this one by itself."""
        for target in self.on_slot[found.slot]:  # noqa: SIM110 (a generator for each question costs as much as its answer)
            if target.found is found:
                return True
        return False

    def taken(self, found: Occupant) -> None:
        """A resident that is a target by now is nobody else's to load anew, and nobody's to evict."""
        self._settle(found)
        if found.slot in self.yielding and found in self.yielding[found.slot]:
            self.yielding[found.slot].remove(found)

    def waits(self, model: ModelSpec, found: Occupant) -> None:
        """A resident of `model` that is not as wanted and finds no room to be loaded anew in its place."""
        waiting = self.not_right[found.slot].setdefault(model.name, [])
        if found not in waiting:
            waiting.append(found)

    def _settle(self, found: Occupant) -> None:
        """This resident waits no more to be loaded anew, for whatever model; another one of the same model beside it still does."""
        if found.slot not in self.not_right:
            return
        names = self.not_right[found.slot]
        for name in [name for name, waiting in names.items() if found in waiting]:
            names[name].remove(found)
            if not names[name]:
                del names[name]

    def order(self, model: ModelSpec, ram: bool) -> EngineOrder:
        key = (ModelClass.of(model), ram, model.prefer)
        if key not in self.orders:
            slots = [slot for slot in self.class_of(model).slots if slot.selected and slot.reachable and in_ram(slot, model) == ram]
            thermal = self.desired.policy.thermal
            hysteresis = thermal.hysteresis if thermal is not None else None
            wish = Wish(self.desired.strategy, ram, hysteresis, self.desired.weights, model.prefer)
            self.orders[key] = order_of(slots, wish)
        return self.orders[key]

    def breaks_spread(self, model: ModelSpec, slot: EngineState, there: Occupant | None = None) -> bool:
        """Whether a replica here would stand beside another one where a written `spread` forbids it, on one card with a model that it is
        never with, or without one that it must be with. `there`: a resident of it that would stay as it is."""
        if self._breaks_own_spread(model, slot):
            return True
        if model.name not in self.company.involved:
            return False
        return self.foe_on(model, slot, there=there) is not None or self.lacks_mate(model, slot) is not None

    def is_kept_away(self, model: ModelSpec, slot: EngineState, by: int | None = None) -> bool:
        """Whether a replica may not come here, for others that are here. `by`: what is of a lower priority would leave for it."""
        if self._breaks_own_spread(model, slot):
            return True
        if model.name not in self.company.involved:
            return False
        away = self.foe_on(model, slot, by), self.stray_on(model, slot), self.lacks_mate(model, slot)
        return any(one is not None for one in away)

    def foe_on(self, model: ModelSpec, slot: EngineState, least: int | None = None, there: Occupant | None = None) -> str | None:
        """A model with a place on a card where `model` would be on this engine, of priority `least` or more, that it is never with.
        `there`: a resident of it that stays as it is, on the cards that it is charged to."""
        foes = self.company.foes.get(model.name, NOBODY)
        if not foes or in_ram(slot, model):
            return None
        where = set(slot.cards or ()) if there is None else {card for card, _ in there.charges}
        for foe in sorted(foes & self.at.keys()):
            for target in self.at[foe].values():
                if self.is_hoped_for(target):
                    continue
                if (least is None or target.model.priority >= least) and where & cards_of(target):
                    return foe
            if any(where & cards for cards in self._staying(foe)):
                return foe
        return None

    def is_hoped_for(self, target: Target) -> bool:
        """Whether this is a replica on an engine that is not to be touched now, where it was never put, or is seen not to be."""
        return target.deferred and target.found is None and (target.slot.reachable or target.slot not in self.rows_of[target.model.name])

    def stray_on(self, model: ModelSpec, slot: EngineState) -> str | None:
        """A model that it is never with, resident on such a card without a place there, and staying."""
        foes = self.company.foes.get(model.name, NOBODY)
        if not foes or in_ram(slot, model):
            return None
        where = set(slot.cards or ())
        return next((foe for foe in sorted(foes) if any(where & cards for cards in self.strays(foe))), None)

    def strays(self, name: str) -> Iterator[Set[Card]]:
        """The cards of each resident of a model that has no place there and does not leave."""
        for found in self.found_of.get(name, ()):
            if not self.is_taken(found) and not self.has_left(found):
                yield {card for card, _ in found.charges}

    def lacks_mate(self, model: ModelSpec, slot: EngineState) -> str | None:
        """A model that must be on its card and is not, on this engine; of an engine over several cards nobody can say where either is."""
        mates = self.company.mates.get(model.name, ())
        where = set(slot.cards or ())
        for mate in mates:
            there = [*map(cards_of, self.at.get(mate, {}).values()), *self._staying(mate)]
            if len(where) != 1 or in_ram(slot, model) or where not in there:
                return mate
        return None

    def needed_beside(self, model: ModelSpec) -> int:
        """Bytes that the models need that may only be beside this one, matter as much, and have fewer replicas than are wanted."""
        found = 0
        for name in sorted(self.company.followers.get(model.name, NOBODY) & self.at.keys()):
            one = self.alternatives[name][-1]
            if one.ensure is Ensure.LOADED and one.priority >= model.priority and len(self.at[name]) < (one.replicas or 0):
                found += most_needed(self.class_of(one).slots, one, self.applied)
        return found

    def _staying(self, name: str) -> Sequence[Set[Card]]:
        """The cards of each resident of a model that stays until it has its place elsewhere."""
        return [{card for card, _ in found.charges if not card.is_ram} for found in self.staying.get(name, ())]

    def _breaks_own_spread(self, model: ModelSpec, slot: EngineState) -> bool:
        if not model.spread_hard or model.spread is Spread.NONE:
            return False
        own = slot in self.at[model.name]
        if model.spread is Spread.NODE:
            return self.nodes_of[model.name][slot.id.node] > own
        cards = self.cards_of[model.name]
        return any(cards[id(card)] > own for card in slot.cards or ())


def _same_weights(found: Occupant, model: ModelSpec) -> bool:
    """Whether a resident of `model` is the variant of it that is asked for: an engine holds two variants as two models."""
    one = found.as_model(model)
    return one.variant == model.variant or found.slot.runner(one) == found.slot.runner(model)
