"""vLLM's protocol over real HTTP. What a CPU cannot do (its share of a card, LoRA adapters) is from the wire reference."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sim_fleets import MIB, SMALL, asking, spec, until

from reconciler.sim import SimEngine


def vllm(**more: Any) -> SimEngine:
    return SimEngine("v", "vllm", gpus=(0,), installed=(SMALL,), **{"load_seconds": 0, "seconds_per_gib": 0, **more})


def served(it: Any) -> list[str]:
    return [card["id"] for card in it.get("/v1/models").json()["data"]]


def awaited(it: Any) -> None:
    def up() -> bool:
        try:
            return it.get("/health").status_code == 200
        except httpx.ConnectError:
            return False

    until(up, "it answers")


def test_sim_vllm_refuses_connections_until_its_model_is_loaded() -> None:
    with asking(spec(vllm(load_seconds=60), time_scale=None)) as it:
        until(lambda: it.card.used, "it takes memory")
        with pytest.raises(httpx.ConnectError):
            it.get("/health")
        it.fleet.advance(60)
        awaited(it)
        assert it.get("/version").json() == {"version": "0.32.0"}


@pytest.mark.parametrize("share", [0.5, 0.92])
def test_sim_vllm_takes_its_share_of_the_card_whatever_its_model(share: float) -> None:
    with asking(spec(vllm(gpu_memory_utilization=share))) as it:
        awaited(it)
        assert it.card.used == int(4096 * MIB * share)


def test_sim_vllm_exits_where_its_share_is_not_free() -> None:
    with asking(spec(vllm(), foreign_mib=400)) as it:
        until(lambda: not it.engine.alive, "it ends")
        assert it.card.allocated == 0


def test_sim_vllm_guards_only_its_v1_paths_with_its_key() -> None:
    with asking(spec(vllm(api_key="k"))) as it:
        awaited(it)
        assert [it.get(path).status_code for path in ("/health", "/version", "/metrics", "/v1/models")] == [200, 200, 200, 401]
        assert it.get("/v1/models", headers={"Authorization": "Bearer k"}).status_code == 200


def test_sim_vllm_asleep_gives_its_memory_back_and_lets_requests_wait_until_it_wakes() -> None:
    with asking(spec(vllm(sleep_mode=True))) as it:
        awaited(it)
        held = it.card.used
        assert it.post("/sleep?level=1", {}).status_code == 200
        assert it.get("/is_sleeping").json() == {"is_sleeping": True}
        assert it.card.used < held
        assert 'sleep_state="weights_offloaded"} 1.0' in it.get("/metrics").text
        answer = it.behind("/v1/completions", {"model": "small", "prompt": "x"})
        assert it.post("/wake_up", {}).status_code == 200
        assert answer.result(10).status_code == 200
        assert (it.card.used, it.get("/is_sleeping").json()) == (held, {"is_sleeping": False})


def test_sim_vllm_without_dev_mode_knows_no_sleep() -> None:
    with asking(spec(vllm())) as it:
        awaited(it)
        assert it.post("/sleep", {}).status_code == 404


def test_sim_vllm_adapters_come_and_go_while_it_runs() -> None:
    with asking(spec(vllm(lora=("poet",), served_names=("base", "other")))) as it:
        awaited(it)
        assert served(it) == ["base", "other", "poet"]
        assert it.post("/v1/load_lora_adapter", {"lora_name": "cook", "lora_path": "/x"}).text.startswith("Success")
        assert it.post("/v1/load_lora_adapter", {"lora_name": "cook", "lora_path": "/x"}).status_code == 400
        assert it.post("/v1/unload_lora_adapter", {"lora_name": "poet"}).status_code == 200
        assert it.post("/v1/unload_lora_adapter", {"lora_name": "poet"}).status_code == 404
        assert served(it) == ["base", "other", "cook"]


def test_sim_vllm_knows_no_other_model() -> None:
    with asking(spec(vllm())) as it:
        awaited(it)
        refused = it.post("/v1/completions", {"model": "big", "prompt": "x"})
        assert (refused.status_code, refused.json()["error"]["type"]) == (404, "NotFoundError")
