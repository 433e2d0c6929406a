"""`gpurec bench` on a real Ollama and a real llama.cpp router, and what a loop learns of requests from the metrics of the router."""

from __future__ import annotations

from typing import Any

import pytest
from rigs import Bench, Rig
from test_real_watch import watching
from waiting import wait_until

PLACES = {"ollama": ("ollama", {}), "router": ("llamacpp", {"extra": ("--metrics",)})}


@pytest.fixture(params=PLACES)
def rig(request: pytest.FixtureRequest, bench: Bench) -> Rig:
    kind, arguments = PLACES[request.param]
    found = bench.rig(kind, **arguments)
    found.want("gemma")
    found.workspace.apply(0)
    return found


def test_a_bench_measures_what_is_resident_and_changes_nothing(rig: Rig) -> None:
    document = rig.workspace.run("bench", "gemma", "--tokens", "64", "--format", "json").json
    assert document["engine"] == f"box/{rig.kind}"
    assert 1 <= document["tokens"] <= 64
    assert document["tokens_per_second"] > 1
    assert 0 < document["time_to_first_token_ms"] < 60_000
    assert document["load_seconds"] is not None
    rig.workspace.expect_nothing_to_do()


def test_a_model_that_is_not_resident_is_not_loaded_by_a_bench(rig: Rig) -> None:
    rig.unload("gemma")
    rig.recorder.forget()
    done = rig.workspace.run("bench", "gemma")
    assert done.status == 1
    assert rig.recorder.changes() == []


def test_a_loop_learns_how_fast_it_wrote_where_the_engine_counts(rig: Rig) -> None:
    def samples() -> list[dict[str, Any]]:
        document = rig.workspace.run("history", "--facts", "--model", rig.address("gemma"), "--format", "json").json
        return list(document["models"][0]["samples"])

    with watching(rig, "-v"):
        wait_until(lambda: rig.workspace.run("history", "--facts", "--model", rig.address("gemma")).status == 0, 60, "a look is kept")
        rig.workspace.run("bench", "gemma", "--tokens", "64").expect(0)
        if rig.kind == "llamacpp":
            wait_until(lambda: any(one["tokens_per_second"] for one in samples()), 60, "its metrics tell the speed of writing")
    assert {one["resident"] for one in samples()} == {1.0}
    assert rig.kind == "llamacpp" or not any(one["tokens_per_second"] for one in samples()), "an Ollama does not tell"
