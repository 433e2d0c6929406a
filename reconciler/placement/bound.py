"""What no placement can do better than: lower bounds by counting, without a search.

*By bytes*: what is wanted on a set of cards is more than they hold. *By size classes*: of all that needs t bytes or more, a card takes
`room // t` at most, whatever else is on it. Both hold for any rule of placement, since every rule is only left out here: cards of one
engine count as one large card, what could leave counts as gone, and a replica takes the least that it takes anywhere. Pure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from itertools import accumulate, groupby, islice

from reconciler.capacity import Card, Choices, EngineState, Holding, by_card, card_groups, least_freed, least_left_out, total
from reconciler.fleet import Applied, Desired, Ensure, ModelSpec, Residency
from reconciler.placement.eligibility import Eligible, ModelClass, eligible
from reconciler.placement.fit import static_refusal
from reconciler.placement.objective import Objective, moves_of, replica_bytes
from reconciler.placement.residents import Occupant, need_on
from reconciler.placement.result import Placement, Proof, Target
from reconciler.value_class import value_class

CLASSES = 16
"""How many classes of models with candidates of their own are counted each by itself; all together are always counted."""
NEEDS_LOOKED_AT = 1000
"""On how many engines the need of a model that declares none is asked for."""


@value_class
class Bound:
    """The least that the best placement leaves out, by priority as in the objective and each together with all higher ones, the least
    bytes that move where all has a place (0 where something has none), and the least disturbance of the best. `never` are the replicas by
    model that no engine can take, whatever else those hold."""

    left_out: tuple[int, ...] = ()
    moved_bytes: int = 0
    disturbance: int = 0
    never: Mapping[str, int] = field(default_factory=dict)

    @property
    def left_out_bytes(self) -> int:
        return self.left_out[-1] if self.left_out else 0

    def proves(self, objective: Objective) -> bool:
        """Whether no placement is better: none leaves out less at any priority, or moves less."""
        so_far, least = 0, True
        for level, bound in zip(objective.left_out, self.left_out, strict=True):
            so_far += level.bytes
            least = least and so_far <= bound
        return least and objective.disturbance <= self.disturbance

    def raised(self, proof: Proof, objective: Objective) -> Bound:
        """With what the exact solver proved of this objective, beside what was counted."""
        if not proof.whole:
            return self
        least, so_far = [], 0
        for level, counted, bound, reached in zip(objective.left_out, self.left_out, proof.left_out, proof.reached, strict=True):
            so_far += bound
            least.append(max(counted, so_far))
            if level.bytes > reached:  # the board refused what the solver found, so nothing is known of what follows
                return replace(self, left_out=(*least, *self.left_out[len(least) :]))
        return replace(self, left_out=tuple(least), disturbance=max(self.disturbance, proof.disturbance))

    def least_levels(self, objective: Objective) -> Iterator[int]:
        """The priorities of which no placement leaves out less, without leaving out more of higher ones."""
        so_far = 0
        for level, bound in zip(objective.left_out, self.left_out, strict=True):
            so_far += level.bytes
            if so_far <= bound:
                yield level.priority

    def without(self, waiting: Mapping[int, int]) -> Bound:
        """Where so many bytes of each priority may count as waiting and not as left out; the priorities are those of `left_out`."""
        off = accumulate(count for _, count in sorted(waiting.items(), reverse=True))
        return replace(self, left_out=tuple(max(0, bound - count) for bound, count in zip(self.left_out, off, strict=True)))


@value_class
class _Kind:
    """Replicas of one model: how many are counted, the least that one takes of its cards, what one counts left out."""

    model: ModelSpec
    count: int
    takes: int
    size: int
    groups: frozenset[int]


def bound_of(placement: Placement, desired: Desired, applied: Applied, objective: Objective) -> Bound:
    """The bound for the placements of what `placement` has placed and left out. Looks at no more than it must: where nothing is left out
    and nothing moves there is nothing to ask."""
    nothing = Bound(tuple(0 for _ in objective.left_out))
    if not objective.left_out_bytes and not objective.moved:
        return nothing
    counting = _Counting(placement, desired, applied)
    if objective.left_out_bytes:
        return Bound(tuple(counting.left_out(level.priority) for level in objective.left_out), never=counting.without_engine)
    return Bound(nothing.left_out, min(counting.moved(), objective.moved_bytes))


class _Counting:
    """The cards of a finished placement in groups that no engine crosses, with what could be had of each, and who wants how much of it."""

    def __init__(self, placement: Placement, desired: Desired, applied: Applied) -> None:
        self.placement, self.applied = placement, applied
        self.eligible: dict[ModelClass, Eligible] = {}
        self.without_engine: dict[str, int] = {}
        self.group_of = _groups(placement)
        self.rooms: Counter[int] = Counter()
        for card, room in _rooms(placement).items():
            self.rooms[self.group_of[card]] += max(0, room)
        there: dict[str, list[Occupant]] = defaultdict(list)
        gone = [found for _, leaving, _ in moves_of(placement) for found in leaving]
        kept = [target.found for target in placement.targets if target.found is not None and not target.stays]
        for found in (*dict.fromkeys(kept), *gone):
            for model in (found.model, *found.also):
                if model is not None:
                    there[model.name].append(found)
        self.there = there
        self.kinds = list(self._kinds(desired))

    def _kinds(self, desired: Desired) -> Iterator[_Kind]:
        """The models that are counted: those that must be on cards, with a number of replicas and weights of their own. What stays where it
        is in any placement, as what is protected, is neither counted nor in the room."""
        wanted: Counter[str] = Counter(target.model.name for target in self.placement.targets if _may_move(target))
        lacking: Counter[str] = Counter()
        for entry in self.placement.lacking:
            lacking[entry.model.name] += entry.count
        alike: dict[ModelClass, frozenset[int]] = {}
        for model in sorted(desired.wanted, key=lambda one: one.name):
            count = wanted[model.name] + lacking[model.name]
            plain = model.ensure is Ensure.LOADED and model.each is None and model.residency is Residency.GPU
            if not plain or not count or model.name in self.placement.sharing:
                continue
            kind = ModelClass.of(model)
            slots = self._could(model).slots
            if kind not in alike:
                alike[kind] = self._groups_of(slots)
            groups = alike[kind]
            here = self._groups_of(found.slot for found in self.there[model.name])
            size = replica_bytes(self.placement.board, model, self.applied)
            yield _Kind(model, count, min(size, self._least(model, slots)), size, groups if here <= groups else groups | here)

    def _groups_of(self, slots: Iterable[EngineState]) -> frozenset[int]:
        return frozenset(self.group_of[card] for slot in slots for card in slot.cards or ())

    def _least(self, model: ModelSpec, slots: Sequence[EngineState]) -> int:
        """The least bytes that one replica takes, of any variant, on any of these engines, new or as it is there; 0 where that is not
        declared and there are too many to ask."""
        found = [total(one.charges) for one in self.there[model.name]]
        for one in model.alternatives():
            if one.vram is not None:
                found.append(one.vram)
                continue
            if len(slots) > NEEDS_LOOKED_AT:
                return 0
            for slot in slots:
                need = need_on(slot, one, self.applied)
                part = slot.knowledge.part(slot, one, self.applied) if need is not None and len(slot.cards or ()) > 1 else None
                found += [] if need is None else [need.bytes if part is None else min(need.bytes, part * len(slot.cards or ()))]
        return min(found, default=0)

    def left_out(self, priority: int) -> int:
        """The least bytes of this priority and higher ones that have no place."""
        kinds, surely = [], 0
        for kind in self.kinds:
            if kind.model.priority >= priority:
                never = self._never(kind)
                surely += never * kind.size
                if kind.count > never:
                    kinds.append(_Kind(kind.model, kind.count - never, kind.takes, kind.size, kind.groups))
        return surely + max((self._short(some, groups) for some, groups in _classes(kinds)), default=0)

    def _never(self, kind: _Kind) -> int:
        """How many of a model have no engine, whatever else those hold: more than there are engines with cards that are large enough."""
        name = kind.model.name
        if name not in self.without_engine:
            left = 0
            if any(entry.model.name == name for entry in self.placement.lacking):
                left = kind.count - sum(1 for _ in islice(self._could_take(kind), kind.count))
            self.without_engine[name] = left
        return self.without_engine[name]

    def _could_take(self, kind: _Kind) -> Iterator[EngineState]:
        """The engines that have a replica, then those that could have one."""
        there = {found.slot for found in self.there[kind.model.name]}
        stay = {target.slot for target in self.placement.targets if target.model.name == kind.model.name and not _may_move(target)}
        yield from there - stay
        for slot in self._could(kind.model).slots:
            if slot in there or slot in stay or not slot.cards or self.rooms[self.group_of[slot.cards[0]]] < kind.takes:
                continue
            if any(static_refusal(slot, one) is None for one in kind.model.alternatives()):
                yield slot

    def _could(self, model: ModelSpec) -> Eligible:
        kind = ModelClass.of(model)
        if kind not in self.eligible:
            self.eligible[kind] = eligible(self.placement.board, model)
        return self.eligible[kind]

    def _short(self, kinds: Sequence[_Kind], groups: frozenset[int]) -> int:
        return least_left_out([(kind.takes, kind.size, kind.count) for kind in kinds], [self.rooms[group] for group in groups])

    def moved(self) -> int:
        """The least bytes that leave a card so that all that is new has a place."""
        held: dict[int, list[int]] = defaultdict(list)
        for found in dict.fromkeys(found for some in self.there.values() for found in some):
            for group, count in _by_group(found, self.group_of).items():
                held[group].append(count)
        new = []
        for kind in self.kinds:
            count = kind.count - len({found.slot for found in self.there[kind.model.name]})
            if count > 0:
                new.append(_Kind(kind.model, count, kind.takes, kind.size, kind.groups))
        chosen = {group: Choices(sizes) for group, sizes in held.items()}
        worst = 0
        for some, groups in _classes(new):
            many = 0
            for takes, alike in groupby(sorted(some, key=lambda kind: -kind.takes), key=lambda kind: kind.takes):
                many += sum(kind.count for kind in alike)
                if takes > 0:
                    worst = max(worst, least_freed(takes, many, [(self.rooms[group], chosen.get(group)) for group in groups]))
        return worst


def _groups(placement: Placement) -> Mapping[Card, int]:
    """A number for each card, the same for cards that one engine could use together."""
    cards = placement.board.cards
    number = {card: n for n, card in enumerate(cards)}
    engines = ([number[card] for card in slot.cards] for slot in placement.board if slot.cards and len(slot.cards) > 1)
    return dict(zip(cards, card_groups(len(cards), engines), strict=True))


def _rooms(placement: Placement) -> Mapping[Card, int]:
    """What the wanted could have of each card: what it may hold, or held as found, less what stays there whatever is placed."""
    movable: set[Holding] = {target.holding for target in placement.targets if target.holding is not None and _may_move(target)}
    movable |= {found for found in placement.unwanted if found.there and (found.yields or found.owned is not None)}
    gone = by_card(holding.charges for holding in movable)
    return {card: card.left_without(gone.get(card, 0)) for card in placement.board.cards}


def _may_move(target: Target) -> bool:
    """Whether it is on the board, and could be elsewhere."""
    return target.holding is not None and target.holding.there and target.slot.takes_orders and not target.stays


def _by_group(found: Occupant, group_of: Mapping[Card, int]) -> Mapping[int, int]:
    """What a resident holds of each group of cards: one that may be on any of several is on one of them."""
    held: dict[int, int] = {}
    for card, count in found.charges:
        if not card.is_ram:
            held[group_of[card]] = max(held.get(group_of[card], 0), count)
    return held


def _classes(kinds: Sequence[_Kind]) -> Iterator[tuple[Sequence[_Kind], frozenset[int]]]:
    """The kinds that have no cards but those of a set, for the sets that occur, and all kinds with all of their cards."""
    if not kinds:
        return
    yield kinds, frozenset().union(*(kind.groups for kind in kinds))
    sets = sorted({kind.groups for kind in kinds}, key=lambda groups: (len(groups), sorted(groups)))
    for groups in sets[:CLASSES]:
        yield [kind for kind in kinds if kind.groups <= groups], groups
