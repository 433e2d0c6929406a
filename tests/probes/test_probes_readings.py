"""Values as tools write them: what says that there is none is unknown, and a unit that is not the expected one is not taken."""

from __future__ import annotations

import pytest

from reconciler.fleet import MIB
from reconciler.probes.readings import (
    capability,
    card_number,
    celsius,
    count,
    half_precision,
    mebibytes,
    number,
    of_bytes,
    percent,
    text,
    throttle_reasons,
    use,
    version,
    watts,
)

NOTHING = (
    "[N/A]", "N/A", "[Not Supported]", "Not Supported", "[Unknown Error]", "Unknown Error", "[Insufficient Permissions]", "", " ", "ERR!",
    "[Requested functionality has been deprecated]", "[GPU requires reset]", "No running processes found", "None", None,
)  # fmt: skip


@pytest.mark.parametrize("said", NOTHING)
@pytest.mark.parametrize("read", [text, number, mebibytes, percent, watts, celsius, version, capability])
def test_what_says_that_there_is_no_value_is_unknown(read, said):
    assert read(said) is None


def test_zero_is_a_value():
    assert (mebibytes("0"), percent("0 %"), watts("0.00"), number(0)) == (0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("said", ["15348", "15348 MiB", "15348 MB"])
def test_a_count_of_mebibytes_is_bytes(said):
    assert mebibytes(said) == 15348 * MIB


@pytest.mark.parametrize(("read", "said"), [(mebibytes, "5 %"), (percent, "5 MiB"), (watts, "5 C"), (celsius, "5 W"), (mebibytes, "5 GB")])
def test_units_are_never_mixed(read, said):
    assert read(said) is None


@pytest.mark.parametrize("said", ["-1", "101", "1e9", "0x10", "nan", float("nan"), float("inf"), True])
def test_what_is_no_percentage_is_unknown(said):
    assert percent(said) is None


def test_throttling_is_told_by_what_holds_the_clocks_down_and_idle_is_none_of_it():
    assert throttle_reasons(0x1 | 0x2 | 0x100) == ()
    assert throttle_reasons(0x4 | 0x40) == ("sw_power_cap", "hw_thermal_slowdown")
    assert throttle_reasons(None) is None


def test_half_precision_follows_the_capability():
    assert [half_precision(one) for one in ((5, 2), (7, 5), (8, 0), None)] == [(False, False), (True, False), (True, True), (None, None)]


def test_names_from_a_node_are_safe_to_show():
    assert text("RTX\x1b[31m 4090") == "RTX\N{REPLACEMENT CHARACTER}[31m 4090"


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (mebibytes, 10**20),
        (mebibytes, "99999999999 MiB"),
        (mebibytes, 10**400),
        (of_bytes, "9" * 20),
        (of_bytes, 10**400),
        (of_bytes, -(10**400)),
        (celsius, "5000 C"),
        (watts, 1e9),
        (percent, 101),
        (count, 2**60),
        (card_number, 4096),
        (card_number, "1" + "0" * 400),
        (version, "9" * 5000),
        (version, ".".join("1" * 40)),
    ],
)
def test_a_number_out_of_its_range_says_nothing(read, said):
    assert read(said) is None


@pytest.mark.parametrize(
    ("figures", "used"),
    [
        ((24576, 0, 0), None),
        ((24576, 30000, 0), None),
        ((24576, 1200, 23076), 1200),
        ((24576, 1200, 22000, 1300), 1200),
        ((24576, 1200, None), 1200),
        ((None, 1200, 5), 1200),
        ((24576, None, 5), None),
    ],
)
def test_figures_that_contradict_each_other_are_unknown(figures, used):
    assert use(*figures) == used
