"""How full a card will be, by what it was. Pure.

Several ways are tried on the card's own past, each from 24 moments of its last three days (of its last week, where it is known) and only
with what was known then: its usual course of a day (or of a week, once two are known) and its usual level, from each of which today's
deviation fades away, and its trend. The best of them is said only where two things hold: what was best in the older half of those moments
was off, in the newer one, by less than 0.85 of what "as now" and "as at this hour yesterday" were off, and the other way round, so that
nothing is judged by what it was chosen for; and it was off less than either of them at three of four moments. Else too little is known. A
card that stayed as it was, within a hundredth of its memory, goes on as it is. The interval is what nine of ten of its own errors were
within: of what came, four of five are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from itertools import combinations, groupby
from operator import itemgetter
from statistics import fmean, median

from reconciler.value_class import value_class

HOURS_NEEDED = 48
MOST_HOURS = 168
BETTER, OFTEN = 0.85, 0.75
STEADY = 0.01
_DAY, _WEEK = 24, 168
_LONGEST = 28 * _DAY
"""Hours that are learned from."""
_ORIGINS, _EVERY, _SELDOM = 24, 3, 7
"""So many moments, so many hours apart: in a long past more, so that they are of all hours of the day."""
_HORIZONS = (1, 2, 3, 6, 12, 18, 24)
_FADES = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
"""What an hour leaves of today's deviation."""
_LEAST_TRIES = 40
_TAIL = 0.05

Series = Sequence[float | None]
"""A value an hour, the oldest first; None: not known."""


class Method(StrEnum):
    """What a forecast goes by; `none`: too little is known."""

    STEADY = "steady"
    DAY = "usual day"
    WEEK = "usual week"
    LEVEL = "usual level"
    TREND = "trend"
    NONE = "none"


@value_class
class Point:
    """What is expected in so many hours, and between which bounds in four of five cases."""

    hours: int
    expected: float
    low: float
    high: float


@value_class
class Forecast:
    """Of one card, in bytes. `trend` is by the hour, over the last day (None: not known). `points` are empty where too little is known, and
    `reason` says why. `error`, `error_as_now` and `error_as_yesterday` are what each was off on an average in the card's own past."""

    method: Method
    reason: str
    now: float | None
    trend: float | None
    points: tuple[Point, ...] = ()
    error: float | None = None
    error_as_now: float | None = None
    error_as_yesterday: float | None = None
    reached: Mapping[str, int | None] = field(default_factory=dict)
    """In how many hours each level is reached, by its name; 0: it is now, None: not within the hours that were asked for."""

    @property
    def known(self) -> bool:
        return self.method is not Method.NONE


def forecast(
    past: Series,
    total: float | None,
    hours: int,
    levels: Mapping[str, float],
    now: float | None = None,
    judged: JudgedForecast | None = None,
) -> Forecast:
    """What the next `hours` bring. `levels` are bytes by name, `total` the bytes of the card; `now` is its newest value, where there is one
    since the last of `past`; `judged` is what is known already of the ways, by this past or by what of it was over before."""
    known = past[-_LONGEST:]
    last = now if now is not None else next((one for one in reversed(known) if one is not None), None)
    trend = slope(known[-_DAY:])
    seen = sum(one is not None for one in known)
    if last is None or seen < HOURS_NEEDED:
        reached = {name: 0 if last is not None and last >= level else None for name, level in levels.items()}
        why = f"too little is known: {seen} hour{'s' * (seen != 1)}, {HOURS_NEEDED} are needed"
        return Forecast(Method.NONE, why, last, trend, reached=reached)
    best = judged if judged is not None else judge(known, total)
    if best.method is Method.NONE:
        reached = {name: 0 if last >= level else None for name, level in levels.items()}
        why = "too little is known: of what was tried on its past, nothing foretold it better than its use now and that of a day before"
        return Forecast(Method.NONE, why, last, trend, (), best.error, best.as_now, best.as_yesterday, reached)
    series = [*known[:-1], last]
    expect = best.way(series) if best.way is not None else (lambda _: last)
    points = tuple(_point(ahead, expect(ahead), best.errors, total) for ahead in range(1, hours + 1))
    reached = {
        name: 0 if last >= level else next((one.hours for one in points if one.expected >= level), None) for name, level in levels.items()
    }
    return Forecast(best.method, best.method.value, last, trend, points, best.error, best.as_now, best.as_yesterday, reached)


def slope(values: Series) -> float | None:
    """The median of the slopes between all pairs (Theil–Sen), by the hour: no outlier tilts it. None below three values."""
    there = [(at, one) for at, one in enumerate(values) if one is not None]
    if len(there) < 3:
        return None
    return median((later - earlier) / (to - at) for (at, earlier), (to, later) in combinations(there, 2))


Expect = Callable[[int], float]
"""What is expected in so many hours."""
Way = Callable[[Series], Expect]
"""Learns from a past."""
Expected = Mapping[tuple[int, int], float]
"""What was expected at each try: a moment, and hours ahead of it."""


@value_class
class JudgedForecast:
    """Which way is the best for a card by its own past, and what each was off; of `judge`."""

    method: Method
    way: Way | None
    error: float | None
    as_now: float | None
    as_yesterday: float | None
    errors: Mapping[int, Sequence[float]]


def judge(past: Series, total: float | None) -> JudgedForecast:
    """The way that was off least, in the last three days of this past (its last week, where it is known). Nearly all of what a forecast
    costs, so a caller may keep it while no hour more is over."""
    past = past[-_LONGEST:]
    tries = _tries(past)
    if len(tries) < _LEAST_TRIES:
        return JudgedForecast(Method.NONE, None, None, None, None, {})
    as_now = {one: _last(past[: one[0] + 1]) for one in tries}
    off_now = fmean(abs(_at(past, one) - as_now[one]) for one in tries)
    off_yesterday = fmean(abs(_at(past, one) - _yesterday(past, one)) for one in tries)
    if total and off_now <= STEADY * total:
        errors = _by_horizon(past, tries, as_now)
        return JudgedForecast(Method.STEADY, None, off_now, off_now, off_yesterday, errors)
    off_by = [(method, way, _expected(past, tries, way)) for method, way in _ways(len(past))]
    simple = (as_now, {one: _yesterday(past, one) for one in tries})
    middle = tries[len(tries) // 2][0]
    halves = [[one for one in tries if (one[0] > middle) is newer] for newer in (False, True)]

    def least(among: Sequence[tuple[int, int]]) -> tuple[Method, Way, Expected]:
        return min(off_by, key=lambda one: _off(past, among, one[2]))

    method, way, expected = least(tries)
    off = _off(past, tries, expected)
    proved = all(here and other and _better(past, here, least(other)[2], simple) for here, other in (halves, halves[::-1]))
    if not proved or not _often_better(past, tries, expected, simple):
        return JudgedForecast(Method.NONE, None, off, off_now, off_yesterday, {})
    return JudgedForecast(method, way, off, off_now, off_yesterday, _by_horizon(past, tries, expected))


def _expected(past: Series, tries: Sequence[tuple[int, int]], way: Way) -> Expected:
    """What a way expects at each try, learned anew at each moment from what was known then."""
    learned: dict[int, Expect] = {}
    found: dict[tuple[int, int], float] = {}
    for origin, ahead in tries:
        if origin not in learned:
            learned[origin] = way(past[: origin + 1])
        found[origin, ahead] = learned[origin](ahead)
    return found


def _off(past: Series, tries: Sequence[tuple[int, int]], expected: Expected) -> float:
    """By how much it was off on an average."""
    return fmean(abs(_at(past, one) - expected[one]) for one in tries)


def _better(past: Series, tries: Sequence[tuple[int, int]], expected: Expected, simple: Sequence[Expected]) -> bool:
    """Whether it was off clearly less than every simple way."""
    return _off(past, tries, expected) < BETTER * min(_off(past, tries, one) for one in simple)


def _often_better(past: Series, tries: Sequence[tuple[int, int]], expected: Expected, simple: Sequence[Expected]) -> bool:
    """Whether it was off less than each simple way at so many of the moments: one large success among failures proves nothing."""
    moments = [list(found) for _, found in groupby(tries, key=itemgetter(0))]

    def often(other: Expected) -> bool:
        return sum(_off(past, one, expected) < _off(past, one, other) for one in moments) >= OFTEN * len(moments)

    return all(map(often, simple))


def _tries(past: Series) -> list[tuple[int, int]]:
    """Moments and hours ahead for which both what came and what was a day before are known."""
    end = len(past) - 1
    every = _SELDOM if end > _ORIGINS * _SELDOM + 2 * _DAY else _EVERY
    origins = [at for at in range(end - 1, max(_DAY, end - _ORIGINS * every) - 1, -every) if past[at] is not None]
    return [
        (at, ahead)
        for at in origins
        for ahead in _HORIZONS
        if at + ahead <= end and past[at + ahead] is not None and past[at + ahead - _DAY] is not None
    ]


def _at(past: Series, one: tuple[int, int]) -> float:
    found = past[sum(one)]
    assert found is not None
    return found


def _yesterday(past: Series, one: tuple[int, int]) -> float:
    return _at(past, (one[0] - _DAY, one[1]))


def _last(past: Series) -> float:
    return next((one for one in reversed(past) if one is not None), 0.0)


def _by_horizon(past: Series, tries: Sequence[tuple[int, int]], expected: Mapping[tuple[int, int], float]) -> Mapping[int, Sequence[float]]:
    errors: dict[int, list[float]] = {}
    for one in tries:
        errors.setdefault(one[1], []).append(_at(past, one) - expected[one])
    return {ahead: sorted(found) for ahead, found in errors.items()}


def _point(ahead: int, expected: float, errors: Mapping[int, Sequence[float]], total: float | None) -> Point:
    """With what nine of ten errors at the next horizon that was tried were within; beyond a day they grow with the root of the time."""
    tried = next((one for one in sorted(errors) if one >= ahead), max(errors))
    found, wider = errors[tried], max(1.0, ahead / tried) ** 0.5
    low, high = (found[min(len(found) - 1, int(share * len(found)))] * wider for share in (_TAIL, 1 - _TAIL))

    def within(value: float) -> float:
        return max(0.0, min(value, total) if total else value)

    middle = within(expected)
    return Point(ahead, middle, min(middle, within(expected + low)), max(middle, within(expected + high)))


def _ways(hours: int) -> list[tuple[Method, Way]]:
    ways: list[tuple[Method, Way]] = [(Method.TREND, _trend)]
    for fade in _FADES[:-1]:
        ways.append((Method.DAY, _profile(_DAY, fade)))
        ways.append((Method.LEVEL, _level(fade)))
        if hours >= 2 * _WEEK + _DAY:
            ways.append((Method.WEEK, _profile(_WEEK, fade)))
    ways.append((Method.DAY, _profile(_DAY, 1.0)))
    return ways


def _profile(period: int, fade: float) -> Way:
    """The mean of each hour of the period, plus what is left of how far off it is now."""

    def learn(past: Series) -> Expect:
        end = len(past) - 1
        usual = [fmean(known) if (known := [v for v in past[hour::period] if v is not None]) else None for hour in range(period)]
        level = fmean(v for v in past if v is not None)
        now = _last(past)
        here = usual[end % period]
        off = now - (here if here is not None else level)

        def expect(ahead: int) -> float:
            there = usual[(end + ahead) % period]
            return (there if there is not None else level) + off * fade**ahead

        return expect

    return learn


def _level(fade: float) -> Way:
    """The median of the last week, plus what is left of how far off it is now."""

    def learn(past: Series) -> Expect:
        level = median(v for v in past[-_WEEK:] if v is not None)
        off = _last(past) - level
        return lambda ahead: level + off * fade**ahead

    return learn


def _trend(past: Series) -> Expect:
    """It goes on as in the last day."""
    last, by = _last(past), slope(past[-_DAY:]) or 0.0
    return lambda ahead: last + by * ahead
