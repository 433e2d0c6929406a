"""The board that placement plays on: every card with what it may hold, every engine with its cards, before anything is moved.

Mutable on purpose and private to one planning run: a fleet of 80,000 cards is charged and discharged in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.admission import NO_RULES, Coming, Rules, rules_of
from reconciler.fleet import (
    CardFacts,
    CardId,
    EngineFacts,
    EngineId,
    EngineKind,
    EngineSpec,
    Installed,
    ModelSpec,
    NodeSpec,
    weights_digest,
)
from reconciler.needs.engine_classes import Alike
from reconciler.needs.knowledge import Knowledge

RAM_INDEX = -1


@dataclass(slots=True, eq=False)
class Card:
    """A card (or a node's RAM) in bytes. `usable` None: its size is not known, so nothing is added to it. `held` is what replicas and
    residents take by our arithmetic; foreign use comes on top. `before` is `held` as found. `free_fact` names its free bytes in a plan."""

    node: str
    index: CardId
    total: int | None
    usable: int | None
    foreign: int
    assumed: bool
    facts: CardFacts | None = None
    held: int = 0
    before: int = 0
    free_fact: str = ""

    def __post_init__(self) -> None:
        self.free_fact = f"{self.node}/{'ram' if self.is_ram else self.index}.free_bytes"

    @property
    def is_ram(self) -> bool:
        """Whether this is the node's RAM, which is reckoned with as one more card."""
        return self.index == RAM_INDEX

    @property
    def free(self) -> int:
        return -1 if self.usable is None else self.usable - self.foreign - self.held

    @property
    def unused(self) -> int:
        """What nobody holds of the whole card, whatever of it may be used; −1 when its size is unknown."""
        return -1 if self.total is None else self.total - self.foreign - self.held

    @property
    def capacity(self) -> int:
        """What all replicas together may take: usable less foreign; −1 when unknown."""
        return -1 if self.usable is None else self.usable - self.foreign


Charges = tuple[tuple[Card, int], ...]


@dataclass(slots=True, eq=False)
class Runner:
    """A runner of a server: the options it has, what it is charged with, and how many wanted names it serves."""

    options: str
    charges: Charges
    names: int = 1


@dataclass(slots=True, eq=False)
class EngineState:
    """One engine: where a replica can be. `cards` None: not known what cards it has; (): it runs on the CPU.

    `placed` counts the residents it will have; `runners` are those that it will have, by what `runner_of` says: names that share one are
    charged once, and it leaves with the last of them. `own` is what this engine itself takes on each of its cards, for its `memory_limit`,
    `own_before` the same as found.
    `knowledge` is what the run knows of needs, one for all slots of a board; `alike` the engines that run a model as this one does.
    `coming` has by model the loads that are charged and not there yet. `lost`: unreachable for so long that its replicas are placed
    elsewhere. `hot`: a card of it is so hot or so full that it is the last choice for what is new.
    """

    id: EngineId
    kind: EngineKind
    spec: EngineSpec
    node: NodeSpec
    facts: EngineFacts | None
    cards: tuple[Card, ...] | None
    ram: Card
    selected: bool = True
    lost: bool = False
    hot: bool = False
    placed: int = 0
    own: dict[CardId, int] = field(default_factory=dict)
    own_before: dict[CardId, int] = field(default_factory=dict)
    runners: dict[str, Runner] = field(default_factory=dict)
    knowledge: Knowledge = field(default_factory=Knowledge)
    alike: Alike | None = None
    coming: dict[str, Coming] = field(default_factory=dict)
    _rules: Rules | None = None
    _installed: dict[str, Installed] | None = None
    _names: dict[str, list[str]] | None = None

    @property
    def reachable(self) -> bool:
        return self.facts is not None and self.facts.reachable

    @property
    def rules(self) -> Rules:
        """How this engine itself decides about a load."""
        if self._rules is None:
            facts = self.facts
            if facts is None or not facts.reachable:
                self._rules = NO_RULES
            else:
                cards = len(self.cards) if self.cards is not None else None
                resident = len(facts.residents or ())
                self._rules = rules_of(self.kind, facts.build, self.spec.env, cards, facts.max_residents, resident)
        return self._rules

    @property
    def full(self) -> bool:
        """Whether it holds, or will hold, as many models as it allows: for one more it would evict another."""
        return self.rules.most is not None and self.placed >= self.rules.most

    def installed(self, name: str) -> Installed | None:
        """The model of that canonical name on this engine's disk, if the engine told us of one."""
        if self._installed is None:
            known = self.facts.installed if self.facts is not None and self.facts.installed is not None else ()
            self._installed = {model.name: model for model in known}
        return self._installed.get(name)

    def weights_differ(self, model: ModelSpec) -> bool:
        """Whether what is installed here as this model is known to be other weights than its `digest`."""
        if model.digest is None:
            return False
        installed = self.installed(model.engine_name(self.kind)) or self.installed(model.base_name(self.kind))
        return installed is not None and installed.blob is not None and weights_digest(installed.blob) != model.digest

    @property
    def names_by_blob(self) -> Mapping[str, Sequence[str]]:
        """The installed names that stand for the same weights."""
        if self._names is None:
            self._names = {}
            for model in (self.facts.installed if self.facts is not None else None) or ():
                if model.blob is not None:
                    self._names.setdefault(model.blob, []).append(model.name)
        return self._names

    @property
    def used_fraction(self) -> float:
        """The largest used share among this engine's cards; 1 where a size is unknown."""
        worst = 0.0
        for card in self.cards if self.cards else (self.ram,):
            if not card.usable:
                return 1.0
            worst = max(worst, (card.held + card.foreign) / card.usable)
        return worst

    def room(self, card: Card, margin: int = 0) -> int:
        """Bytes this engine may still add to one of its cards: the card's free bytes, capped by the engine's own `memory_limit`, and with
        `margin` bytes of the whole card left over."""
        limit = self.spec.memory_limit
        room = card.free if limit is None else min(card.free, limit - self.own.get(card.index, 0))
        return min(room, card.unused - margin) if margin else room

    def charges_for(self, need: int, spread: Callable[[], int | None] | None = None, margin: int = 0) -> Charges | None:
        """Where `need` bytes would be charged, with `margin` bytes of each card left over; None when there is no room.

        On an engine with several cards nobody can say beforehand which one is taken: the whole is charged to every card that has room for
        it, and where none has, a part to each (which must fit on each): what `spread` says that a card then holds, else an even one.
        """
        cards = self.cards or ()
        if len(cards) == 1:
            return ((cards[0], need),) if self.room(cards[0], margin) >= need else None
        if self.spec.memory_limit is None and not margin:
            fitting = tuple([(card, need) for card in cards if card.free >= need])
        else:
            fitting = tuple([(card, need) for card in cards if self.room(card, margin) >= need])
        if fitting or not cards:
            return fitting or None
        told = spread() if spread is not None else None
        part = told if told is not None else -(-need // len(cards))
        return tuple((card, part) for card in cards) if all(self.room(card, margin) >= part for card in cards) else None

    def charges_found(self, held: int) -> Charges:
        """Where `held` bytes that are already resident are charged: like `charges_for`, by the cards' sizes and without asking for room."""
        cards = self.cards or ()
        if len(cards) == 1:
            return ((cards[0], held),)
        could_hold = tuple((card, held) for card in cards if card.total is None or card.total >= held)
        if could_hold or not cards:
            return could_hold
        part = -(-held // len(cards))
        return tuple((card, part) for card in cards)

    def add(self, charges: Charges) -> None:
        for card, count in charges:
            card.held += count
            self.own[card.index] = self.own.get(card.index, 0) + count

    def remove(self, charges: Charges) -> None:
        for card, count in charges:
            card.held -= count
            self.own[card.index] -= count


@dataclass(slots=True)
class Board:
    """Every engine of the fleet by id, every card in node order."""

    slots: Mapping[EngineId, EngineState]
    cards: tuple[Card, ...]
    by_node: Mapping[str, tuple[EngineState, ...]]

    def __iter__(self) -> Iterator[EngineState]:
        return iter(self.slots.values())
