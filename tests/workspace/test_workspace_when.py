"""`when` of a model: the room that it asks for, its hours and its days."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from reconciler.fleet import GIB, When
from reconciler.workspace import Workspace

Load = Callable[..., Workspace]
Sentences = Callable[..., list[str]]


def when_of(load: Load, text: str) -> When:
    return load(desired=f"version: 1\nmodels:\n  m: {{engine: ollama, when: {text}}}\n").desired.models[0].when


@pytest.mark.parametrize(
    ("text", "least"),
    [(">10GB", 10**10 + 1), (">=10GB", 10**10), ("10GiB", 10 * GIB), ("1073741824", GIB)],
)
def test_workspace_free_vram_is_a_bound_in_bytes(load: Load, text: str, least: int) -> None:
    assert when_of(load, f'{{free_vram: "{text}"}}') == When(least)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{hours: "08:00-18:00 Europe/Berlin", days: mon-fri}', "mon-fri 08:00-18:00 Europe/Berlin"),
        ('{hours: "8:00 - 24:00"}', "08:00-24:00 UTC"),
        ("{days: sat-sun Europe/Berlin}", "sat,sun 00:00-24:00 Europe/Berlin"),
        ('{days: "fri-mon", hours: "22:00-06:00"}', "fri-mon 22:00-06:00 UTC"),
        ('{days: "wed, mon"}', "mon,wed 00:00-24:00 UTC"),
        ("{days: mon-sun}", "00:00-24:00 UTC"),
    ],
)
def test_workspace_hours_and_days_are_one_window_in_one_zone(load: Load, text: str, shown: str) -> None:
    hours = when_of(load, text).hours
    assert hours is not None
    assert hours.shown == shown


def test_workspace_hours_go_by_the_clock_of_their_zone(load: Load) -> None:
    hours = when_of(load, '{hours: "08:00-18:00 Europe/Berlin", days: mon-fri}').hours
    assert hours is not None
    winter, summer = datetime(2026, 1, 5, 7, tzinfo=UTC), datetime(2026, 7, 6, 6, tzinfo=UTC)
    assert [hours.holds(moment) for moment in (winter, summer)] == [True, True]
    assert not hours.holds(winter.replace(hour=6))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{hours: 8-18}", "hours' of 'when' of model 'm': '8-18' is no window of time; write it as '08:00-18:00 Europe/Berlin'"),
        ('{hours: "08:60-18:00"}', "is no window of time; hours go from 00:00 to 24:00"),
        ('{hours: "08:00-25:00"}', "is no window of time; hours go from 00:00 to 24:00"),
        ('{hours: "08:00-08:00"}', "begins and ends at one time; write '00:00-24:00' for the whole day"),
        ('{hours: "08:00-18:00 Europe/Berlim"}', "'Europe/Berlim' is no time zone; did you mean 'Europe/Berlin'?"),
        ('{hours: "08:00-18:00 ../../etc/passwd"}', "'../../etc/passwd' is no time zone; write one such as Europe/Berlin"),
        ('{hours: "08:00-18:00 UTC", days: mon-fri Europe/Berlin}', "names two time zones, UTC and Europe/Berlin; keep one of the two"),
        ("{days: mon-fry}", "'fry' is no day of the week; did you mean 'fri'?"),
        ('{free_vram: "<10GB"}', "is not a size"),
        ("{free_vram: 0}", "is no bound of free memory"),
        ("{hour: 8}", "unknown key 'hour' of"),
    ],
)
def test_workspace_what_is_no_condition_is_refused_with_what_to_write(problems: Sentences, text: str, told: str) -> None:
    (found,) = problems(desired=f"version: 1\nmodels:\n  m: {{engine: ollama, when: {text}}}\n")
    assert told in found
    assert "desired/x.yaml:3:" in found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ensure: present, when: {days: mon}", "has `when`, and is not to be loaded by gpurec"),
        ("ensure: absent, when: {days: mon}", "has `when`, and is not to be loaded by gpurec"),
        ("protect: true, when: {days: mon}", "is never to be taken away, and only wanted at some hours"),
        ("residency: cpu, when: {free_vram: 1GiB}", "belongs on the CPU, and asks for free VRAM"),
    ],
)
def test_workspace_when_contradicts_what_is_not_loaded_or_never_unloaded(problems: Sentences, text: str, told: str) -> None:
    (found,) = problems(desired=f"version: 1\nmodels:\n  m: {{engine: ollama, {text}}}\n")
    assert told in found
