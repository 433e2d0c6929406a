"""How hot a card is and how full, as levels that a policy names. Unknown has no level: it holds nothing up."""

from __future__ import annotations

from enum import IntEnum
from fractions import Fraction

from reconciler.fleet.facts import CardFacts
from reconciler.value_class import value_class


class Heat(IntEnum):
    """`WARNING`: the last choice for what is new. `THROTTLING`: no new loads. `CRITICAL`: no loads at all."""

    NORMAL = 0
    WARNING = 1
    THROTTLING = 2
    CRITICAL = 3


class Pressure(IntEnum):
    """`HIGH`: the last choice for what is new. `CRITICAL`: no new loads."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3


@value_class
class Thermal:
    """The temperatures (°C) from which a level holds; None: there is no such level. One is left again `hysteresis` degrees below."""

    warning: float | None = None
    throttling: float | None = None
    critical: float | None = None
    hysteresis: float = 0.0

    def level(self, temperature: float | None, before: Heat = Heat.NORMAL) -> Heat:
        """The level of a temperature on a card that was at `before`; unknown is normal."""
        if temperature is None:
            return Heat.NORMAL
        reached = Heat.NORMAL
        for level, since in ((Heat.WARNING, self.warning), (Heat.THROTTLING, self.throttling), (Heat.CRITICAL, self.critical)):
            if since is not None and temperature >= since - (self.hysteresis if level <= before else 0.0):
                reached = level
        return reached


@value_class
class MemoryPressure:
    """The shares (0..1) of a card's memory in use from which a level holds; None: there is no such level."""

    normal: Fraction | None = None
    high: Fraction | None = None
    critical: Fraction | None = None

    def level(self, card: CardFacts) -> Pressure:
        """The level of a card whose own use was read; unknown is low."""
        if card.used_bytes is None or not card.total_bytes:
            return Pressure.LOW
        reached = Pressure.LOW
        for level, since in ((Pressure.NORMAL, self.normal), (Pressure.HIGH, self.high), (Pressure.CRITICAL, self.critical)):
            if since is not None and card.used_bytes >= since * card.total_bytes:
                reached = level
        return reached
