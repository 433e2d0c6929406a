"""The prediction against what engines of other people logged of real loads, mostly on builds of long ago."""

from __future__ import annotations

import pytest
from vram.logged import ROWS, Logged, compared, predicted

HIGH = {"DeepSeek Coder V2 Lite"}
"""Latent attention without flash attention is predicted too high for older builds: known, and said in docs/vram-accuracy.md."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name} {row.engine}")
def test_weights_and_cache_are_what_was_logged(row: Logged) -> None:
    for name, logged, mine in compared(row):
        if name in ("weights", "KV"):
            assert mine == pytest.approx(logged, abs=0.1), name


def test_the_whole_of_a_load_is_within_one_percent_and_never_too_low() -> None:
    errors = [mine / logged - 1 for row in ROWS for name, logged, mine in compared(row) if name == "all"]
    assert len(errors) >= 6
    assert 0 <= min(errors) <= max(errors) <= 0.01


def test_a_logged_compute_buffer_lies_within_the_interval_of_its_build_unless_that_is_said() -> None:
    for row in ROWS:
        for name, logged, mine in compared(row):
            if name == "compute":
                assert logged <= mine * 1.15, row
                assert row.name in HIGH or logged >= mine * 0.85, row
    assert {row.name for row in ROWS} >= HIGH


def test_no_row_lacks_a_term_that_was_asked_for() -> None:
    assert all(predicted(row).high is not None for row in ROWS)
