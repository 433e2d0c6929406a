"""`gpurec route`: where a request goes; `gpurec explain`: why something is where it is. Over real HTTP to a simulated fleet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_lab import Lab, served
from test_cli_what_if import FLEET, MIB, TWO

from reconciler.health.routes import speed_of
from reconciler.sim import SimEngine, SimGpu, SimModel, SimNode, SimSpec


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(FLEET, tmp_path) as lab:
        lab.want(TWO)
        yield lab


def asked(lab: Lab, *arguments: str, status: int = 0) -> dict[str, Any]:
    result = lab.run(*arguments, "--format", "json")
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def engine_of(lab: Lab, model: str) -> str:
    return next(name for name, engine in lab.fleet.engines.items() if model in engine.residents)


def test_a_request_goes_where_the_model_is_loaded(lab: Lab) -> None:
    assert lab.run("apply", "--auto-approve").exit_code == 0
    found = asked(lab, "route", "chat:8b")
    assert found["engine"] == engine_of(lab, "chat:8b")
    assert (found["model_name"], found["backend"], found["gpu_id"], found["will_exceed_memory"]) == ("chat:8b", "ollama", 0, False)
    assert found["port"] == int(lab.fleet.engines[found["engine"]].url.rpartition(":")[2])
    assert found["reason"] == "is loaded, all of it on the card"
    assert found["estimated_duration_ms"] == round(512 / 150 * 1000)
    assert [one["verdict"] for one in found["candidates"]] == ["loaded", "can_load", "can_load"]
    text = lab.run("route", "chat:8b").stdout.splitlines()
    assert text[0] == f"chat:8b → {found['engine']}: is loaded, all of it on the card, about 3.4s for 512 tokens by rule of thumb"
    assert len(text) == 4


def test_a_request_is_sent_with_the_name_that_the_engine_has_for_it(lab: Lab) -> None:
    lab.want("version: 1\nmodels:\n  chat:8b: {engine: ollama, context: 8192}\n")
    assert {one["served_name"] for one in asked(lab, "route", "chat:8b")["candidates"]} == {"chat:8b"}, (
        "what is installed until a plan makes the tag"
    )
    assert lab.run("apply", "--auto-approve").exit_code == 0
    found = asked(lab, "route", "chat:8b")
    assert (found["model_name"], found["served_name"]) == ("chat:8b", "chat:8b-c8192")
    assert found["candidates"][0]["served_name"] == "chat:8b-c8192"
    assert lab.run("route", "chat:8b").stdout.splitlines()[0].endswith("; ask it for chat:8b-c8192")


def test_of_engines_that_would_load_it_the_emptiest_is_taken_and_an_unknown_time_is_none(lab: Lab) -> None:
    lab.want("version: 1\nmodels:\n  small:1b: {engine: ollama, vram: 1GiB, on: b}\n")
    lab.run("apply", "--auto-approve")
    found = asked(lab, "route", "chat:8b")
    assert [one["engine"][0] for one in found["candidates"]] == ["a", "c", "b"]
    assert (found["candidates"][0]["verdict"], found["estimated_duration_ms"]) == ("can_load", None)


def test_a_silent_engine_is_no_choice_and_says_why(lab: Lab) -> None:
    lab.run("apply", "--auto-approve")
    lab.fleet.engines[engine_of(lab, "chat:8b")].set_fault("down")
    found = asked(lab, "route", "chat:8b")
    last = found["candidates"][-1]
    assert (last["verdict"], last["reason"]["code"]) == ("no", "unreachable")
    assert last["reason"]["message"].startswith("cannot be asked: ")
    assert found["engine"] != last["engine"]


def test_what_has_room_nowhere_goes_nowhere_and_exits_1(lab: Lab) -> None:
    found = asked(lab, "route", "big", status=1)
    assert (found["engine"], found["will_exceed_memory"], found["estimated_duration_ms"]) == (None, True, None)
    text = lab.run("route", "big")
    assert (text.exit_code, text.stdout.splitlines()[0]) == (1, "big: nowhere: no engine has the room")


def test_a_name_that_nobody_knows_is_an_error_with_the_nearest(lab: Lab) -> None:
    result = lab.run("route", "chatt:8b")
    assert result.exit_code == 1
    assert "did you mean chat:8b" in result.stderr


@pytest.mark.parametrize(("size", "seconds"), [(1_900, 2.56), (6_000, 3.41), (9_000, 5.12), (16_000, 10.24)])
def test_the_rule_of_thumb_for_512_tokens(size: int, seconds: float) -> None:
    assert round(512 / speed_of(size * 10**6), 2) == seconds


def test_what_is_where_it_was_stays_and_its_history_is_told(lab: Lab) -> None:
    lab.run("apply", "--auto-approve")
    at = engine_of(lab, "chat:8b")
    found = asked(lab, "explain", f"model.chat:8b@{at}")
    assert (found["why"]["code"], found["standing"], found["steps"]) == ("kept", "running", [])
    assert [(one["run"], one["action"], one["status"]) for one in found["history"]] == [(1, "load", "done")]
    assert {one["engine"]: one["fits"] for one in found["candidates"]} == {"a/ollama": True, "b/ollama": True, "c/ollama": True}
    text = lab.run("explain", f"model.chat:8b@{at}").stdout
    assert text.startswith(f"model.chat:8b@{at}\n  why      it is there, and what is there stays where it is\n")
    assert "Every engine, as the fleet stands\n  → " in text
    assert "Earlier applies\n  run 1  " in text


def test_what_was_lost_comes_back_to_its_place(lab: Lab) -> None:
    lab.run("apply", "--auto-approve")
    at = engine_of(lab, "chat:8b")
    lab.fleet.engines[at].restart()
    found = asked(lab, "explain", f"model.chat:8b@{at}")
    assert (found["why"]["code"], [one["action"] for one in found["steps"]]) == ("last_applied", ["load"])
    assert found["drift"]


def test_what_is_new_is_placed_by_the_strategy(lab: Lab) -> None:
    plan = asked(lab, "plan")
    address = plan["steps"][0]["address"]
    found = asked(lab, "explain", address)
    assert found["why"] == {"code": "strategy", "message": "of the engines with room the strategy least_loaded took this one"}


def test_a_model_without_a_place_is_told_with_what_would_help(lab: Lab) -> None:
    lab.want("version: 1\nmodels:\n  big: {engine: ollama, vram: 20GiB}\n")
    found = asked(lab, "explain", "model.big")
    assert (found["why"]["code"], found["standing"]) == ("unplaced", "unplaced")
    assert {one["reason"]["code"] for one in found["candidates"]} == {"too_large"}
    assert "No place for\n" in lab.run("explain", "model.big").stdout


def test_who_makes_room_and_who_takes_it_name_each_other(tmp_path: Path) -> None:
    def model(name: str) -> SimModel:
        return SimModel(name, size=5120 * MIB, weights=5120 * MIB, kv_per_token=0, vram=5120 * MIB, layers=9)

    engine = SimEngine("ollama", "ollama", gpus=(0,), installed=(model("low:1"), model("high:1")))
    with served(SimSpec((SimNode("n", (SimGpu("card", 8192 * MIB),), None, (engine,)),), 0.0), tmp_path) as lab:
        lab.want("version: 1\nmodels:\n  low:1: {engine: ollama, vram: 5GiB}\n")
        lab.run("apply", "--auto-approve")
        lab.want("version: 1\nmodels:\n  low:1: {engine: ollama, vram: 5GiB}\n  high:1: {engine: ollama, vram: 5GiB, priority: 9}\n")
        won, lost = (asked(lab, "explain", f"model.{name}@n/ollama") for name in ("high:1", "low:1"))
        assert [one["address"] for one in won["moves"]] == ["model.low:1@n/ollama"]
        assert (lost["why"]["code"], lost["standing"]) == ("leaving", "leaving")
        assert [(one["by"], one["to"]) for one in lost["moves"]] == [("high:1", None)]


def test_a_stranger_is_explained_as_one_and_what_nobody_knows_is_an_error(lab: Lab) -> None:
    import httpx

    url = lab.fleet.engines["a/ollama"].url
    httpx.post(f"{url}/api/generate", json={"model": "chat:8b", "keep_alive": -1}).raise_for_status()
    lab.want("version: 1\nmodels:\n  small:1b: {engine: ollama, vram: 1GiB}\n")
    assert asked(lab, "explain", "model.chat:8b@a/ollama")["why"]["code"] == "unmanaged"
    result = lab.run("explain", "model.nothing@a/ollama")
    assert result.exit_code == 1
    assert "nothing is known of 'model.nothing@a/ollama'; gpurec status and gpurec state list show addresses" in result.stderr


@pytest.mark.parametrize("asked_for", ["small:1b", "model.small:1b"])
def test_a_bare_name_stands_for_the_one_address_that_it_has_and_several_are_named(lab: Lab, asked_for: str) -> None:
    lab.want("version: 1\nmodels:\n  small:1b: {engine: ollama, on: a, vram: 1GiB}\n")
    assert asked(lab, "explain", asked_for) == asked(lab, "explain", "model.small:1b@a/ollama")
    lab.want("version: 1\nmodels:\n  small:1b: {engine: ollama, replicas: 2, vram: 1GiB}\n")
    result = lab.run("explain", asked_for)
    assert result.exit_code == 1
    several = f"'{asked_for}' has 2 addresses; did you mean model.small:1b@a/ollama or model.small:1b@b/ollama?"
    assert several in " ".join(result.stderr.split())
