"""Heat and memory pressure of the cards at the moment when a step is to run: what is held, and what is never."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from reconciler.execution.kinds.model.learning import LookAtCards
from reconciler.fleet import CardFacts, CardId, FleetFacts, Heat, Policy, Pressure, Thermal
from reconciler.planning import Action, Cause, ModelStep, Plan, model_steps

FRESH_SECONDS = 5.0
"""So long a look at a node's cards serves all steps there."""
CardKey = tuple[str, CardId]
_LOADS = (Action.LOAD, Action.RELOAD)
_MAKE_ROOM = ("displaced", "eviction")


class Levels:
    """Judges steps by the cards of their nodes, and remembers how hot each was seen, for the hysteresis."""

    def __init__(
        self,
        plan: Plan,
        policy: Policy,
        facts: FleetFacts,
        before: Mapping[CardKey, Heat],
        look: LookAtCards | None,
        clock: Callable[[], float],
    ) -> None:
        self._policy, self._facts, self._look, self._clock = policy, facts, look, clock
        self.heat: dict[CardKey, Heat] = dict(before)
        self._seen: dict[str, tuple[float, Sequence[CardFacts] | None]] = {}
        self._waiting: dict[str, list[ModelStep]] = defaultdict(list)
        if self._asks:
            for step in model_steps(plan.steps):
                for needed in step.needs if step.action in _LOADS else ():
                    self._waiting[needed].append(step)

    @property
    def _asks(self) -> bool:
        return self._policy.thermal is not None or self._policy.memory_pressure is not None

    async def holds(self, step: ModelStep) -> tuple[str, str] | None:
        """Why a step is not to run now, as code and sentence; None where it may. An unload that only makes room waits with its load."""
        if not self._asks:
            return None
        if step.action in _LOADS:
            return await self._judge(step)
        if step.action is Action.UNLOAD and step.reason.code in _MAKE_ROOM:
            for load in self._waiting.get(step.id, ()):
                if (held := await self._judge(load)) is not None:
                    return held[0], f"it would make room for {load.address}, and {held[1]}"
        return None

    async def _judge(self, step: ModelStep) -> tuple[str, str] | None:
        restores = step.cause in (Cause.DRIFT, Cause.BOTH)
        cards = {card.index: card for card in await self._cards(step.node) or ()}
        for index in step.cards:
            card = cards.get(index)
            if card is None:
                continue
            heat = self._heat(step.node, card)
            where, degrees = f"card {step.node}/{index}", f"{card.temperature or 0:.0f} °C"
            if heat is Heat.CRITICAL:
                return "thermal_critical", f"{where} is critically hot ({degrees})"
            if heat is Heat.THROTTLING and not restores:
                return "thermal_throttling", f"{where} is too hot for what is new ({degrees})"
            pressure = self._policy.memory_pressure
            if pressure is not None and pressure.level(card) is Pressure.CRITICAL and not restores:
                return "memory_pressure", f"the memory of {where} is too full for what is new"
        return None

    async def _cards(self, node: str) -> Sequence[CardFacts] | None:
        if self._look is None:
            found = self._facts.nodes.get(node)
            return found.cards if found is not None else None
        seen = self._seen.get(node)
        if seen is None or self._clock() - seen[0] >= FRESH_SECONDS:
            seen = self._seen[node] = (self._clock(), (await self._look((node,))).get(node))
        return seen[1]

    def _heat(self, node: str, card: CardFacts) -> Heat:
        thermal = self._policy.thermal or Thermal()
        key = (node, card.index)
        if card.temperature is None:
            return Heat.NORMAL
        level = self.heat[key] = thermal.level(card.temperature, self.heat.get(key, Heat.NORMAL))
        return level

    def note(self, facts: FleetFacts) -> Mapping[CardKey, Heat]:
        """The levels of all cards that were looked at, those of `facts` too where no step asked."""
        for node in facts.nodes.values() if self._policy.thermal is not None else ():
            for card in node.cards or ():
                if node.node not in self._seen:
                    self._heat(node.node, card)
        return self.heat if self._policy.thermal is not None else {}
