"""What home-made systems of this kind did wrong, and what holds here instead: the table of docs/deployments.md, a test each."""

from __future__ import annotations

import json
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import httpx
import pytest
from cli_lab import Lab, served

from reconciler.engines.transport import Answer, Channel
from reconciler.sim.engine import Engine as SimEngine
from reconciler.sim.read import read_sim_text

SIM = """
time_scale: 0
models:
  - {name: "small:1b", vram: 2GiB, size: 1.8GiB}
  - {name: "small:3b", vram: 3GiB, size: 2.7GiB}
  - {name: "large:8b", vram: 6GiB, size: 5.4GiB}
  - {name: all-minilm, vram: 1GiB, size: 900MiB, embedding: true}
nodes:
  a:
    ram: 32GiB
    gpus: [{name: T, vram: 10GiB}]
    engines: {ollama: &ollama {kind: ollama, installed: ["small:1b", "small:3b", "large:8b", all-minilm]}}
  b: {ram: 32GiB, gpus: [{name: T, vram: 10GiB}], engines: {ollama: *ollama}}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(read_sim_text(SIM, "sim"), tmp_path) as found:
        yield found


def want(lab: Lab, *models: str, more: str = "") -> None:
    lab.want("version: 1\n" + more + "models:\n" + "".join(f"  {model}\n" for model in models))


def plan(lab: Lab) -> dict:
    return json.loads(lab.run("plan", "--format", "json").stdout)


def apply(lab: Lab, *arguments: str) -> int:
    return lab.run("apply", "--auto-approve", *arguments).exit_code


def drift(lab: Lab) -> dict[str, str]:
    return {one["address"]: one["kind"] for one in json.loads(lab.run("drift", "--format", "json").stdout)["drift"]}


def ask(lab: Lab, node: str, path: str, **body: object) -> None:
    httpx.post(f"{lab.fleet.engines[f'{node}/ollama'].url}{path}", json=body, timeout=30).raise_for_status()


def until(process: Popen[str], says: str) -> None:
    assert process.stderr is not None
    assert any(says in line for line in process.stderr), f"ended without saying {says!r}"


def asked(engine: SimEngine, path: str) -> int:
    """How often the engine was asked for this."""
    return sum(one.path == path for one in engine.requests)


def declare(lab: Lab, card: str = "vram: 10GiB", engine: str = "") -> None:
    """The inventory, with what it says of each card and of each engine."""
    ports = {node: lab.fleet.engines[f"{node}/ollama"].url for node in ("a", "b")}
    hosts = (
        f'    {node}: {{gpus: [{{index: 0, {card}}}], engines: {{ollama: {{url: "{url}"{engine}}}}}}}\n' for node, url in ports.items()
    )
    (lab.root / "inventories" / "demo.yaml").write_text("all:\n  hosts:\n" + "".join(hosts))


def test_1_a_card_of_unknown_size_is_unknown_and_nothing_is_added_to_it(lab: Lab) -> None:
    declare(lab, card="name: T")
    want(lab, "small:1b: {engine: ollama}")
    found = plan(lab)
    assert {(card["total_bytes"], card["usable_bytes"]) for card in found["gpus"]} == {(None, None)}
    (lacking,) = found["unplaced"]
    assert {one["reason"] for one in lacking["candidates"]} == {"vram_unknown"}


def test_2_a_name_is_exact_and_its_size_is_that_of_the_file_and_of_no_namesake(lab: Lab) -> None:
    want(lab, "small:1b: {engine: ollama, on: a}", "small:3b: {engine: ollama, on: b}", "small: {engine: ollama, on: a}")
    found = plan(lab)
    needs = {step["address"]: step["vram_bytes"] for step in found["steps"] if step["action"] == "load"}
    assert needs["model.small:3b@b/ollama"] > needs["model.small:1b@a/ollama"] > 0
    assert "model.small@a/ollama" not in needs  # it is `small:latest`, of which nobody knows the size
    assert [one["model"] for one in found["unplaced"]] == ["small"]


def test_3_two_models_are_not_sent_to_the_same_free_space(lab: Lab) -> None:
    want(lab, "large:8b: {engine: ollama, on: a, vram: 6GiB}", "small:3b: {engine: ollama, on: a, vram: 4GiB}")
    found = plan(lab)
    assert [step["address"] for step in found["steps"]] == ["model.large:8b@a/ollama"]
    assert [one["model"] for one in found["unplaced"]] == ["small:3b"]
    assert all(card["peak_bytes"] <= card["usable_bytes"] for card in found["gpus"])


def test_4_what_is_right_is_not_loaded_again(lab: Lab) -> None:
    want(lab, "small:1b: {engine: ollama, each: node}")
    assert apply(lab) == 0
    lab.fleet.forget_requests()
    assert plan(lab)["steps"] == []
    assert [apply(lab) for _ in range(3)] == [0, 0, 0]
    assert not [one for one in lab.sent() if one.endswith(("/api/generate", "/api/embed", "/api/chat"))]


def test_5_a_resident_needs_no_second_room_where_it_is(lab: Lab) -> None:
    want(lab, "large:8b: {engine: ollama, on: a, vram: 6GiB}")  # twice would be more than the card
    assert apply(lab) == 0
    found = plan(lab)
    assert (found["steps"], found["unplaced"]) == ([], [])


def test_6_a_part_on_the_card_is_not_on_the_card(lab: Lab) -> None:
    want(lab, "large:8b: {engine: ollama, on: a}")
    ask(lab, "a", "/api/generate", model="large:8b", keep_alive=-1, options={"num_gpu": 3})
    (step,) = plan(lab)["steps"]
    assert (step["action"], step["reason"]["code"]) == ("reload", "cpu_fallback")


def test_7_a_dead_node_is_no_candidate_cards_are_not_summed_and_what_others_use_counts(lab: Lab) -> None:
    want(lab, "small:1b: {engine: ollama, vram: 2GiB}", "huge: {engine: ollama, vram: 16GiB}")
    declare(lab, card="vram: 10GiB}, {index: 1, vram: 10GiB", engine=", gpus: [0]")  # 40 GiB in all, and no engine has two of the cards
    assert [one["model"] for one in plan(lab)["unplaced"]] == ["huge"]
    lab.fleet.engines["a/ollama"].set_fault("down")
    assert {step["node"] for step in plan(lab)["steps"]} == {"b"}
    lab.fleet.engines["a/ollama"].clear_faults()
    declare(lab, card="vram: 10GiB, foreign: 8GiB")
    want(lab, "large:8b: {engine: ollama, vram: 6GiB}")
    (lacking,) = plan(lab)["unplaced"]
    assert {one["reason"] for one in lacking["candidates"]} <= {"insufficient_vram", "too_large"}


def test_8_an_embedding_model_is_known_by_what_it_can_and_not_by_its_name(lab: Lab) -> None:
    want(lab, "all-minilm: {engine: ollama, on: a}")
    assert apply(lab) == 0
    assert "POST /api/embed" in lab.sent()
    assert "POST /api/generate" not in lab.sent()


def test_9_a_load_asks_for_no_token_and_is_given_its_time(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    ask_engine, given = Channel.ask, []

    async def noted(self: Channel, method: str, path: str, *, within: float, **more: object) -> Answer:
        given.append((path, within))
        return await ask_engine(self, method, path, within=within, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Channel, "ask", noted)
    want(lab, "large:8b: {engine: ollama, on: a}")
    assert apply(lab) == 0
    bodies = [one.body for one in lab.fleet.engines["a/ollama"].requests if one.path == "/api/generate" and one.body]
    assert bodies
    assert all(not body.get("prompt") for body in bodies)
    assert dict(given)["/api/generate"] == 900.0


def test_10_what_must_stay_is_loaded_for_ever_and_what_was_evicted_all_the_same_is_loaded_again(lab: Lab) -> None:
    want(lab, "small:1b: {engine: ollama, on: a}")
    assert apply(lab) == 0
    assert "small:1b" in lab.fleet.engines["a/ollama"].residents
    loads = [one.body for one in lab.fleet.engines["a/ollama"].requests if one.path == "/api/generate" and one.body]
    assert loads[-1]["keep_alive"] == -1
    ask(lab, "a", "/api/generate", model="small:1b", keep_alive=0)
    assert list(drift(lab).values()) == ["missing"]
    assert apply(lab) == 0
    assert "small:1b" in lab.fleet.engines["a/ollama"].residents


def test_11_an_apply_that_a_signal_ended_between_unload_and_load_is_finished_by_the_next_one(lab: Lab) -> None:
    want(lab, "large:8b: {engine: ollama, on: a, vram: 6GiB, context: 2048, context_via: request}")
    assert apply(lab) == 0
    want(lab, "large:8b: {engine: ollama, on: a, vram: 6GiB, context: 4096, context_via: request}")
    engine = lab.fleet.engines["a/ollama"]
    engine.set_fault("hang_load")
    lab.fleet.forget_requests()
    with lab.process("apply", "--auto-approve") as process:
        while not asked(engine, "/api/generate"):
            select.select([process.stderr], [], [], 0.1)
        process.send_signal(signal.SIGTERM)
        until(process, "Stopping:")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert "large:8b" not in engine.residents
    engine.clear_faults()
    engine.restart()
    assert apply(lab) == 0
    assert "large:8b" in engine.residents
    assert plan(lab)["steps"] == []


def test_12_a_percent_and_a_ratio_are_the_same_and_a_bare_number_is_an_error(lab: Lab) -> None:
    usable = []
    for share in ("90%", "0.9"):
        want(lab, "small:1b: {engine: ollama}", more=f"limits: {{max_vram_utilization: {share}}}\n")
        usable.append({card["usable_bytes"] for card in plan(lab)["gpus"]})
    assert usable[0] == usable[1]
    want(lab, "small:1b: {engine: ollama}", more="limits: {max_vram_utilization: 90}\n")
    assert "write 90% or 0.9" in lab.run("validate").stderr


def test_13_an_unload_deletes_nothing_from_disk(lab: Lab) -> None:
    want(lab, "small:1b: {engine: ollama, on: a}")
    assert apply(lab) == 0
    lab.want("version: 1\nmodels: {}\npolicy: {guards: {allow_empty: true}}\n")
    assert apply(lab) == 0
    assert lab.fleet.engines["a/ollama"].residents == {}
    assert "DELETE /api/delete" not in lab.sent()
    listed = httpx.get(f"{lab.fleet.engines['a/ollama'].url}/api/tags").json()["models"]
    assert "small:1b" in [one["name"] for one in listed]


def test_14_a_variable_that_the_engine_never_had_is_told_with_the_nearest_one(lab: Lab) -> None:
    want(lab, "small:1b: {engine: ollama}")
    declare(lab, engine=', env: {OLLAMA_NUM_PARALEL: "2"}')
    said = lab.run("validate")
    assert "OLLAMA_NUM_PARALLEL" in said.stdout + said.stderr


def test_15_one_failed_probe_flips_nothing(tmp_path: Path) -> None:
    with served(read_sim_text(SIM, "sim").with_time_scale(None), tmp_path) as lab:
        engine = lab.fleet.engines["a/ollama"]
        want(lab, "small:1b: {engine: ollama, on: a}", more="policy: {remediation: {retries: 0}}\n")
        engine.set_fault("status", paths=["/api/ps"], count=1, status=503)
        assert [step["action"] for step in plan(lab)["steps"]] == ["load"]
        with lab.process("apply", "--auto-approve") as process:
            until(process, "a/ollama: started")
            lab.fleet.forget_requests()
            engine.set_fault("down", paths=["/api/ps"], count=4)  # a look asks three times: one fails whole, while it loads
            while process.poll() is None:
                if asked(engine, "/api/ps") > 4:
                    lab.fleet.advance(60)
                select.select([process.stderr], [], [], 0.1)
            process.communicate(timeout=60)
        assert process.returncode == 0
        assert "small:1b" in engine.residents


def test_16_round_robin_takes_each_in_its_turn_and_a_plan_of_another_world_is_refused(lab: Lab) -> None:
    names = ["small:1b", "small:3b", "all-minilm"]
    want(lab, *(f"{name}: {{engine: ollama, vram: 1GiB}}" for name in names), more="placement: {strategy: round_robin}\n")
    assert {step["node"] for step in plan(lab)["steps"]} == {"a", "b"}
    assert lab.run("plan", "--out", str(lab.root / "p.json")).exit_code == 0
    for node in ("a", "b"):
        ask(lab, node, "/api/generate", model="large:8b", keep_alive=-1)
        ask(lab, node, "/api/generate", model="small:3b", keep_alive=-1)
    assert lab.run("apply", str(lab.root / "p.json")).exit_code == 6


def test_17_a_look_uses_no_model(lab: Lab) -> None:
    want(lab, "all-minilm: {engine: ollama, on: a, verify: {embedding_length: 384}}")
    apply(lab)
    lab.fleet.forget_requests()
    for command in (("plan",), ("drift",), ("status",), ("doctor",), ("facts",)):
        lab.run(*command)
    asked = {one.path for engine in lab.fleet.engines.values() for one in engine.requests}
    assert asked
    assert not asked & {"/api/chat", "/api/generate", "/api/embed", "/v1/chat/completions", "/v1/embeddings"}


def test_18_what_cannot_be_seen_is_not_loaded_again_and_again(lab: Lab) -> None:
    want(lab, "small:1b: {engine: ollama, on: a}")
    assert apply(lab) == 0
    lab.fleet.forget_requests()
    lab.fleet.engines["a/ollama"].set_fault("status", paths=["/api/ps"], status=500)
    for _ in range(3):
        apply(lab)
    assert not [one for one in lab.sent() if one.startswith("POST /api/") and not one.endswith("/api/show")]
