"""llama-server's protocol over real HTTP, router and single mode. Facts of b10760."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sim_fleets import BIG, MIB, OTHER, SMALL, asking, router, single, spec, until


def _error(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    assert error["code"] == answer.status_code
    return answer.status_code, error["type"], error["message"]


def test_sim_router_tells_its_role_and_limit() -> None:
    with asking(spec(router(models_max=2))) as it:
        props = it.get("/props").json()
        assert it.get("/health").json() == {"status": "ok"}
    assert props.items() >= {"role": "router", "max_instances": 2, "models_autoload": True, "build_info": "b10760-sim"}.items()


@pytest.mark.parametrize("path", ["/models", "/v1/models"])
def test_sim_router_lists_models_with_status_and_meta_only_while_running(path: str) -> None:
    with asking(spec(router())) as it:
        it.post("/models/load", {"model": "small"})
        it.await_status("small", "loaded")
        entries = {entry["id"]: entry for entry in it.get(path).json()["data"]}
    assert set(entries) == {"big", "small", "other"}
    assert entries["small"]["meta"].items() >= {"n_ctx": 4096, "size": 500 * MIB}.items()
    assert entries["big"]["status"]["value"] == "unloaded"
    assert "meta" not in entries["big"]


def test_sim_router_answers_a_load_at_once_and_loads_behind() -> None:
    with asking(spec(router(load_seconds=5, seconds_per_gib=0), time_scale=None)) as it:
        assert it.post("/models/load", {"model": "small"}).json() == {"success": True}
        assert it.status("small")["value"] == "loading"
        assert _error(it.post("/models/load", {"model": "small"})) == (400, "invalid_request_error", "model is already running")
        until(lambda: it.status("small") and it.card.used, "it takes memory")
        it.fleet.advance(5)
        it.await_status("small", "loaded")
        assert it.card.used == 500 * MIB
        assert _error(it.post("/models/load", {"model": "small"}))[2] == "model is already running"


def test_sim_router_knows_no_unknown_model() -> None:
    with asking(spec(router())) as it:
        assert _error(it.post("/models/load", {"model": "nosuch"})) == (404, "not_found_error", "File Not Found")
        assert _error(it.post("/models/unload", {"model": "nosuch"})) == (400, "invalid_request_error", "model is not found")
        assert _error(it.post("/models/unload", {"model": "small"})) == (400, "invalid_request_error", "model is not running")
        assert _error(it.post("/v1/chat/completions", {"model": "zzz"}))[2] == "model 'zzz' not found"
        assert _error(it.get("/nosuch")) == (404, "not_found_error", "File Not Found")
        assert _error(it.get("/metrics")) == (400, "invalid_request_error", "model name is missing from the request")


def test_sim_router_unloads_behind_and_the_memory_comes_back_late() -> None:
    with asking(spec(router(load_seconds=0, seconds_per_gib=0, release_seconds=2), time_scale=None)) as it:
        it.post("/models/load", {"model": "small"})
        it.await_status("small", "loaded")
        assert it.post("/models/unload", {"model": "small"}).json() == {"success": True}
        assert it.await_status("small", "unloaded").get("failed") is None
        assert it.card.used == 500 * MIB
        it.fleet.advance(2)
        assert it.card.used == 0


def test_sim_router_a_load_without_room_fails_only_in_the_status() -> None:
    with asking(spec(router(), vram_mib=(1024,))) as it:
        assert it.post("/models/load", {"model": "big"}).json() == {"success": True}
        until(lambda: it.status("big").get("failed"), "it failed")
        status = it.status("big")
        assert (status["value"], status["failed"], status["exit_code"]) == ("unloaded", True, 1)
        assert it.card.used == 0
        it.fleet.nodes["n"].cards[0].foreign = 0


def test_sim_router_a_failed_model_can_be_loaded_again() -> None:
    with asking(spec(router())) as it:
        it.engine.set_fault("oom", models=["small"], count=1)
        it.post("/models/load", {"model": "small"})
        until(lambda: it.status("small").get("failed"), "it failed")
        it.post("/models/load", {"model": "small"})
        assert "failed" not in it.await_status("small", "loaded")


def test_sim_router_with_fit_offloads_what_has_room() -> None:
    with asking(spec(router(fit=True), vram_mib=(1100,))) as it:
        it.post("/models/load", {"model": "big"})
        it.await_status("big", "loaded")
        assert it.engine.residents == {"big": 1000 * MIB}


def _load(it: Any, model: str) -> None:
    it.post("/models/load", {"model": model})
    it.await_status(model, "loaded")


def test_sim_router_at_its_limit_stops_the_least_recently_used_idle_model() -> None:
    with asking(spec(router(models_max=2))) as it:
        _load(it, "small")
        _load(it, "other")
        assert it.post("/v1/chat/completions", {"model": "small"}).status_code == 200
        it.get("/models")
        _load(it, "big")
        assert {entry["id"] for entry in it.get("/models").json()["data"] if entry["status"]["value"] == "loaded"} == {"small", "big"}


def test_sim_router_at_its_limit_with_nothing_idle_refuses() -> None:
    with asking(spec(router(models_max=1), time_scale=None)) as it:
        it.post("/models/load", {"model": "small"})
        assert _error(it.post("/models/load", {"model": "other"})) == (500, "server_error", "model limit reached, try again later")
        assert it.status("other")["value"] == "unloaded"


def test_sim_router_a_limit_of_0_is_none() -> None:
    with asking(spec(router(models_max=0))) as it:
        for model in ("small", "other", "big"):
            _load(it, model)
        assert set(it.engine.residents) == {"small", "other", "big"}


def test_sim_router_an_unload_ends_a_load_in_progress() -> None:
    with asking(spec(router(), time_scale=None)) as it:
        it.post("/models/load", {"model": "small"})
        until(lambda: it.status("small") and it.card.used, "it takes memory")
        it.post("/models/unload", {"model": "small"})
        it.await_status("small", "unloaded")
        assert it.card.used == 0


def test_sim_router_loads_on_demand_unless_told_not_to() -> None:
    with asking(spec(router())) as it:
        assert _error(it.post("/v1/chat/completions?autoload=false", {"model": "small"}))[2] == "model is not loaded"
        assert it.post("/v1/chat/completions", {"model": "small"}).status_code == 200
        assert it.status("small")["value"] == "loaded"
        it.engine.set_fault("fail_load", models=["other"])
        assert _error(it.post("/v1/chat/completions", {"model": "other"}))[2] == "model name=other failed to load"
    with asking(spec(router(autoload=False))) as it:
        assert _error(it.post("/v1/chat/completions", {"model": "small"}))[2] == "model is not loaded"


@pytest.mark.parametrize("mode", [router, single])
def test_sim_llamacpp_wants_its_key_on_all_but_the_public_paths(mode: Any) -> None:
    with asking(spec(mode(api_key="k", installed=(SMALL,)))) as it:
        until(lambda: it.get("/health").status_code == 200, "it is ready")
        for path in ("/models", "/v1/models", "/props"):
            assert _error(it.get(path)) == (401, "authentication_error", "Invalid API Key")
            assert it.get(path, headers={"Authorization": "Bearer x"}).status_code == 401
            assert it.get(path, headers={"Authorization": "Bearer k"}).status_code == 200
            assert it.get(path, headers={"X-Api-Key": "k"}).status_code == 200
        assert it.post("/models/load", {"model": "small"}).status_code == 401
        assert it.get("/v1/health").status_code == 200


def test_sim_router_a_restart_forgets_what_was_loaded() -> None:
    with asking(spec(router())) as it:
        _load(it, "small")
        it.engine.restart()
        assert it.status("small")["value"] == "unloaded"
        assert it.card.used == 0


def test_sim_single_answers_503_on_every_path_while_it_loads() -> None:
    with asking(spec(single(load_seconds=5, seconds_per_gib=0), time_scale=None)) as it:
        for path in ("/health", "/props", "/v1/models", "/slots", "/nosuch"):
            assert _error(it.get(path)) == (503, "unavailable_error", "Loading model")
        it.fleet.advance(5)
        until(lambda: it.get("/health").status_code == 200, "it is ready")
        assert it.card.used == 500 * MIB


def test_sim_single_shows_its_model_slots_and_no_metrics() -> None:
    with asking(spec(single(num_parallel=2))) as it:
        until(lambda: it.get("/health").status_code == 200, "it is ready")
        props, listing, slots = (it.get(path).json() for path in ("/props", "/v1/models", "/slots"))
        assert "role" not in props
        assert (props["total_slots"], props["model_alias"], props["default_generation_settings"]["n_ctx"]) == (2, "small", 4096)
        assert [(entry["id"], entry["meta"]["size"]) for entry in listing["data"]] == [("small", 500 * MIB)]
        assert [slot["n_ctx"] for slot in slots] == [4096, 4096]
        assert _error(it.get("/metrics"))[:2] == (501, "not_supported_error")
        assert it.post("/models/load", {"model": "small"}).status_code == 404
        assert it.post("/v1/chat/completions", {"model": "small"}).status_code == 200


def test_sim_single_without_room_ends_and_starts_again_when_there_is_room() -> None:
    with asking(spec(single(installed=(BIG,)), vram_mib=(1024,))) as it:
        until(lambda: not it.engine.residents and not it.engine.alive, "the process has ended")
        with pytest.raises(httpx.ConnectError):
            it.get("/health")
    with asking(spec(single(installed=(OTHER,)), vram_mib=(1024,), foreign_mib=500)) as it:
        until(lambda: not it.engine.residents and not it.engine.alive, "the process has ended")
        it.card.foreign = 0
        it.engine.revive()
        until(lambda: it.get("/health").status_code == 200, "it is ready")
        assert it.card.used == 900 * MIB


def test_sim_router_lets_an_idle_model_sleep_and_only_inference_wakes_it() -> None:
    with asking(spec(router(load_seconds=0, seconds_per_gib=0, sleep_idle=60), time_scale=None)) as it:
        it.post("/models/load", {"model": "small"})
        it.await_status("small", "loaded")
        it.fleet.advance(60)
        it.await_status("small", "sleeping")
        assert it.card.used == 0
        assert it.get("/models").status_code == 200
        assert it.status("small")["value"] == "sleeping"
        assert it.post("/v1/chat/completions", {"model": "small"}).status_code == 200
        assert it.status("small")["value"] == "loaded"
        assert it.card.used == 500 * MIB


def test_sim_single_sleeps_and_wakes_too() -> None:
    with asking(spec(single(load_seconds=0, seconds_per_gib=0, sleep_idle=60), time_scale=None)) as it:
        until(lambda: it.get("/health").status_code == 200, "it is up")
        it.fleet.advance(60)
        until(lambda: it.get("/props").json()["is_sleeping"], "it sleeps")
        assert it.card.used == 0
        assert it.post("/v1/chat/completions", {}).status_code == 200
        assert (it.get("/props").json()["is_sleeping"], it.card.used) == (False, 500 * MIB)
