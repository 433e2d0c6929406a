"""What a card's past foretells: judged on drawn courses against "as now" and "as yesterday", and it says where it knows too little."""

from __future__ import annotations

import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usage_series import GIB, KINDS, TOTAL, draw

from reconciler.health.forecast import HOURS_NEEDED, Method, forecast, slope

AHEAD = 24
FORETOLD = ("office", "nightly", "sessions", "leak", "bursts")


def errors(kind: str) -> tuple[list[tuple[float, float, float]], int]:
    """Of each forecast that was made: its mean error, and that of both simple ways; and how many were asked for."""
    found, asked = [], 0
    for seed in range(12):
        for days in (4, 10, 20):
            hours = 24 * days + 7 * seed % 24
            whole = draw(kind, seed, hours + AHEAD)
            past, came = whole[:hours], whole[hours:]
            told = forecast(past, TOTAL, AHEAD, {})
            asked += 1
            if told.known:
                ours = fmean(abs(point.expected - real) for point, real in zip(told.points, came, strict=True))
                as_now = fmean(abs(past[-1] - real) for real in came)
                found.append((ours, as_now, fmean(abs(past[hours - 24 + at] - real) for at, real in enumerate(came))))
    return found, asked


@pytest.mark.parametrize("kind", FORETOLD)
def test_where_it_dares_it_is_better_than_as_now_and_than_as_yesterday(kind: str) -> None:
    found, _ = errors(kind)
    assert found, "it dares at all"
    ours, now, yesterday = (fmean(one[at] for one in found) for at in range(3))
    assert ours < now
    assert ours < yesterday


@pytest.mark.parametrize("kind", ["wandering", "steps"])
def test_of_what_nobody_can_foretell_it_says_so(kind: str) -> None:
    found, asked = errors(kind)
    assert len(found) <= asked / 20


@pytest.mark.parametrize(("kind", "seed", "days"), [("steps", 208, 10), ("wandering", 204, 4)])
def test_what_was_good_by_chance_on_the_moments_that_it_was_chosen_for_is_not_told(kind: str, seed: int, days: int) -> None:
    assert forecast(draw(kind, seed, 24 * days + 7 * seed % 24), TOTAL, AHEAD, {}).method is Method.NONE


def test_every_course_is_drawn_the_same_again_and_lies_on_its_card() -> None:
    for kind in KINDS:
        assert draw(kind, 3, 200) == draw(kind, 3, 200)
        assert draw(kind, 3, 200) != draw(kind, 4, 200)
        assert all(0 <= value <= TOTAL for value in draw(kind, 3, 200))


def test_a_card_that_stays_as_it_was_goes_on_as_it_is() -> None:
    told = forecast(draw("pinned", 1, 100), TOTAL, 48, {"high": 0.85 * TOTAL})
    assert told.method is Method.STEADY
    assert {point.expected for point in told.points} == {told.now}
    assert told.reached == {"high": None}


def test_a_level_is_reached_when_the_expectation_reaches_it() -> None:
    past = [GIB * (2 + 0.1 * at) for at in range(96)]
    told = forecast(past, TOTAL, 168, {"normal": 10 * GIB, "high": 14 * GIB, "critical": 40 * GIB})
    assert told.method is Method.TREND
    assert told.trend == pytest.approx(0.1 * GIB)
    assert told.reached == {"normal": 0, "high": 25, "critical": None}


def test_too_little_is_known_below_two_days_and_says_how_much_there_is() -> None:
    told = forecast(draw("sessions", 1, HOURS_NEEDED - 1), TOTAL, 24, {"high": 0.0})
    assert (told.method, told.points) == (Method.NONE, ())
    assert "47 hours, 48 are needed" in told.reason
    assert told.reached == {"high": 0}, "what is reached now is known all the same"
    assert forecast([], TOTAL, 24, {}).now is None
    assert "1 hour, 48 are needed" in forecast([1.0 * GIB], TOTAL, 24, {}).reason


def test_the_slope_is_not_tilted_by_an_outlier() -> None:
    assert slope([1.0, 2.0, 300.0, 4.0, 5.0]) == pytest.approx(1.0)
    assert slope([1.0, None, 2.0]) is None


@given(
    st.lists(st.one_of(st.none(), st.floats(0, float(TOTAL))), max_size=120),
    st.integers(1, 168),
    st.one_of(st.none(), st.just(float(TOTAL))),
)
def test_whatever_the_past_was_a_forecast_is_whole_and_within_the_card(past: list[float | None], hours: int, total: float | None) -> None:
    told = forecast(past, total, hours, {"high": 0.85 * TOTAL})
    assert len(told.points) in (0, hours)
    assert bool(told.points) == told.known
    for point in told.points:
        assert 0 <= point.low <= point.expected <= point.high
        assert total is None or point.high <= total


def test_hours_that_nobody_saw_do_not_stop_it() -> None:
    rnd = random.Random(5)
    past = [value if rnd.random() < 0.8 else None for value in draw("sessions", 2, 24 * 12)]
    assert forecast(past, TOTAL, 24, {}).known
