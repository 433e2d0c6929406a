"""Deployment B: agents in containers with models behind them, on one Docker host with two cards of 24 GB; its operators' own numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from autogen_lab import ROOT, Autogen

from reconciler.sim import builtin_fleet, running

GIB = 2**30
SECRET = "sk-of-the-exchange"
ANALYST = "agent.gpu-trading-analyst@gpu-1"


@pytest.fixture
def autogen(tmp_path: Path) -> Iterator[Autogen]:
    with running(builtin_fleet("autogen").on_free_ports().with_time_scale(0)) as fleet:
        yield Autogen(fleet, tmp_path)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Autogen]:
    """Applied once for all tests, each of which leaves it as it was."""
    with pytest.MonkeyPatch.context() as patch, running(builtin_fleet("autogen").on_free_ports().with_time_scale(0)) as fleet:
        patch.setenv("TRADING_API_KEY", SECRET)
        found = Autogen(fleet, tmp_path_factory.mktemp("autogen"))
        found.run("apply", "--auto-approve")
        yield found


@pytest.fixture
def applied(once: Autogen) -> Iterator[Autogen]:
    yield once
    shutil.copy(ROOT / "desired" / "autogen.yaml", once.root / "desired")
    if once.plan()["steps"]:
        once.run("apply", "--auto-approve")


def actions(plan: dict) -> list[str]:
    return [f"{step['action']} {step['address']}" for step in plan["steps"]]


def test_one_plan_starts_engines_models_services_and_agents_in_that_order(autogen: Autogen) -> None:
    plan = autogen.plan()
    assert (plan["summary"]["create"], plan["summary"]["load"], plan["summary"]["unplaced"]) == (10, 4, 1)
    (analyst,) = (step for step in plan["steps"] if step["address"] == ANALYST)
    assert set(analyst["needs"]) == {
        "create:engine.gpu-1/ollama-0",
        "pull:model.codellama:34b-instruct-q4_k_m@gpu-1/ollama-0",
        "load:model.codellama:34b-instruct-q4_k_m@gpu-1/ollama-0",
        "create:agent.rabbitmq@gpu-1",
        "create:agent.redis@gpu-1",
    }
    cards = {card["gpu"]: card for card in plan["gpus"]}
    assert (cards[0]["usable_bytes"], cards[0]["after_bytes"], cards[0]["agents"]) == (24 * GIB * 9 // 10, 20 * 10**9, 1)
    assert (cards[1]["after_bytes"], cards[1]["agents"]) == (20 * 10**9, 5)
    (mixtral,) = plan["unplaced"]
    assert (mixtral["model"], mixtral["needed_bytes"], mixtral["best_effort"]) == ("mixtral:8x7b", 25 * 10**9, True)


def test_the_reserve_of_2048_mb_counts_where_it_is_more_than_a_tenth(autogen: Autogen) -> None:
    path = autogen.root / "inventories" / "autogen.yaml"
    path.write_text(path.read_text().replace("max_vram_utilization: 90%", "max_vram_utilization: 99%"))
    assert {card["usable_bytes"] for card in autogen.plan()["gpus"]} == {24 * GIB - 2048 * 2**20}


def test_after_an_apply_everything_runs_and_nothing_is_left_to_do(applied: Autogen) -> None:
    assert applied.plan()["steps"] == []
    status = json.loads(applied.run("status", "--format", "json"))
    assert {one["standing"] for one in status["agents"]} == {"running"}
    uses = {one["address"]: one["uses"] for one in status["agents"]}
    assert (uses[ANALYST], uses["agent.coder@gpu-1"], uses["agent.redis@gpu-1"]) == ("gpu-1/ollama-0", "gpu-1/ollama-1", None)
    assert ANALYST in applied.run("state", "list").splitlines()


def test_an_agent_has_its_settings_the_chosen_engine_and_its_secret(applied: Autogen) -> None:
    inventory = (applied.root / "inventories" / "autogen.yaml").read_text()
    port = next(line.split()[-1] for line in inventory.splitlines() if "port:" in line)
    env = dict(one.split("=", 1) for one in applied.container("gpu-trading-analyst")["Config"]["Env"])
    assert env["GPUREC_API_BASE"] == f"http://127.0.0.1:{port}/v1"
    assert (env["GPUREC_MODEL"], env["GPUREC_API_TYPE"], env["API_KEY"]) == ("codellama:34b-instruct-q4_k_m", "ollama", SECRET)
    files = next(one for one in applied.daemon.containers if one.name == "autogen-gpu-trading-analyst").files
    assert json.loads(files["/etc/gpurec/agent.json"]) == {"trading_pairs": ["BTC/USDT", "ETH/USDT"]}
    assert json.loads(files["/etc/gpurec/llm.json"]) == {
        "system_message": "You are a trading analyst.",
        "model": "codellama:34b-instruct-q4_k_m",
        "api_base": f"http://127.0.0.1:{port}/v1",
        "api_type": "ollama",
    }


def test_the_secret_is_in_no_plan_and_in_no_file_of_ours(applied: Autogen) -> None:
    applied.change("autogen-agent:1.4\n", "autogen-agent:1.5\n")
    shown = applied.run("plan", "--format", "json", "--out", str(applied.root / "saved.plan"))
    assert '"scheme": "env"' in shown
    assert SECRET not in shown
    every = [path for path in applied.root.rglob("*") if path.is_file()]
    assert (applied.root / "state" / "autogen.db") in every
    assert not [path for path in every if SECRET.encode() in path.read_bytes()]


def test_a_sixth_agent_on_a_card_has_no_place(applied: Autogen) -> None:
    applied.change("replicas: 2\n    model: mistral", "replicas: 3\n    model: mistral")
    plan = applied.plan()
    assert actions(plan) == []
    (lacking,) = (one for one in plan["unplaced"] if one.get("agent"))
    assert (lacking["agent"], lacking["count"], lacking["candidate_counts"]) == ("support", 1, {"agents_per_gpu": 1})
    assert lacking["candidates"][0]["message"] == "card 1 has 5 agents already (limits.max_agents_per_gpu)"
    assert "? agent.support  1 agent: every card that qualifies has as many agents as limits.max_agents_per_gpu allows" in applied.run(
        "plan"
    )
    applied.run("apply", "--auto-approve", ends=3)


def test_an_agent_that_somebody_killed_or_removed_is_drift_and_comes_back(applied: Autogen) -> None:
    applied.docker("POST", "/containers/autogen-coder/kill")
    applied.docker("DELETE", "/containers/autogen-redis?force=1")
    drift = json.loads(applied.run("drift", "--format", "json", ends=2))
    assert [(one["address"], one["kind"]) for one in drift["drift"]] == [("agent.coder@gpu-1", "state"), ("agent.redis@gpu-1", "missing")]
    assert sorted(actions(applied.plan())) == ["create agent.redis@gpu-1", "update agent.coder@gpu-1"]
    applied.run("apply", "--auto-approve")
    assert applied.plan()["steps"] == []
    assert applied.container("coder")["State"]["Running"] is True


def test_another_image_replaces_the_container_and_the_settings_stay(applied: Autogen) -> None:
    before = applied.container("gpu-trading-analyst")["Id"]
    applied.change("image: registry.example/autogen-agent:1.4\n", "image: registry.example/autogen-agent:1.5\n")
    plan = applied.plan()
    assert actions(plan) == [f"update {ANALYST}"]
    assert plan["steps"][0]["reason"]["message"] == "image differs"
    applied.run("apply", "--auto-approve")
    after = applied.container("gpu-trading-analyst")
    assert after["Id"] != before
    assert after["Config"]["Image"] == "registry.example/autogen-agent:1.5"
    assert applied.plan()["steps"] == []


def test_a_model_that_needs_a_larger_card_takes_its_agent_along_to_where_none_qualifies(applied: Autogen) -> None:
    applied.change("min_vram_mb: 20000", "min_vram_mb: 40000")
    plan = applied.plan()
    assert actions(plan) == [f"remove {ANALYST}"]
    assert plan["steps"][0]["reason"] == {"code": "no_place", "message": "no card qualifies"}
    (lacking,) = (one for one in plan["unplaced"] if one.get("agent"))
    assert (lacking["reason"], lacking["candidate_counts"]) == ("no card qualifies", {"card_too_small": 1})


def test_what_is_only_best_effort_is_no_error_of_the_fleet(applied: Autogen) -> None:
    assert "! model.mixtral:8x7b  model_too_large" in applied.run("doctor")
