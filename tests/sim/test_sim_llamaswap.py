"""llama-swap's protocol over real HTTP, from the wire reference."""

from __future__ import annotations

from typing import Any

import pytest
from sim_fleets import BIG, MIB, OTHER, SMALL, asking, spec, until

from reconciler.sim import SimEngine, SimGroup

FAST = {"load_seconds": 0, "seconds_per_gib": 0, "release_seconds": 0}


def swap(**more: Any) -> SimEngine:
    return SimEngine("s", "llamaswap", gpus=(0,), installed=(BIG, SMALL, OTHER), **{**FAST, **more})


def running(it: Any) -> dict[str, str]:
    return {line["model"]: line["state"] for line in it.get("/running").json()["running"]}


def ask(it: Any, name: str) -> int:
    return int(it.get(f"/upstream/{name}/health").status_code)


def test_sim_llamaswap_starts_a_model_for_its_first_request_and_tells_it_as_running() -> None:
    with asking(spec(swap())) as it:
        assert running(it) == {}
        assert ask(it, "small") == 200
        assert running(it) == {"small": "ready"}
        assert it.card.used == 500 * MIB
        status = {entry["id"]: entry["status"]["value"] for entry in it.get("/v1/models").json()["data"]}
        assert status == {"big": "unloaded", "small": "loaded", "other": "unloaded"}


def test_sim_llamaswap_outside_groups_runs_one_model_at_a_time() -> None:
    with asking(spec(swap())) as it:
        assert [ask(it, "small"), ask(it, "other")] == [200, 200]
        assert running(it) == {"other": "ready"}


@pytest.mark.parametrize(
    ("groups", "left"),
    [
        ((SimGroup("g", swap=False, members=("small", "other")),), {"small", "other"}),
        ((SimGroup("g", members=("small", "other")),), {"other"}),
        ((SimGroup("a", members=("small",)), SimGroup("b", members=("other",))), {"other"}),
        ((SimGroup("a", members=("small",)), SimGroup("b", exclusive=False, members=("other",))), {"small", "other"}),
        ((SimGroup("a", persistent=True, members=("small",)), SimGroup("b", members=("other",))), {"small", "other"}),
    ],
)
def test_sim_llamaswap_groups_say_who_leaves_for_whom(groups: tuple[SimGroup, ...], left: set[str]) -> None:
    with asking(spec(swap(groups=groups))) as it:
        assert [ask(it, "small"), ask(it, "other")] == [200, 200]
        assert set(running(it)) == left


def test_sim_llamaswap_stops_what_was_idle_for_its_ttl() -> None:
    with asking(spec(swap(ttl=60), time_scale=None)) as it:
        assert ask(it, "small") == 200
        it.fleet.advance(59)
        assert running(it) == {"small": "ready"}
        it.fleet.advance(61)
        until(lambda: running(it) == {}, "it stops")


def test_sim_llamaswap_unloads_one_or_all_and_knows_no_other() -> None:
    with asking(spec(swap(groups=(SimGroup("g", swap=False, members=("small", "other")),)))) as it:
        assert [ask(it, "small"), ask(it, "other")] == [200, 200]
        assert it.post("/api/models/unload/small", None).text == "OK"
        assert set(running(it)) == {"other"}
        assert it.post("/api/models/unload/nosuch", None).status_code == 404
        assert it.post("/api/models/unload", None).json() == {"msg": "ok"}
        assert running(it) == {}
        assert ask(it, "nosuch") == 404


def test_sim_llamaswap_tells_a_process_that_ended_before_it_was_ready() -> None:
    with asking(spec(swap(), vram_mib=(400,))) as it:
        assert ask(it, "small") == 502
        assert running(it) == {}
        assert it.card.used == 0


def test_sim_llamaswap_asks_for_its_key() -> None:
    with asking(spec(swap(api_key="k"))) as it:
        assert it.get("/running").status_code == 401
        assert it.get("/running", headers={"x-api-key": "k"}).status_code == 200
