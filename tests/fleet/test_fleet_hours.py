"""Hours of a week as moments: over midnight, on some days, and where the clocks are put forward or back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from reconciler.fleet import Hours, first_border

BERLIN = ZoneInfo("Europe/Berlin")
EVERY_DAY = frozenset(range(7))


def hours(start: str, end: str, days: frozenset[int] = EVERY_DAY) -> Hours:
    first, last = ([int(part) for part in word.split(":")] for word in (start, end))
    return Hours(first[0] * 60 + first[1], last[0] * 60 + last[1], days, BERLIN, "")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def borders(of: Hours, at: str, count: int) -> list[str]:
    found, now = [], moment(at)
    for _ in range(count):
        border = of.next_border(now)
        assert border is not None
        found.append(border.strftime("%m-%d %H:%M"))
        now = border
    return found


def test_the_first_minute_is_inside_and_the_last_border_is_outside() -> None:
    day = hours("08:00", "18:00")
    assert [day.holds(moment(f"2026-01-02T{t}")) for t in ("06:59:59", "07:00:00", "16:59:59", "17:00:00")] == [False, True, True, False]


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    friday = hours("22:00", "06:00", frozenset({4}))
    assert borders(friday, "2026-01-02T12:00", 3) == ["01-02 21:00", "01-03 05:00", "01-09 21:00"]


def test_days_that_follow_each_other_have_no_border_between_them() -> None:
    week = hours("00:00", "24:00", frozenset(range(5)))
    assert borders(week, "2026-01-01T12:00", 2) == ["01-02 23:00", "01-04 23:00"]


def test_hours_that_always_hold_have_no_border() -> None:
    always = hours("00:00", "24:00")
    assert always.next_border(moment("2026-03-28T12:00")) is None
    assert always.holds(moment("2026-03-29T01:00"))
    assert first_border([always], moment("2026-03-28T12:00")) is None


def test_the_clock_of_the_zone_counts_when_it_is_put_forward() -> None:
    assert borders(hours("08:00", "18:00"), "2026-03-28T12:00", 4) == ["03-28 17:00", "03-29 06:00", "03-29 16:00", "03-30 06:00"]


def test_what_begins_in_the_skipped_hour_begins_an_hour_later_and_what_lies_in_it_does_not_begin() -> None:
    assert borders(hours("02:30", "05:00"), "2026-03-28T12:00", 2) == ["03-29 01:30", "03-29 03:00"]
    assert borders(hours("02:30", "03:00"), "2026-03-28T12:00", 2) == ["03-30 00:30", "03-30 01:00"]


def test_of_an_hour_that_comes_twice_the_first_counts() -> None:
    assert borders(hours("02:30", "02:45"), "2026-10-24T12:00", 3) == ["10-25 00:30", "10-25 00:45", "10-26 01:30"]
    assert borders(hours("22:00", "06:00"), "2026-10-24T12:00", 2) == ["10-24 20:00", "10-25 05:00"]


@pytest.mark.parametrize("day", ["2026-03-28", "2026-10-24", "2026-06-30"])
def test_the_next_border_is_the_first_minute_at_which_the_answer_is_another(day: str) -> None:
    for window in (hours("02:10", "02:50"), hours("23:00", "02:30"), hours("01:00", "03:00", frozenset({6}))):
        now, border = moment(f"{day}T00:00"), window.next_border(moment(f"{day}T00:00"))
        while now < moment(f"{day}T00:00") + timedelta(days=2):
            now += timedelta(minutes=1)
            if window.holds(now) != window.holds(now - timedelta(minutes=1)):
                assert now == border
                border = window.next_border(now)


def test_the_first_border_of_several_is_the_earliest() -> None:
    assert first_border([hours("08:00", "18:00"), hours("07:00", "09:00")], moment("2026-01-02T00:00")) == moment("2026-01-02T06:00")
