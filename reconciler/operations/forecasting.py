"""What the history of facts foretells of each card. Asks no node and writes nothing."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing

from reconciler.fleet import FIVE_MINUTES, HOUR, LOOK, CardKey, Frame, MemoryPressure
from reconciler.health.forecast import Forecast, forecast
from reconciler.state import Store
from reconciler.value_class import value_class


@value_class
class CardForecast:
    """`at` is the time of its newest sample (seconds since 1970), from which hours are counted; `levels` are bytes by name."""

    card: CardKey
    at: int
    total_bytes: int | None
    levels: Mapping[str, int]
    forecast: Forecast


def forecast_cards(state: Store, pressure: MemoryPressure | None, hours: int) -> Sequence[CardForecast]:
    """Of every card that the history knows. Raises StateError where it cannot be read."""
    with closing(state.reader()) as reader:
        pasts = _pasts(reader.frames((LOOK, FIVE_MINUTES, HOUR)))
    return [_of_card(key, past, pressure, hours) for key, past in sorted(pasts.items(), key=lambda one: (one[0][0], str(one[0][1])))]


class _Past:
    """The use of one card: sums and counts by hour, apart by how fine they are, so that a month of a large fleet is small."""

    def __init__(self) -> None:
        self._sums: dict[int, dict[int, array[float]]] = {HOUR: {}, FIVE_MINUTES: {}, LOOK: {}}
        self.at, self.now = 0, 0
        self.total: int | None = None

    def add(self, at: int, span: int, used: int, total: int | None) -> None:
        sums = self._sums[span].setdefault(at // HOUR, array("d", (0.0, 0.0)))
        sums[0] += used
        sums[1] += 1
        if at + span >= self.at:
            self.at, self.now, self.total = at + span, used, total

    def hours(self) -> list[float | None]:
        """A mean an hour, from the hourly one where there is one, else from what is finer."""
        found: dict[int, float] = {}
        for span in (LOOK, FIVE_MINUTES, HOUR):
            found.update({hour: total / count for hour, (total, count) in self._sums[span].items()})
        return [found.get(hour) for hour in range(min(found), max(found) + 1)]


def _pasts(frames: Iterable[Frame]) -> Mapping[CardKey, _Past]:
    pasts: dict[CardKey, _Past] = {}
    for frame in frames:
        for key, one in frame.cards.items():
            if one.used_bytes is not None:
                pasts.setdefault(key, _Past()).add(frame.at, frame.span, one.used_bytes, one.total_bytes)
    return pasts


def _of_card(key: CardKey, past: _Past, pressure: MemoryPressure | None, hours: int) -> CardForecast:
    levels = levels_of(pressure, past.total)
    return CardForecast(key, past.at, past.total, levels, forecast(past.hours(), past.total, hours, levels, past.now))


def levels_of(pressure: MemoryPressure | None, total: int | None) -> Mapping[str, int]:
    """The levels of `policy.memory_pressure` on a card of this size, in bytes."""
    if pressure is None or total is None:
        return {}
    shares = {"normal": pressure.normal, "high": pressure.high, "critical": pressure.critical}
    return {name: round(share * total) for name, share in shares.items() if share is not None}
