"""Sizes, ratios, durations and versions: what is read, what is refused, what is printed."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.fleet import (
    GIB,
    MIB,
    UnitError,
    VersionBound,
    format_bytes,
    format_duration,
    format_ratio,
    parse_bytes,
    parse_capability,
    parse_duration,
    parse_ratio,
    parse_version,
)


@pytest.mark.parametrize(
    ("text", "count"),
    [("7GB", 7 * 10**9), ("7GiB", 7 * GIB), ("512MiB", 512 * MIB), ("1.5 gib", 3 * GIB // 2), (12, 12), ("0B", 0), ("2TB", 2 * 10**12)],
)
def test_decimal_and_binary_units_are_told_apart(text, count):
    assert parse_bytes(text) == count


def test_a_bare_number_of_a_mb_key_is_mebibytes():
    assert parse_bytes(20000, bare_unit=MIB) == 20000 * MIB


@pytest.mark.parametrize("text", ["7G", "GiB", "-1GiB", "", "7 GiB GiB", None, True, [1], "1e9", "0x10", "٣GiB"])
def test_what_is_not_a_size_is_refused_with_what_to_write(text):
    with pytest.raises(UnitError) as raised:
        parse_bytes(text)
    assert "GiB" in raised.value.hint


@pytest.mark.parametrize(
    ("text", "ratio"), [("90%", Fraction(9, 10)), (0.9, Fraction(9, 10)), ("12.5 %", Fraction(1, 8)), (1, Fraction(1)), (0, 0)]
)
def test_percent_and_ratio_are_the_same(text, ratio):
    assert parse_ratio(text) == ratio


@pytest.mark.parametrize("text", [90, "90", 1.01, "101%", -0.1, "x", None, True, "nan", "inf"])
def test_a_bare_90_is_not_a_ratio(text):
    with pytest.raises(UnitError):
        parse_ratio(text)


def test_the_hint_for_a_bare_90_shows_the_percentage():
    with pytest.raises(UnitError) as raised:
        parse_ratio(90)
    assert "90%" in raised.value.hint
    with pytest.raises(UnitError) as raised:
        parse_ratio(1.5)
    assert raised.value.hint == "write 90% or 0.9"


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("24h", 86400), ("1h30m", 5400), (45, 45), ("0.5", 0.5), ("250ms", 0.25)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["5 minutes", "", "-1s", "1x", None, True, "s"])
def test_what_is_not_a_duration_is_refused(text):
    with pytest.raises(UnitError):
        parse_duration(text)


@pytest.mark.parametrize("text", ["8.6", 8.6, 86, "86"])
def test_a_compute_capability_has_three_spellings(text):
    assert parse_capability(text) == (8, 6)


def test_ten_point_oh_is_above_nine():
    assert parse_capability("10.0") == parse_capability(100) > parse_capability("9.0")


def test_versions_compare_as_versions():
    assert parse_version("525.60.13") > parse_version("525.6.9")
    assert parse_version("v0.34.0") == parse_version("0.34")
    assert VersionBound(">=", (525,)).holds(parse_version("525.0"))
    assert not VersionBound("<", (525,)).holds(parse_version("525.1"))


def test_what_is_printed_is_rounded_down_so_that_nothing_looks_larger_than_it_is():
    assert format_bytes(4096 * MIB * 8 // 10) == "3276 MiB"
    assert format_bytes(24 * GIB - 1) == "23.9 GiB"
    assert format_bytes(-GIB) == "-1024 MiB"
    assert format_bytes(100) == "100 B"


@given(st.integers(0, 2**50))
def test_a_printed_size_reads_back_as_no_more_than_it_was(count):
    assert parse_bytes(format_bytes(count).replace(" ", "")) <= count


def test_ratios_and_durations_for_people():
    assert (format_ratio(Fraction(1, 8)), format_ratio(0.9)) == ("12.5%", "90%")
    assert (format_duration(4.5), format_duration(200), format_duration(7500)) == ("4.5s", "3m 20s", "2h 5m")


@pytest.mark.parametrize("text", ["1Gib", "512Mib", "7Gb", "100Mb"])
def test_a_unit_of_bits_is_refused_and_told_how_bytes_are_written(text: str) -> None:
    with pytest.raises(UnitError, match="would be bits") as caught:
        parse_bytes(text)
    assert caught.value.hint == f"write {text.strip('0123456789')[:-1]}B for bytes"


@pytest.mark.parametrize("text", ["8388608TiB", "9223372036854775808", 2**63, "9" * 40])
def test_a_size_that_no_machine_has_is_refused(text: object) -> None:
    with pytest.raises(UnitError, match="more than any machine has"):
        parse_bytes(text)
    assert parse_bytes("8388607TiB") < 2**63


@pytest.mark.parametrize("text", ["106752d", "9223372037", 9223372037, "9" * 40])
def test_a_duration_longer_than_engines_know_is_refused(text: object) -> None:
    with pytest.raises(UnitError, match="longer than 292 years"):
        parse_duration(text)
    assert parse_duration("999999h") == 999_999 * 3600
