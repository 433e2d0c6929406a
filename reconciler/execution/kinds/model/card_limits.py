"""Heat and memory pressure of the cards at the moment when a step is to run: what is held, and what is never. The start of a server with
its model is a load of that model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from reconciler.execution.kinds.model.learning import LookAtCards
from reconciler.fleet import CardFacts, CardId, EngineId, FleetFacts, Heat, Policy, Pressure, Thermal, parse_replica_address
from reconciler.planning import Action, Cause, ModelStep, Plan, Step, model_steps
from reconciler.planning.kinds.engine import EngineStep

FRESH_SECONDS = 5.0
"""So long a look at a node's cards serves all steps there."""
CardKey = tuple[str, CardId]
_LOADS = (Action.LOAD, Action.RELOAD)
_STARTS = (Action.CREATE, Action.UPDATE)
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
        self._brings = _brought_by(plan) if self._asks else {}
        self._waiting: dict[str, list[Step]] = defaultdict(list)
        for step in plan.steps:
            for needed in step.needs if step.id in self._brings else ():
                self._waiting[needed].append(step)
        self._evicted = {step.at for step in model_steps(plan.steps) if step.reason.code in _MAKE_ROOM}
        self._evicted |= {parse_replica_address(address)[1] for address in plan.impact.evictions}

    @property
    def _asks(self) -> bool:
        return self._policy.thermal is not None or self._policy.memory_pressure is not None

    async def holds(self, step: Step) -> tuple[str, str] | None:
        """Why a step is not to run now, as code and sentence; None where it may. What only makes room is held where all that it makes room
        for is."""
        if step.id in self._brings:
            return await self._judge(step)
        if not self._makes_room(step):
            return None
        told = None
        for waits in self._waiting.get(step.id, ()):
            if (held := await self._judge(waits)) is None:
                return None
            told = told or (held[0], f"it would make room for {waits.address}, and {held[1]}")
        return told

    def _makes_room(self, step: Step) -> bool:
        if isinstance(step, ModelStep):
            return step.action is Action.UNLOAD and step.reason.code in _MAKE_ROOM
        return isinstance(step, EngineStep) and step.action is Action.REMOVE and EngineId(step.node, step.engine) in self._evicted

    async def _judge(self, step: Step) -> tuple[str, str] | None:
        """The same of what brings models to cards. A server that is replaced gives its own memory back first."""
        for model in self._brings[step.id]:
            if (held := await self._judged(model, adds=step.action is not Action.UPDATE)) is not None:
                return held
        return None

    async def _judged(self, step: ModelStep, adds: bool) -> tuple[str, str] | None:
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
            if adds and pressure is not None and pressure.level(card) is Pressure.CRITICAL and not restores:
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


def _brought_by(plan: Plan) -> Mapping[str, Sequence[ModelStep]]:
    """By the id of a step the models that it brings to cards: a load its own, the start of a server those that it is started with."""
    starts = {step.id for step in plan.steps if isinstance(step, EngineStep) and step.action in _STARTS}
    brings: dict[str, list[ModelStep]] = defaultdict(list)
    for step in model_steps(plan.steps):
        if step.action in _LOADS:
            brings[step.id].append(step)
        elif step.action is Action.WAIT:
            for needed in starts.intersection(step.needs):
                brings[needed].append(step)
    return brings
