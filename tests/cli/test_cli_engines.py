"""vLLM and llama-swap in a workspace, and `verify`: what plan says of them, what apply sends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from cli_lab import Lab, served

from reconciler.sim import read_sim_text

FLEET = """
time_scale: 0
models:
  - {name: small, size: 1GB, vram: 1GB, embedding_length: 1024}
  - {name: large, size: 1GB, vram: 1GB}
  - {name: "writer:1", size: 1GB, vram: 1GB}
nodes:
  v:
    gpus: [{name: card, vram: 24GiB}]
    engines: {vllm: {kind: vllm, installed: [small], served_names: [org/small, other], lora: [poet], sleep_mode: true}}
  s:
    gpus: [{name: card, vram: 24GiB}]
    engines: {swap: {kind: llamaswap, installed: [small, large], groups: {all: {swap: false, members: [small, large]}}}}
  o:
    gpus: [{name: card, vram: 24GiB}]
    engines: {ollama: {kind: ollama, installed: ["writer:1"]}}
"""


@contextmanager
def lab(root: Path) -> Iterator[Lab]:
    with served(read_sim_text(FLEET, "engines"), root) as found:
        _await(found.fleet.engines["v/vllm"].url)
        yield found


def _await(url: str) -> None:
    with httpx.Client(trust_env=False, transport=httpx.HTTPTransport(retries=8)) as client:
        client.get(f"{url}/health").raise_for_status()


def plan(found: Lab) -> dict[str, Any]:
    result = found.run("plan", "--format", "json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def steps(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(step["action"], step["address"]) for step in document["steps"]]


def test_cli_the_model_of_a_vllm_is_adopted_under_its_name_there_and_another_has_no_place(tmp_path: Path) -> None:
    with lab(tmp_path) as found:
        found.want(
            "version: 1\nmodels:\n  small: {engine: vllm, names: {vllm: org/small}, vram: 20GiB}\n  large: {engine: vllm, vram: 1GiB}\n"
        )
        document = plan(found)
        assert steps(document) == [("adopt", "model.small@v/vllm")]
        (unplaced,) = document["unplaced"]
        assert [(one["engine"], one["reason"]) for one in unplaced["candidates"] if one["reason"] != "engine_kind"] == [
            ("v/vllm", "engine_fixed_model")
        ]
        assert found.run("apply", "--auto-approve").exit_code == 3
        assert [sent for sent in found.sent() if "/api/show" not in sent] == []


def test_cli_another_context_on_a_vllm_is_drift_that_no_step_mends(tmp_path: Path) -> None:
    with lab(tmp_path) as found:
        found.want("version: 1\nmodels: {small: {engine: vllm, names: {vllm: org/small}, vram: 20GiB, context: 4096}}\n")
        document = plan(found)
        assert steps(document) == [("adopt", "model.small@v/vllm")]
        assert [(one["kind"], one["field"], one["applied"]) for one in document["drift"]] == [("engine_fixed_options", "context", 4096)]


def test_cli_what_no_apply_can_change_is_told_against_the_files_for_as_long_as_they_ask_for_it(tmp_path: Path) -> None:
    wanted = "version: 1\nmodels: {{small: {{engine: vllm, names: {{vllm: org/small}}, vram: 20GiB{rest}}}}}\n"
    with lab(tmp_path) as found:
        found.want(wanted.format(rest=", context: 4096"))
        assert found.run("apply", "--auto-approve").exit_code == 0
        for _ in range(2):
            shown = found.run("plan").stdout
            assert shown.startswith(
                "No changes. Nothing can be done now for fleet demo: 1 replica is not as wanted, which no apply can change."
            )
            assert "Drift, as wanted → as found: no apply can change it\n  ! engine_fixed_options" in shown
            assert "as last applied" not in shown
            drifted = found.run("drift")
            assert drifted.exit_code == 2
            assert drifted.stdout.startswith("1 field drifted. Fleet demo is not as wanted, and no apply can change that.\n")
            assert "0 pending" in found.run("status").stdout
            assert found.run("apply", "--auto-approve").exit_code == 0
        found.want(wanted.format(rest=""))
        assert found.run("plan").stdout.startswith("No changes. Fleet demo is as desired: 1 replica unchanged.")
        assert found.run("drift").exit_code == 0


def test_cli_options_that_a_vllm_tells_to_be_others_are_drift_and_equal_ones_are_not(tmp_path: Path) -> None:
    with lab(tmp_path) as found:
        options = "options: {gpu_memory_utilization: 0.5, block_size: 16, max_num_seqs: 8}"
        found.want(f"version: 1\nmodels: {{small: {{engine: vllm, names: {{vllm: org/small}}, vram: 20GiB, {options}}}}}\n")
        document = plan(found)
        told = [(one["kind"], one["field"], one["applied"], one["found"]) for one in document["drift"]]
        assert told == [("engine_fixed_options", "options.gpu_memory_utilization", 0.5, "0.92")]
        said = " ".join(one["message"] for one in document["notes"])
        assert "vLLM takes options from its command line" in said
        assert "runs with gpu_memory_utilization 0.92, wanted 0.5" in said
        assert steps(document) == [("adopt", "model.small@v/vllm")]


def test_cli_a_vllm_that_starts_keeps_its_replica_and_says_what_it_may_be(tmp_path: Path) -> None:
    with lab(tmp_path) as found:
        found.want("version: 1\nmodels: {small: {engine: vllm, names: {vllm: org/small}, vram: 20GiB}}\n")
        assert found.run("apply", "--auto-approve").exit_code == 0
        found.fleet.engines["v/vllm"].set_fault("hang_load")
        found.fleet.engines["v/vllm"].restart()
        document = plan(found)
        assert (document["steps"], document["unplaced"], document["drift"]) == ([], [], [])
        (deferred,) = document["deferred"]
        assert "still starting" in deferred["reason"]
        assert "or down" in deferred["reason"]


def test_cli_a_vllm_asleep_is_there(tmp_path: Path) -> None:
    with lab(tmp_path) as found:
        found.want("version: 1\nmodels: {small: {engine: vllm, names: {vllm: org/small}, vram: 20GiB}}\n")
        assert found.run("apply", "--auto-approve").exit_code == 0
        httpx.post(found.fleet.engines["v/vllm"].url + "/sleep?level=1", trust_env=False).raise_for_status()
        assert plan(found)["steps"] == []


def test_cli_adapters_of_a_vllm_are_shown_and_take_no_room(tmp_path: Path) -> None:
    with lab(tmp_path) as found:
        found.want("version: 1\nmodels: {small: {engine: vllm, names: {vllm: org/small}, vram: 20GiB}}\n")
        document = plan(found)
        assert [(one["name"], one["vram_bytes"]) for one in document["unmanaged"]] == [("poet", 0)]


def test_cli_llamaswap_loads_and_unloads_and_a_second_apply_sends_nothing(tmp_path: Path) -> None:
    with lab(tmp_path) as found:
        small, big = "small: {engine: llamaswap, vram: 1GiB}", "big: {names: {llamaswap: large}, engine: llamaswap, vram: 1GiB}"
        found.want(f"version: 1\nmodels:\n  {small}\n  {big}\n")
        assert found.run("apply", "--auto-approve").exit_code == 0
        assert set(found.fleet.engines["s/swap"].residents) == {"small", "large"}
        found.fleet.forget_requests()
        assert found.run("apply", "--auto-approve").exit_code == 0
        paths = {request.path for request in found.fleet.engines["s/swap"].requests}
        assert paths == {"/v1/models", "/running", "/api/version"}
        found.want("version: 1\nmodels: {small: {engine: llamaswap, vram: 1GiB}}\n")
        assert steps(plan(found)) == [("unload", "model.big@s/swap")]
        assert found.run("apply", "--auto-approve").exit_code == 0
        assert set(found.fleet.engines["s/swap"].residents) == {"small"}


def test_cli_llamaswap_that_ends_one_model_for_another_is_told_as_a_loss(tmp_path: Path) -> None:
    with served(read_sim_text(FLEET.replace("swap: false", "swap: true"), "engines"), tmp_path) as found:
        _await(found.fleet.engines["v/vllm"].url)
        found.want("version: 1\nmodels: {small: {engine: llamaswap, vram: 1GiB}}\n")
        assert found.run("apply", "--auto-approve").exit_code == 0
        found.want("version: 1\nmodels: {small: {engine: llamaswap, vram: 1GiB}, large: {engine: llamaswap, vram: 1GiB}}\n")
        result = found.run("apply", "--auto-approve")
        assert result.exit_code == 3
        assert "small" in result.output


def test_cli_a_model_that_writes_too_slowly_is_taken_back_and_the_apply_says_so(tmp_path: Path) -> None:
    with lab(tmp_path) as found:
        found.want('version: 1\nmodels: {"writer:1": {engine: ollama, vram: 1GiB, verify: {min_tokens_per_second: 500}}}\n')
        result = found.run("apply", "--auto-approve")
        assert result.exit_code == 3
        assert "writes 400 tokens a second, wanted 500" in result.output
        assert found.fleet.engines["o/ollama"].residents == {}
        found.want('version: 1\nmodels: {"writer:1": {engine: ollama, vram: 1GiB, verify: {min_tokens_per_second: 300}}}\n')
        assert found.run("apply", "--auto-approve").exit_code == 0
        assert set(found.fleet.engines["o/ollama"].residents) == {"writer:1"}
        assert plan(found)["steps"] == []


def test_cli_verify_is_a_length_or_a_speed_of_what_is_loaded(tmp_path: Path) -> None:
    with lab(tmp_path) as found:
        for verify, more, said in (
            ("{embedding_length: 3, min_tokens_per_second: 2}", "", "either embeds or writes"),
            ("{embedding_length: 3}", ", ensure: present", "is verified after a load, and is only to be present"),
            ("{embeding_length: 3}", "", "embedding_length"),
        ):
            found.want(f"version: 1\nmodels: {{small: {{verify: {verify}{more}}}}}\n")
            result = found.run("validate")
            assert result.exit_code == 1
            assert said in result.output


def test_cli_a_vllm_is_shown_under_the_name_that_is_wanted_now_and_not_under_the_one_that_was(tmp_path: Path) -> None:
    with lab(tmp_path) as found:
        found.want("version: 1\nmodels: {small: {engine: vllm, names: {vllm: org/small}, vram: 20GiB}}\n")
        assert found.run("apply", "--auto-approve").exit_code == 0
        found.want("version: 1\nmodels: {mine: {engine: vllm, names: {vllm: other}, vram: 20GiB}}\n")
        document = plan(found)
        assert steps(document) == [("adopt", "model.mine@v/vllm")]
        assert document["unplaced"] == []
