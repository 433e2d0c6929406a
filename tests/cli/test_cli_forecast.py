"""`gpurec forecast` over a recorded history."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import SMALL, Lab, served

from reconciler.fleet import CardSample, Frame, HistoryBounds
from reconciler.sim import builtin_fleet
from reconciler.state import SqliteStore

START = 1_790_000_000 - 1_790_000_000 % 3600
GIB = 2**30


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        lab.want(SMALL + "policy: {memory_pressure: {high: 50%, critical: 90%}}\n")
        yield lab


def recorded(lab: Lab, hours: int) -> None:
    """A card that fills by a tenth of a GiB an hour, and one that stays; a look every twenty minutes."""
    looks = []
    for at in range(3 * hours):
        cards = {("ada", 0): CardSample(round(GIB * (2 + 0.1 * at / 3)), 24 * GIB), ("bea", 0): CardSample(5 * GIB, 8 * GIB)}
        looks.append(Frame(START + 1200 * at, cards=cards))
    for begin in range(0, len(looks), 90):
        SqliteStore(lab.state).keep_looks(looks[begin : begin + 90], fleet="demo", bounds=HistoryBounds(), new_folder=True)


def test_it_says_when_a_level_is_reached_and_asks_no_node(lab: Lab) -> None:
    recorded(lab, 90)
    lab.fleet.forget_requests()
    document = json.loads(lab.run("forecast", "--hours", "48", "--format", "json").output)
    ada, bea = document["cards"]
    assert (ada["node"], ada["known"], ada["method"]) == ("ada", True, "trend")
    assert ada["trend_bytes_per_hour"] == pytest.approx(0.1 * GIB, rel=0.02)
    high, critical = ada["levels"]
    assert (high["level"], high["bytes"]) == ("high", 12 * GIB)
    assert high["reached_in_hours"] == pytest.approx(10, abs=1)
    assert critical["reached_in_hours"] is None
    assert len(ada["points"]) == 48
    assert (bea["method"], bea["levels"][0]["reached_in_hours"]) == ("steady", 0)
    assert ada["mean_error_bytes"]["own"] < ada["mean_error_bytes"]["as_now"]
    text = lab.run("forecast", "--hours", "48").output
    assert "high in" in text
    assert not any(engine.requests for engine in lab.fleet.engines.values())


def test_where_too_little_is_known_it_says_so_and_ends_well(lab: Lab) -> None:
    assert "no history yet" in lab.run("forecast").output
    recorded(lab, 20)
    result = lab.run("forecast")
    assert result.exit_code == 0
    assert "too little is known: 20 hours, 48 are needed" in " ".join(result.output.split())
