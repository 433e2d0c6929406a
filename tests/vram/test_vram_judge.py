"""The prediction against llama.cpp's own figures, by the thresholds that were set before anything was computed."""

from __future__ import annotations

import pytest
from vram.judge import UNSEEN, Verdict, error_table, judged, model_of, rows
from vram.recorded import folded, recorded, unfolded

EVERY = 7
"""The benchmark judges every row (`make bench`); a sample that meets every model, context, type and split is enough here."""


@pytest.fixture(scope="module")
def first() -> list[Verdict]:
    return list(judged(rows("llamacpp_b11434.csv", EVERY)))


@pytest.fixture(scope="module")
def unseen() -> list[Verdict]:
    return list(judged(rows("more_b11434.csv", 5)))


@pytest.fixture(scope="module")
def later() -> list[Verdict]:
    found = enumerate(rows("recorded_b11434.csv"))
    return list(judged(row for index, row in found if index % 5 == 0 or row.file.startswith("random-")))


def test_weights_cache_and_state_are_within_a_tenth_of_a_mib(first: list[Verdict]) -> None:
    assert max(one.exact_error for one in first) <= 0.1, "\n".join(error_table(first))


@pytest.mark.parametrize("table", ["unseen", "later"])
def test_weights_cache_and_state_hold_for_every_other_architecture(table: str, request: pytest.FixtureRequest) -> None:
    verdicts: list[Verdict] = request.getfixturevalue(table)
    assert max(one.exact_error for one in verdicts) <= 0.1, "\n".join(error_table(verdicts))


@pytest.mark.parametrize("table", ["first", "unseen", "later"])
def test_compute_is_within_a_mib_on_every_card(table: str, request: pytest.FixtureRequest) -> None:
    verdicts: list[Verdict] = request.getfixturevalue(table)
    worst = max(abs(error) for one in verdicts for error in one.compute_errors)
    assert worst <= 1, "\n".join(error_table(verdicts))


@pytest.mark.parametrize("table", ["first", "unseen", "later"])
def test_the_hosts_buffer_is_within_a_mib(table: str, request: pytest.FixtureRequest) -> None:
    verdicts: list[Verdict] = request.getfixturevalue(table)
    assert max(abs(one.host.compute - one.row.host.compute) for one in verdicts) <= 1


def test_the_rows_meet_every_way_of_running(first: list[Verdict]) -> None:
    settings = [one.row.settings for one in first]
    assert {one.flash_attention for one in settings} == {True, False}
    assert {len(one.split) for one in settings} == {1, 2}
    assert {one.slots for one in settings} >= {1, 4}
    assert {one.key_type.name for one in settings} == {"f16", "q8_0", "q4_0"}
    assert any(one.row.partial for one in first)
    assert any(one.unified for one in settings)
    assert any(one.reserve_batch for one in settings)


def test_at_least_a_hundred_architectures_are_judged(first: list[Verdict], unseen: list[Verdict], later: list[Verdict]) -> None:
    assert len({one.architecture for one in (*first, *unseen, *later)}) >= 100
    assert {one.row.file for one in unseen} == set(UNSEEN)
    assert {one.row.file for one in later} == set(recorded())


def test_a_recorded_model_is_what_was_folded() -> None:
    name = min(UNSEEN)
    model = model_of(name)
    line = folded(name, model)
    assert folded(*unfolded(line)) == line
