"""What the history of facts foretells of each card. Asks no node and writes nothing."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing

from reconciler.fleet import FIVE_MINUTES, HOUR, LOOK, CardKey, Frame, MemoryPressure
from reconciler.health.forecast import Forecast, JudgedForecast, forecast, judge
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


class Judgements:
    """Which way is the best for each card, by the hours that are over: kept until another one is, since that is nearly all of the work."""

    def __init__(self) -> None:
        self._of: dict[CardKey, tuple[int, int | None, JudgedForecast]] = {}

    def of(self, key: CardKey, past: _Past) -> JudgedForecast:
        hour, total = past.at // HOUR, past.total
        known = self._of.get(key)
        if known is None or known[:2] != (hour, total):
            known = self._of[key] = hour, total, judge(past.hours()[:-1], total)
        return known[2]

    def forget_others(self, keys: Collection[CardKey]) -> None:
        """Cards of which nothing is kept any more."""
        for key in self._of.keys() - keys:
            del self._of[key]


def forecast_cards(state: Store, pressure: MemoryPressure | None, hours: int, known: Judgements | None = None) -> Sequence[CardForecast]:
    """Of every card that the history knows. `known` is kept by who asks again and again. Raises StateError where it cannot be read."""
    with closing(state.reader()) as reader:
        pasts = _pasts(reader.frames((LOOK, FIVE_MINUTES, HOUR)))
    known = Judgements() if known is None else known
    known.forget_others(pasts.keys())
    every = sorted(pasts.items(), key=lambda one: (one[0][0], str(one[0][1])))
    return [_of_card(key, past, pressure, hours, known.of(key, past)) for key, past in every]


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


def _of_card(key: CardKey, past: _Past, pressure: MemoryPressure | None, hours: int, judged: JudgedForecast) -> CardForecast:
    levels = levels_of(pressure, past.total)
    return CardForecast(key, past.at, past.total, levels, forecast(past.hours(), past.total, hours, levels, past.now, judged))


def levels_of(pressure: MemoryPressure | None, total: int | None) -> Mapping[str, int]:
    """The levels of `policy.memory_pressure` on a card of this size, in bytes."""
    if pressure is None or total is None:
        return {}
    shares = {"normal": pressure.normal, "high": pressure.high, "critical": pressure.critical}
    return {name: round(share * total) for name, share in shares.items() if share is not None}
