"""What placement answers: where each wanted replica is to be, and what has no place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.capacity import Card, Charges, EngineState, Holding, Occupancy
from reconciler.fleet import Desired, ModelSpec
from reconciler.placement.reasons import RoomStates
from reconciler.placement.residents import Occupant
from reconciler.value_class import value_class
from reconciler.vram import Need


@value_class
class PassedOver:
    """A better variant of a model that was not placed: why not, as a code and in words, on the engine that got another one."""

    name: str
    reason: str
    message: str = ""


@dataclass(slots=True, eq=False)
class Target:
    """A replica and its place. `holding` is what it takes there: the resident itself, or a load to come; None: nothing of its own. `found`
    is the resident that it is already; `deferred` says that nothing is known there now, so nothing is done; `shares` that its weights are
    in a runner which another target loads; `replaces` is a resident of it that leaves this very engine first. Of a model with variants
    `model` is the chosen one, and `passed_over` are those before it."""

    model: ModelSpec
    slot: EngineState
    need: Need | None
    holding: Holding | None = None
    found: Occupant | None = None
    deferred: bool = False
    shares: bool = False
    replaces: Occupant | None = None
    held: bool = False
    passed_over: tuple[PassedOver, ...] = ()

    @property
    def charges(self) -> Charges:
        """What it takes of its cards."""
        return self.holding.charges if self.holding is not None else ()

    @property
    def protected(self) -> bool:
        """Whether it is there and must not be taken away."""
        return self.found is not None and self.found.protected

    @property
    def stays(self) -> bool:
        """Whether no placement may take it away: nothing is known there now, it is held, or it is protected."""
        return self.deferred or self.held or self.protected


@dataclass(slots=True, eq=False)
class MissingReplicas:
    """Replicas of a model without a place: how many, and the engines that were asked (None: every engine of its nodes)."""

    model: ModelSpec
    count: int
    asked: tuple[EngineState, ...] | None = None


class SolverEnd(StrEnum):
    """Why the exact solver ended: nothing better is possible; its work or its time was used up; the board refused what it found."""

    PROVED = "proved"
    WORK = "work"
    TIME = "time"
    REFUSED = "refused"


@value_class
class Proof:
    """What the exact solver knows of the best placement: the least bytes that it leaves out by priority, the highest first and each by
    itself, and the least that it disturbs (as `Objective.disturbance`). Each holds for placements that leave out no more than `reached` of
    all that comes before. `whole`: all that counts was in its program; else these say nothing."""

    ended: SolverEnd
    whole: bool
    left_out: tuple[int, ...] = ()
    reached: tuple[int, ...] = ()
    disturbance: int = 0


EXPLANATION_LOOKS = 500_000
"""How many engines are asked in a whole plan for why a model has no place there."""
HINT_LOOKS_IN_ALL = 20_000
"""How many engines are asked in a whole plan for what would give models a place there, before no further model is looked at."""
CONFIRMED_ENGINES = 400
"""How many engines all the fleets have together that are placed anew to confirm lines."""
CONFIRMED_BRIEFLY = 8_000
"""The same where a fleet is so large that only a brief search can be made in it."""


@dataclass(slots=True)
class Placement:
    """`displaced` are residents that must leave for another model (`displaced_for` has its name); `unwanted` all residents that are no
    target's; `released` those of them that leave since nobody wants them there, `spared` those that would and are protected. All others
    stay. `sharing` are the models that may have their weights in a runner with others,
    `unsearched` says that something has no place for which no search was made. `proof` is what the exact solver proved, if it was asked.
    `states` may be asked once the board is finished."""

    board: Occupancy
    targets: list[Target] = field(default_factory=list)
    lacking: list[MissingReplicas] = field(default_factory=list)
    unwanted: list[Occupant] = field(default_factory=list)
    displaced: set[Occupant] = field(default_factory=set)
    released: set[Occupant] = field(default_factory=set)
    spared: set[Occupant] = field(default_factory=set)
    displaced_for: dict[Occupant, str] = field(default_factory=dict)
    parted: dict[Occupant, tuple[str, str]] = field(default_factory=dict)
    """Residents that leave because of who is on their card or is not: the code of the reason, and the words."""
    foes: Mapping[str, Set[str]] = field(default_factory=dict)
    """The models that are never on one card with each, by name."""
    unsearched: bool = False
    looks_left: int = EXPLANATION_LOOKS
    hint_looks_left: int = HINT_LOOKS_IN_ALL
    confirmations_left: int = CONFIRMED_ENGINES
    brief_confirmations_left: int = CONFIRMED_BRIEFLY
    again: Callable[[Desired, bool], Placement] | None = None
    """Places all anew by other wishes, on a board of its own; with a brief search only where that is asked for."""
    not_applicable: dict[str, int] = field(default_factory=dict)
    sharing: Set[str] = frozenset()
    proof: Proof | None = None
    states: RoomStates = field(default_factory=RoomStates)
    _holders: dict[Card, dict[str, int]] | None = None
    _slots: dict[str, set[EngineState]] | None = None

    @property
    def holders(self) -> Mapping[Card, Mapping[str, int]]:
        """Who is on each card in the end, by model or resident, with the bytes that it is charged there."""
        if self._holders is None:
            self._holders = {}
            gone = self.displaced | self.released
            there = [(target.model.name, target.charges) for target in self.targets]
            there += [(found.resident.name, found.charges) for found in self.unwanted if found not in gone]
            for name, charges in there:
                for card, count in charges:
                    self._holders.setdefault(card, {})[name] = count
        return self._holders

    def slots_of(self, model: str) -> Set[EngineState]:
        """The engines where a model has its targets."""
        if self._slots is None:
            self._slots = {}
            for target in self.targets:
                self._slots.setdefault(target.model.name, set()).add(target.slot)
        return self._slots.get(model, frozenset())
