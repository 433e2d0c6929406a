"""What goes wrong on real servers, and that it is told: one reason, the exit status of the contract, and nothing made worse."""

from __future__ import annotations

import pytest
from rigs import MIB, NEED, RAM, ROOM_FOR_ONE, Bench
from waiting import wait_until
from workspaces import reasons, steps

TOO_SMALL = 200 * MIB


def test_a_partial_offload_is_cpu_fallback_and_is_repaired_by_unload_and_load(bench: Bench) -> None:
    rig = bench.rig("ollama", ROOM_FOR_ONE)
    rig.want("gemma")
    rig.workspace.apply(0)
    rig.unload("gemma")
    rig.load("gemma", num_gpu=6)

    plan = rig.workspace.plan(2)
    assert {(entry["address"], entry["kind"]) for entry in plan["drift"]} == {(rig.address("gemma"), "cpu_fallback")}
    assert steps(plan) == [("reload", rig.address("gemma"))]

    rig.workspace.apply(0)
    (resident,) = rig.ollama.residents().values()
    assert resident["size_vram"] == resident["size"] > 0
    rig.workspace.expect_nothing_to_do()


@pytest.mark.parametrize("others", [0, 400 * MIB], ids=["too small", "taken by others"])
def test_a_card_without_room_makes_the_router_refuse_the_load_and_apply_says_so(bench: Bench, others: int) -> None:
    """A real out-of-memory: nobody can see of this card what is free."""
    rig = bench.rig("llamacpp", ROOM_FOR_ONE if others else TOO_SMALL, declared=(ROOM_FOR_ONE,), extra=["-ngl", "99"])
    if others:
        rig.cards[0].foreign(others)
    rig.want("gemma")
    told = rig.workspace.apply(3)
    assert "gemma" in told.out + told.err
    assert rig.cards[0].refusals() >= 1
    assert rig.residents() == set()
    assert rig.workspace.plan(2)["steps"] != []


def test_a_card_smaller_than_declared_makes_ollama_spill_and_apply_does_not_call_that_done(bench: Bench) -> None:
    rig = bench.rig("ollama", TOO_SMALL, declared=(ROOM_FOR_ONE,))
    rig.want("gemma")
    told = rig.workspace.apply(3)
    assert "gemma" in told.out + told.err


def test_a_model_whose_process_died_is_gone_from_its_router_and_put_back(bench: Bench) -> None:
    rig = bench.rig("llamacpp", ROOM_FOR_ONE)
    rig.want("gemma")
    rig.workspace.apply(0)
    rig.server.process.kill_children()
    wait_until(lambda: rig.residents() == set(), 20, "the router sees it")
    wait_until(lambda: rig.cards[0].used == 0, 20, "its memory comes back")
    plan = rig.workspace.plan(2)
    assert {(entry["address"], entry["kind"]) for entry in plan["drift"]} == {(rig.address("gemma"), "missing")}
    assert steps(plan) == [("load", rig.address("gemma"))]
    rig.workspace.apply(0)
    assert rig.residents() == {"gemma"}
    rig.workspace.expect_nothing_to_do()


def test_a_model_whose_process_died_is_shown_by_ollama_all_the_same_until_a_request_starts_it_again(bench: Bench) -> None:
    """What it shows is believed: the next request loads it, so clients are served. Where the card is probed, `doctor` says `not_on_gpu`."""
    rig = bench.rig("ollama", ROOM_FOR_ONE)
    rig.want("gemma")
    rig.workspace.apply(0)
    rig.server.process.kill_children()
    wait_until(lambda: rig.cards[0].used == 0, 20, "its memory comes back")
    assert rig.residents() == {"gemma"}
    rig.workspace.expect_nothing_to_do()
    rig.ollama.post("/api/generate", {"model": "gemma:latest", "prompt": "Hi", "stream": False, "options": {"num_predict": 1}})
    assert rig.cards[0].used > 0
    assert steps(rig.workspace.plan(2)) == [("update", rig.address("gemma"))]  # that request had a keep-alive of its own


def test_a_model_that_the_router_does_not_have_is_unplaced_as_not_installed(bench: Bench) -> None:
    rig = bench.rig("llamacpp", ROOM_FOR_ONE)
    rig.want("gemma", "absent")
    plan = rig.workspace.plan(3)
    assert reasons(plan, "absent") == {"not_installed"}
    told = rig.workspace.apply(3)
    assert "absent" in told.out
    assert rig.residents() == {"gemma"}


def test_a_pull_that_finds_nothing_fails_its_model_and_leaves_the_residents(bench: Bench) -> None:
    rig = bench.rig("ollama", ROOM_FOR_ONE * 2)
    registry = bench.registry()
    absent = registry.name("absent:latest")
    rig.workspace.want({"gemma": rig.model(), absent: rig.model()})
    assert ("pull", rig.address(absent)) in steps(rig.workspace.plan(2))
    told = rig.workspace.apply(3)
    assert "absent" in told.out + told.err
    assert rig.residents() == {"gemma"}


@pytest.mark.parametrize(("key", "says"), [("wrong", "key_refused"), (None, "missing_key")])
def test_a_refused_key_makes_the_engine_unknown_and_plan_only_warns(bench: Bench, key: str | None, says: str) -> None:
    server = bench.router(key="right")
    workspace = bench.workspace()
    engine = {"kind": "llamacpp", "url": server.url, "auth": {"bearer": "env:BOX_KEY"}}
    workspace.declare({"llamacpp": engine}, (), RAM)
    workspace.want({"gemma": {"engine": "llamacpp", "vram": f"{NEED}B", "residency": "cpu"}})
    variables = {"BOX_KEY": key} if key else {}
    plain = workspace.run("plan", variables=variables).expect(0)
    assert ("refuses the key" if key else "BOX_KEY") in plain.out
    facts = workspace.run("facts", "--format", "json", variables=variables)
    assert says in facts.out
    assert "wrong" not in plain.out + plain.err + facts.out

    workspace.apply(0, variables={"BOX_KEY": "right"})
    assert server.residents() == {"gemma"}
    assert all("right" not in file.read_text(errors="replace") for file in workspace.folder.rglob("*") if file.is_file())


def test_an_engine_that_is_down_is_unknown_and_the_rest_goes_on(bench: Bench) -> None:
    rig = bench.rig("ollama", ROOM_FOR_ONE)
    gone = bench.router()
    gone.kill()
    engines = {"ollama": {"url": rig.recorder.url}, "llamacpp": {"url": gone.url}}
    rig.workspace.declare(engines, (ROOM_FOR_ONE,), RAM)
    rig.workspace.want({"gemma": rig.model()})
    plan = rig.workspace.plan(2)
    assert [entry["node"] for entry in plan["deferred"]] == ["box"]
    rig.workspace.apply(4)
    assert rig.residents() == {"gemma"}
