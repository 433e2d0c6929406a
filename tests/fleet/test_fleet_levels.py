"""Levels of heat and memory pressure: from when they hold, and how far below they are left again."""

from __future__ import annotations

from fractions import Fraction

import pytest

from reconciler.fleet import CardFacts, Heat, MemoryPressure, Pressure, Thermal

POLICY = Thermal(warning=70, throttling=80, critical=90, hysteresis=5)


@pytest.mark.parametrize(
    ("temperature", "before", "expected"),
    [
        (69.9, Heat.NORMAL, Heat.NORMAL),
        (70, Heat.NORMAL, Heat.WARNING),
        (80, Heat.NORMAL, Heat.THROTTLING),
        (90, Heat.WARNING, Heat.CRITICAL),
        (76, Heat.NORMAL, Heat.WARNING),
        (76, Heat.THROTTLING, Heat.THROTTLING),
        (74.9, Heat.THROTTLING, Heat.WARNING),
        (76, Heat.CRITICAL, Heat.THROTTLING),
        (66, Heat.CRITICAL, Heat.WARNING),
        (64.9, Heat.CRITICAL, Heat.NORMAL),
        (None, Heat.CRITICAL, Heat.NORMAL),
    ],
)
def test_a_level_holds_from_its_temperature_on_and_is_left_the_hysteresis_below(temperature, before, expected):
    assert POLICY.level(temperature, before) is expected


def test_a_level_that_is_not_named_does_not_hold():
    assert Thermal(critical=90).level(89.0) is Heat.NORMAL
    assert Thermal(warning=70).level(200.0) is Heat.WARNING


@pytest.mark.parametrize(
    ("used", "expected"), [(49, Pressure.LOW), (50, Pressure.NORMAL), (70, Pressure.HIGH), (85, Pressure.CRITICAL), (None, Pressure.LOW)]
)
def test_memory_pressure_is_the_part_in_use_and_unknown_is_low(used, expected):
    policy = MemoryPressure(Fraction(1, 2), Fraction(7, 10), Fraction(85, 100))
    assert policy.level(CardFacts(0, total_bytes=100, used_bytes=used)) is expected
