"""An engine as a need sees it: what it is, what it told, and which cards it has; nothing of how full those are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.admission import NO_RULES, Rules, rules_of
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


@dataclass(slots=True, eq=False)
class KnownCard:
    """A card (or a node's RAM, `index` −1) by what was told of it; `total` in bytes, None: its size is not known."""

    node: str
    index: CardId
    total: int | None
    facts: CardFacts | None = field(default=None, kw_only=True)


@dataclass(slots=True, eq=False)
class KnownEngine:
    """An engine and what it told. `cards` None: not known what cards it has; (): it runs on the CPU."""

    id: EngineId
    kind: EngineKind
    spec: EngineSpec
    node: NodeSpec
    facts: EngineFacts | None
    cards: Sequence[KnownCard] | None
    _rules: Rules | None = field(default=None, init=False)
    _installed: dict[str, Installed] | None = field(default=None, init=False)
    _names: dict[str, list[str]] | None = field(default=None, init=False)

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
