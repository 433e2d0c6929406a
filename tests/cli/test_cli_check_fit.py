"""`gpurec check MODEL --fit-context`: on every engine the largest that a plan would place there, and one step more does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.test_cli_check_model import GEOMETRY, by_engine, run, said, workspace
from syrupy.assertion import SnapshotAssertion

from reconciler.fleet import GIB, MIB
from reconciler.vram import CACHE_TYPES, RunSettings, predict

__all__ = ["workspace"]
FIT = "--fit-context"
Q8 = CACHE_TYPES["q8_0"]


def _batch(cells: int) -> int:
    return 512 if cells <= 4096 else 1024 if cells <= 32768 else 2048


def _ends(context: int, parallel: int = 1) -> tuple[int, int]:
    """Sum and upper end of the terms on an Ollama 0.34."""
    card = predict(GEOMETRY, RunSettings(context, parallel, ubatch=_batch(context * parallel), build=10760)).cards[0]
    assert card.total is not None
    assert card.high is not None
    return card.total, card.high


def test_the_largest_context_is_what_a_plan_has_room_for_and_256_tokens_more_are_not(workspace: Path) -> None:
    row = by_engine(said(workspace, "m:8b", FIT))["big2/ollama"]
    room, context = row["fit"]["vram_bytes"], row["fit"]["context"]
    assert _ends(context)[1] <= room < _ends(context + 256)[1]
    assert _ends(row["fit"]["expected_context"])[0] <= room < _ends(row["fit"]["expected_context"] + 256)[0]
    assert (row["fit"]["bounded_by"], row["fit"]["high_fits"], row["fit"]["cards"]) == ("vram", True, 1)
    assert (row["settings"]["context"], row["vram_bytes"], row["high_bytes"]) == (context, _ends(context)[1], _ends(context)[1])
    again = by_engine(said(workspace, "m:8b", "--context", str(context)))["big2/ollama"]
    more = by_engine(said(workspace, "m:8b", "--context", str(context + 256)))["big2/ollama"]
    assert (again["fits"], more["fits"]) == (True, False)


def test_where_it_is_resident_it_fits_in_place_of_what_is_there(workspace: Path) -> None:
    found = by_engine(said(workspace, "m:8b", FIT))
    here, empty = found["big2/ollama"], found["big/ollama"]
    assert (here["message"], empty["message"]) == ("in place of what is there", "")
    assert here["fit"] == empty["fit"]


def test_the_model_itself_may_be_the_bound(workspace: Path) -> None:
    row = by_engine(said(workspace, "m:8b", FIT, "--vram", "64GiB"))["big/ollama"]
    assert (row["fit"]["context"], row["fit"]["bounded_by"], row["fit"]["vram_bytes"]) == (GEOMETRY.context, "model", 64 * GIB)


def test_with_a_context_it_is_the_most_requests_at_a_time(workspace: Path) -> None:
    row = by_engine(said(workspace, "m:8b", FIT, "--context", "4096"))["big/ollama"]
    parallel = row["fit"]["parallel"]
    assert row["fit"]["context"] == 4096
    assert _ends(4096, parallel)[1] <= row["fit"]["vram_bytes"] < _ends(4096, parallel + 1)[1]
    assert row["settings"]["parallel"] == parallel


def test_the_other_options_act_on_the_search(workspace: Path) -> None:
    plain = by_engine(said(workspace, "m:8b", FIT, "--vram", "8GiB"))["big/ollama"]["fit"]["context"]
    small = by_engine(said(workspace, "m:8b", FIT, "--vram", "8GiB", "--kv-cache", "q8_0"))["big/ollama"]["fit"]["context"]
    card = predict(GEOMETRY, RunSettings(small, 1, Q8, Q8, ubatch=_batch(small), build=10760)).cards[0]
    assert small > plain
    assert card.high is not None
    assert card.high <= 8 * GIB


def test_cards_that_share_a_model_are_searched_where_none_holds_it_alone(workspace: Path) -> None:
    fit = by_engine(said(workspace, "m:8b", FIT))["pair/ollama"]["fit"]
    assert fit["cards"] == 2
    cells = fit["context"]
    cards = predict(GEOMETRY, RunSettings(cells, 1, ubatch=_batch(cells), build=10760, split=(1, 1))).cards
    assert max(card.high or 0 for card in cards) <= fit["vram_bytes"] == 4608 * MIB


def test_where_nothing_fits_or_nothing_is_known_there_is_no_figure(workspace: Path) -> None:
    found = by_engine(said(workspace, "m:8b", FIT))
    for engine in ("small/ollama", "plain/ollama", "router/llamacpp"):
        assert found[engine]["fit"] is None, engine
    assert not found["small/ollama"]["fits"]
    assert not by_engine(said(workspace, "m:8b", FIT, "--vram", "3GiB"))["big/ollama"]["fits"]


def test_with_both_there_is_nothing_left_to_find(workspace: Path) -> None:
    told = run(workspace, "m:8b", FIT, "--context", "4096", "--parallel", "2", code=1).stderr
    assert "nothing left for --fit-context to find" in told


def test_a_model_that_nobody_has_is_searched_by_its_shape(workspace: Path) -> None:
    found = said(workspace, "llama3.1:latest", FIT)
    row = by_engine(found)["big/ollama"]
    assert (row["fits"], row["source"]) == (True, "catalogue")
    assert row["high_bytes"] <= row["fit"]["vram_bytes"]
    assert row["fit"]["context"] < by_engine(said(workspace, "m:8b", FIT))["big/ollama"]["fit"]["context"]
    assert found["fit"] is not None


@pytest.mark.parametrize(
    "arguments",
    [("m:8b", FIT), ("m:8b", FIT, "--context", "8192"), ("llama3.2:3b", FIT, "--vram", "3GiB")],
    ids=" ".join,
)
def test_for_people(workspace: Path, snapshot: SnapshotAssertion, arguments: tuple[str, ...]) -> None:
    assert run(workspace, *arguments).stdout == snapshot
