"""An engine as a need sees it: what it is, what it told, and which cards it has; nothing of how full those are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from reconciler.admission import NO_RULES, Rules, rules_of
from reconciler.fleet import (
    CardFacts,
    CardId,
    EngineFacts,
    EngineId,
    EngineKind,
    EngineSpec,
    FleetWeights,
    Identity,
    Installed,
    ModelSpec,
    NodeSpec,
)


@dataclass(slots=True, eq=False)
class KnownCard:
    """A card (or a node's RAM, `index` −1) by what was told of it; `total` in bytes, None: its size is not known."""

    node: str
    index: CardId
    total: int | None
    facts: CardFacts | None = field(default=None, kw_only=True)


@dataclass(slots=True, eq=False)
class KnownEngine:
    """An engine and what it told. `cards` None: not known what cards it has; (): it runs on the CPU. `at_once`: how many models it is known
    to have held at once, where that was at another time than that of its facts. `elsewhere`: what the fleet tells of names."""

    id: EngineId
    kind: EngineKind
    spec: EngineSpec
    node: NodeSpec
    facts: EngineFacts | None
    cards: Sequence[KnownCard] | None
    at_once: int = field(default=0, init=False)
    elsewhere: FleetWeights | None = field(default=None, kw_only=True)
    _rules: Rules | None = field(default=None, init=False)
    _identity: Identity | None = field(default=None, init=False)

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
                resident = max(len(facts.residents or ()), self.at_once)
                self._rules = rules_of(self.kind, facts.build, self.spec.env, cards, facts.max_residents, resident)
        return self._rules

    @property
    def identity(self) -> Identity:
        """What its residents and names are."""
        if self._identity is None:
            self._identity = Identity(self.facts, self.elsewhere)
        return self._identity

    def installed(self, name: str) -> Installed | None:
        """The model of that canonical name on this engine's disk, if the engine told us of one."""
        return self.identity.installed(name)

    def runner(self, model: ModelSpec) -> str:
        """What identifies the runner of a model here."""
        return self.identity.runner(model, self.kind)
