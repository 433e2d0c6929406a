"""What each action sends, when it counts as done, and when it sends nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted import GIB, Room, ScriptedEngine, loaded, refused

from reconciler.engines.protocol import PullProgress
from reconciler.execution import ExecutionOptions, StepProgress
from reconciler.fleet import (
    ContextVia,
    EngineId,
    EngineKind,
    EngineSpec,
    Ensure,
    LoadKey,
    Problem,
    Residency,
    Resident,
    ResidentStatus,
    Unreachable,
)
from reconciler.planning import Action
from reconciler.state import Measurement, StepStatus


def test_a_load_is_sent_waited_for_recorded_and_measured() -> None:
    room = Room()
    address = room.want("m:latest")
    step = room.step(Action.LOAD, "m:latest", grows=GIB)
    outcome = room.run()
    assert room.engine.log == [("load", "m:latest")]
    assert (outcome.exit_code, outcome.done, outcome.result) == (0, 1, "done")
    assert room.state.order == [("started", step.id), ("done", step.id)]
    row = room.state.replicas[address]
    assert (row.vram_bytes, row.observed_context, row.observed_gpu_fraction, row.observed_pinned) == (GIB, 4096, 1.0, True)
    assert room.state.measurements == [Measurement(LoadKey(EngineKind.OLLAMA, "m:latest", None), pytest.approx(2.0, abs=0.6))]


def test_a_context_that_the_server_decides_is_not_held_against_the_load() -> None:
    room = Room()
    address = room.want("m:latest", context=8192, context_via=ContextVia.ENGINE)
    room.engine.shown["m:latest"] = loaded("m:latest", context=4096)
    room.step(Action.LOAD, "m:latest", grows=GIB)
    assert room.run().exit_code == 0
    row = room.state.replicas[address]
    assert (row.context, row.observed_context) == (8192, 4096)


def test_an_engine_that_reports_no_bytes_is_charged_with_those_of_the_plan() -> None:
    room = Room(EngineKind.LLAMACPP)
    address = room.want("m")
    room.engine.shown["m"] = Resident("m")
    room.step(Action.LOAD, "m", grows=3 * GIB)
    room.run()
    assert room.state.replicas[address].vram_bytes == 3 * GIB


def test_what_is_already_so_is_not_sent_again() -> None:
    room = Room()
    for name, action in (("a:latest", Action.LOAD), ("b:latest", Action.RELOAD), ("c:latest", Action.UPDATE), ("d:latest", Action.WAIT)):
        room.want(name)
        room.step(action, name)
        room.engine.residents[name] = loaded(name)
    room.want("p:latest", ensure=Ensure.PRESENT)
    room.step(Action.PULL, "p:latest")
    room.step(Action.UNLOAD, "gone:latest")
    outcome = room.run()
    assert room.engine.log == []
    assert (outcome.satisfied, outcome.exit_code) == (6, 0)
    assert room.state.order == []  # nothing was sent, so nothing is journaled as started
    assert {status for status, _ in room.state.journaled.values()} == {StepStatus.SATISFIED}


def test_running_the_same_plan_twice_sends_nothing_the_second_time() -> None:
    room = Room()
    room.want("m:latest")
    room.engine.residents["x:latest"] = loaded("x:latest")
    unload = room.step(Action.UNLOAD, "x:latest", frees=GIB)
    room.step(Action.LOAD, "m:latest", grows=GIB, needs=[unload])
    assert room.run().done == 2
    sent = list(room.engine.log)
    assert room.run().satisfied == 2
    assert room.engine.log == sent


def test_what_a_load_sends_is_what_the_model_asks_for() -> None:
    room = Room()
    room.want("tag", context=8192)
    room.want("req", context=8192, context_via=ContextVia.REQUEST, options={"num_batch": 256})
    room.want("cpu", residency=Residency.CPU, keep_alive=60.0)
    room.engine.shown["cpu:latest"] = loaded("cpu:latest", fraction=0.0, pinned=False)
    for name in ("tag", "req", "cpu"):
        room.step(Action.LOAD, name)
    assert room.run().exit_code == 0
    sent = {request.name: (request.keep_alive, dict(request.options)) for request in room.engine.requests}
    assert sent == {
        "tag:latest-c8192": (-1.0, {}),
        "req:latest": (-1.0, {"num_batch": 256, "num_ctx": 8192}),
        "cpu:latest": (60.0, {"num_gpu": 0}),
    }


def test_a_load_is_done_when_it_shows_and_not_when_the_request_returned() -> None:
    room = Room(kind=EngineKind.LLAMACPP)
    room.engine.load_takes = 40.0
    address = room.want("m")
    room.step(Action.LOAD, "m")
    outcome = room.run()
    assert outcome.done == 1
    assert outcome.seconds >= 40
    assert address in room.state.replicas


def test_a_load_that_fails_behind_an_answer_of_yes_is_found_by_looking() -> None:
    room = Room(kind=EngineKind.LLAMACPP)
    address = room.want("m")
    room.engine.fails["load", "m"] = [refused()]
    step = room.step(Action.LOAD, "m")
    outcome = room.run()
    assert room.codes(outcome) == {step.id: "load_failed"}
    assert outcome.exit_code == 3
    assert address not in room.state.replicas


def test_the_failure_of_an_earlier_load_does_not_fail_this_one() -> None:
    room = Room(kind=EngineKind.LLAMACPP)
    room.want("m")
    room.engine.failed_loads.add("m")
    room.step(Action.LOAD, "m")
    assert room.run().exit_code == 0


def test_a_load_request_that_is_refused_fails_with_its_code() -> None:
    room = Room()
    room.want("m:latest")
    room.engine.fails["load", "m:latest"] = [refused("out_of_memory")]
    step = room.step(Action.LOAD, "m:latest")
    outcome = room.run()
    assert room.codes(outcome) == {step.id: "out_of_memory"}
    assert "the engine says no" in (outcome.failures[0].message or "")
    assert room.state.journaled[step.id][0] is StepStatus.FAILED


def test_a_load_whose_answer_was_lost_is_done_when_the_model_is_there() -> None:
    room = Room()
    room.want("m:latest")
    room.step(Action.LOAD, "m:latest")

    async def load(request: object) -> None:
        room.engine.residents["m:latest"] = loaded("m:latest")
        raise Unreachable(Problem("connection reset"))

    room.engine.load = load  # type: ignore[method-assign, assignment]
    assert room.run().done == 1


def test_a_slow_load_is_not_cut_short_of_the_load_timeout() -> None:
    room = Room(load_timeout=900)
    room.engine.load_takes = 890
    room.want("m:latest")
    room.step(Action.LOAD, "m:latest")
    assert room.run().done == 1


def test_a_load_that_hangs_ends_with_the_load_timeout() -> None:
    room = Room(load_timeout=60)
    room.engine.hangs = True
    room.want("m:latest")
    step = room.step(Action.LOAD, "m:latest")
    outcome = room.run()
    assert room.codes(outcome) == {step.id: "load_timeout"}
    assert 60 <= outcome.seconds < 70
    assert room.engine.loading == 0  # the request was ended too


@pytest.mark.parametrize(
    ("shown", "code"),
    [
        (loaded("m:latest-c8192", fraction=0.5, context=8192), "cpu_fallback"),
        (loaded("m:latest-c8192", context=4096), "context_differs"),
        (loaded("m:latest-c8192", context=8192, pinned=False), "keep_alive_differs"),
    ],
)
def test_a_load_that_came_out_otherwise_is_a_failure_that_says_how(shown: Resident, code: str) -> None:
    room = Room()
    address = room.want("m", context=8192)
    room.engine.shown["m:latest-c8192"] = shown
    step = room.step(Action.LOAD, "m")
    outcome = room.run()
    assert room.codes(outcome) == {step.id: code}
    assert address not in room.state.replicas
    assert room.state.measurements == []


def test_a_field_that_the_engine_does_not_tell_speaks_against_nothing() -> None:
    room = Room()
    address = room.want("m", context=8192)
    room.engine.shown["m:latest-c8192"] = Resident("m:latest-c8192", size_bytes=0, vram_bytes=0)
    room.step(Action.LOAD, "m")
    assert room.run().exit_code == 0
    row = room.state.replicas[address]
    assert (row.observed_context, row.observed_gpu_fraction, row.observed_pinned) == (None, None, None)
    assert room.state.learned == []


def test_a_model_on_a_node_without_cards_is_not_called_a_fallback() -> None:
    room = Room(cards=0)
    room.want("m:latest")
    room.engine.shown["m:latest"] = loaded("m:latest", fraction=0.0)
    room.step(Action.LOAD, "m:latest")
    assert room.run().exit_code == 0


def test_names_of_one_blob_are_one_resident() -> None:
    room = Room()
    room.want("m", context=4096)
    room.engine.blobs = {"m:latest-c4096": "sha256-1"}
    room.engine.residents["m:latest"] = replace(loaded("m:latest"), blob="sha256-1")
    room.step(Action.LOAD, "m")
    assert room.run().satisfied == 1


def test_a_load_of_what_is_being_loaded_only_waits() -> None:
    room = Room(kind=EngineKind.LLAMACPP)
    room.want("m")
    room.engine.residents["m"] = Resident("m", ResidentStatus.LOADING)
    room.step(Action.LOAD, "m")
    room.engine.looks = -3

    original = room.engine.observe

    async def observe(wanted: object = ()) -> object:
        if room.engine.looks >= 2:
            room.engine.residents["m"] = Resident("m")
        return await original()

    room.engine.observe = observe  # type: ignore[method-assign, assignment]
    assert room.run().done == 1
    assert room.engine.log == []


def test_a_load_is_skipped_when_the_model_came_otherwise_than_wanted_meanwhile() -> None:
    room = Room()
    room.want("m:latest")
    step = room.step(Action.LOAD, "m:latest")
    room.engine.residents["m:latest"] = loaded("m:latest", fraction=0.0)
    assert room.codes(room.run()) == {step.id: "changed_since_plan"}
    assert room.engine.log == []


def test_a_load_is_skipped_when_the_model_is_not_installed() -> None:
    room = Room()
    room.want("m:latest")
    room.engine.installed.clear()
    step = room.step(Action.LOAD, "m:latest")
    outcome = room.run()
    assert (room.codes(outcome), outcome.exit_code) == ({step.id: "not_installed"}, 3)
    assert room.engine.log == []


@pytest.mark.parametrize(("newcomer", "code"), [(loaded("z:latest", 2 * GIB), "no_room"), (loaded("z:latest", GIB), None)])
def test_a_load_is_skipped_when_a_resident_that_nobody_reckoned_with_took_its_room(newcomer: Resident, code: str | None) -> None:
    room = Room()
    room.want("m:latest")
    room.engine.shown["m:latest"] = loaded("m:latest", 7 * GIB)
    step = room.step(Action.LOAD, "m:latest", grows=7 * GIB)
    facts = _facts_of(room)
    room.engine.residents["z:latest"] = newcomer
    assert room.codes(room.run(facts)) == {step.id: code}


def test_a_newcomer_of_unknown_size_is_not_taken_for_nothing() -> None:
    room = Room()
    room.want("m:latest")
    step = room.step(Action.LOAD, "m:latest", grows=GIB)
    facts = _facts_of(room)
    room.engine.residents["z:latest"] = Resident("z:latest")
    assert room.codes(room.run(facts)) == {step.id: "no_room"}


def _facts_of(room: Room):  # type: ignore[no-untyped-def]
    import asyncio

    return asyncio.run(room.facts())


def test_an_unload_is_done_when_the_memory_came_back_late() -> None:
    room = Room()
    room.engine.residents["x:latest"] = loaded("x:latest")
    room.engine.release_takes = 12.0
    room.step(Action.UNLOAD, "x:latest")
    outcome = room.run()
    assert outcome.done == 1
    assert outcome.seconds >= 12
    assert room.engine.log == [("unload", "x:latest")]


def test_an_unload_that_does_not_take_effect_is_a_failure() -> None:
    room = Room(options=ExecutionOptions(settle_seconds=10))
    room.engine.residents["x:latest"] = loaded("x:latest")
    room.engine.release_takes = 1000.0
    step = room.step(Action.UNLOAD, "x:latest")
    assert room.codes(room.run()) == {step.id: "still_resident"}


def test_an_unloaded_replica_is_no_longer_owned() -> None:
    room = Room()
    address = room.want("m:latest")
    room.step(Action.LOAD, "m:latest")
    room.run()
    assert address in room.state.replicas
    room.steps.clear()
    room.placed.clear()
    room.step(Action.UNLOAD, "m:latest")
    room.run()
    assert address not in room.state.replicas


def test_a_reload_unloads_waits_and_loads() -> None:
    room = Room()
    address = room.want("m:latest")
    room.engine.residents["m:latest"] = loaded("m:latest", fraction=0.0)
    room.engine.release_takes = 5.0
    room.step(Action.RELOAD, "m:latest", reason="cpu_fallback")
    outcome = room.run()
    assert outcome.done == 1
    assert room.engine.log == [("unload", "m:latest"), ("load", "m:latest")]
    assert room.state.replicas[address].observed_gpu_fraction == 1.0


def test_a_reload_for_changed_options_is_sent_though_nothing_can_be_seen_to_differ() -> None:
    room = Room()
    room.want("m:latest", options={"num_batch": 256})
    room.engine.residents["m:latest"] = loaded("m:latest")
    room.step(Action.RELOAD, "m:latest", reason="options_changed")
    assert room.run().done == 1
    assert room.engine.requests[0].options == {"num_batch": 256}


def test_a_reload_whose_load_fails_says_that_the_model_is_gone() -> None:
    room = Room()
    room.want("m:latest")
    room.engine.residents["m:latest"] = loaded("m:latest", fraction=0.0)
    room.engine.fails["load", "m:latest"] = [refused()]
    room.step(Action.RELOAD, "m:latest", reason="cpu_fallback")
    outcome = room.run()
    assert outcome.failures[0].code == "out_of_memory"
    assert "was unloaded and could not be loaded again" in (outcome.failures[0].message or "")


def test_a_reload_unloads_nothing_when_it_could_not_load_again() -> None:
    room = Room()
    room.want("m:latest")
    room.engine.residents["m:latest"] = loaded("m:latest", fraction=0.0)
    room.engine.installed.clear()
    room.step(Action.RELOAD, "m:latest", reason="cpu_fallback")
    assert room.run().skipped == 1
    assert room.engine.log == []


def test_an_update_pins_again_with_the_context_it_runs_with() -> None:
    room = Room()
    room.want("m:latest")
    room.engine.residents["m:latest"] = loaded("m:latest", context=2048, pinned=False)
    room.step(Action.UPDATE, "m:latest")
    assert room.run().done == 1
    assert room.engine.log == [("load", "m:latest")]
    assert dict(room.engine.requests[0].options) == {"num_ctx": 2048}
    assert room.state.measurements == []


def test_a_pull_fetches_the_base_and_a_tag_is_made_of_it() -> None:
    room = Room()
    room.want("m", context=8192)
    room.engine.installed.clear()
    pull = room.step(Action.PULL, "m")
    tag = room.step(Action.TAG, "m", after={"context": 8192}, needs=[pull])
    room.step(Action.LOAD, "m", needs=[tag])
    assert room.run().done == 3
    assert room.engine.log == [
        ("pull", "m:latest"),
        ("derive", "m:latest-c8192 from m:latest with {'num_ctx': 8192}"),
        ("load", "m:latest-c8192"),
    ]
    assert [(event.completed, event.total) for event in room.events if isinstance(event, StepProgress)] == [(1, 2), (2, 2)]


def test_a_pull_that_the_disk_of_its_node_has_no_room_for_ends_before_it_has_filled_it() -> None:
    def pulled(disk: int | None, total: int) -> dict[str, str | None]:
        room = Room(disk=disk)
        room.want("m:latest")
        room.engine.installed = {"other:latest"}  # 7 bytes
        room.engine.pull_lines = (PullProgress("pulling", 0, 10), PullProgress("pulling", 10, total), PullProgress("success", total, total))
        room.step(Action.PULL, "m:latest")
        codes = room.codes(room.run())
        assert ("m:latest" in room.engine.installed) == (set(codes.values()) == {None})
        return codes

    assert list(pulled(117, 101).values()) == ["disk_full"]
    assert list(pulled(117, 100).values()) == [None]
    assert list(pulled(None, 10**15).values()) == [None]


def test_what_another_engine_of_the_node_keeps_on_the_disk_counts_there_and_once_only_where_both_list_the_same() -> None:
    def pulled(disk: int, *others: str) -> list[str | None]:
        room = Room(disk=disk)
        room.want("m:latest")
        room.engine.installed = {"other:latest", "more:latest"}  # 7 bytes, as each name
        spec = EngineSpec(EngineId("a", "second"), EngineKind.OLLAMA, "http://a:2")
        room.beside = ScriptedEngine(spec, room.time)
        room.beside.installed = set(others)
        room.engine.pull_lines = (PullProgress("pulling", 0, 100), PullProgress("success", 100, 100))
        room.step(Action.PULL, "m:latest")
        return [*room.codes(room.run()).values()]

    assert pulled(124) == [None]
    assert pulled(124, "other:latest", "more:latest") == [None]  # one folder
    assert pulled(130, "other:latest") == ["disk_full"]  # each has its own copy
    assert pulled(131, "other:latest") == [None]
    assert pulled(137, "other:latest", "more:latest", "third:latest") == ["disk_full"]


def test_a_pull_asks_for_no_room_for_layers_that_another_model_has_on_the_disk() -> None:
    room = Room(disk=117)
    room.want("m:latest")
    room.engine.installed = {"other:latest"}
    lines = [("pulling manifest", None, None), ("pulling", 1000, 1000), ("pulling", 1000, 1100), ("pulling", 1100, 1100)]
    room.engine.pull_lines = tuple(PullProgress(*line) for line in lines)
    room.step(Action.PULL, "m:latest")
    assert list(room.codes(room.run()).values()) == [None]


def test_a_tag_whose_base_is_installed_is_made_without_a_download() -> None:
    room = Room()
    room.want("m", context=8192)
    room.engine.installed = {"m:latest"}
    room.step(Action.TAG, "m", after={"context": 8192})
    room.run()
    assert [verb for verb, _ in room.engine.log] == ["derive"]


def test_a_model_that_only_has_to_be_there_is_recorded_as_present() -> None:
    room = Room()
    address = room.want("m:latest", ensure=Ensure.PRESENT, keep_alive=None)
    room.engine.installed.clear()
    room.step(Action.PULL, "m:latest")
    assert room.run().exit_code == 0
    assert room.state.replicas[address].ensure == "present"


def test_a_pull_that_fails_unloads_nothing_and_names_itself_as_what_was_waited_for() -> None:
    room = Room()
    room.want("m:latest")
    room.engine.installed.clear()
    room.engine.residents["x:latest"] = loaded("x:latest", 8 * GIB)
    room.engine.fails["pull", "m:latest"] = [refused("pull_failed")]
    pull = room.step(Action.PULL, "m:latest")
    unload = room.step(Action.UNLOAD, "x:latest", needs=[pull])
    load = room.step(Action.LOAD, "m:latest", needs=[pull, unload])
    outcome = room.run()
    assert room.codes(outcome) == {pull.id: "pull_failed", unload.id: "need_not_met", load.id: "need_not_met"}
    assert [result.waited_for for result in outcome.results] == [None, pull.id, pull.id]
    assert room.engine.log == [("pull", "m:latest")]
    assert "x:latest" in room.engine.residents


def test_a_few_failed_looks_are_put_up_with() -> None:
    room = Room()
    room.want("m:latest")
    facts = _facts_of(room)
    room.engine.down_looks = 2
    room.step(Action.LOAD, "m:latest")
    assert room.run(facts).done == 1


def test_an_engine_that_stays_away_fails_its_step_as_unreachable_and_keeps_what_is_owned() -> None:
    room = Room()
    address = room.want("m:latest")
    room.step(Action.LOAD, "m:latest")
    room.run()
    facts = _facts_of(room)
    room.engine.down = True
    row = room.state.replicas[address]
    outcome = room.run(facts)
    assert outcome.failures[0].code == "unreachable"
    assert "connection refused" in (outcome.failures[0].message or "")
    assert room.state.replicas[address] == row
    assert not outcome.facts.nodes["a"].engines["e"].reachable


def test_an_engine_killed_while_it_loads_fails_its_step() -> None:
    room = Room(load_timeout=600)
    room.want("m:latest")
    room.engine.hangs = True
    step = room.step(Action.LOAD, "m:latest")
    facts = _facts_of(room)
    original = room.engine.observe

    async def observe(wanted: object = ()) -> object:
        room.engine.down = bool(room.engine.log)
        return await original()

    room.engine.observe = observe  # type: ignore[method-assign, assignment]
    outcome = room.run(facts)
    assert room.codes(outcome) == {step.id: "unreachable"}
    assert outcome.seconds < 30


def test_a_model_that_another_load_drove_out_is_not_called_done() -> None:
    room = Room()
    first, second = room.want("a:latest"), room.want("b:latest")
    room.engine.evicts = True
    load = room.step(Action.LOAD, "a:latest")
    room.step(Action.LOAD, "b:latest")
    outcome = room.run()
    assert room.codes(outcome)[load.id] == "did_not_stay"
    assert outcome.exit_code == 3
    assert second in room.state.replicas
    assert first in room.state.replicas  # it was brought there by us, so its absence is drift for the next plan
    assert room.state.journaled[load.id][0] is StepStatus.FAILED


def test_an_action_of_a_later_version_is_skipped_and_told() -> None:
    room = Room()
    step = room.step(Action.CREATE, "m:latest")
    assert room.codes(room.run()) == {step.id: "not_supported"}


def test_a_step_on_an_engine_that_the_inventory_has_not_is_skipped() -> None:
    room = Room()
    step = room.step(Action.LOAD, "m:latest", node="elsewhere")
    assert room.codes(room.run()) == {step.id: "unknown_engine"}


def test_installed_models_are_matched_by_their_whole_name() -> None:
    room = Room()
    room.want("m:latest")
    room.engine.installed = {"m:latest2", "xm:latest"}
    step = room.step(Action.LOAD, "m:latest")
    assert room.codes(room.run()) == {step.id: "not_installed"}


def test_a_request_that_hangs_after_the_model_is_there_does_not_hold_up_the_run() -> None:
    room = Room(options=ExecutionOptions(settle_seconds=10))
    room.want("m:latest")
    room.engine.hangs = True
    step = room.step(Action.LOAD, "m:latest")
    original = room.engine.observe

    async def observe(wanted: object = ()) -> object:
        if room.engine.log:
            room.engine.residents["m:latest"] = loaded("m:latest")
        return await original()

    room.engine.observe = observe  # type: ignore[method-assign, assignment]
    outcome = room.run()
    assert room.codes(outcome) == {step.id: None}
    assert 10 <= outcome.seconds < 20


def test_a_model_that_turns_out_to_run_elsewhere_is_never_sent_a_load() -> None:
    room = Room()
    room.want("big:cloud")
    room.engine.remote["big:cloud"] = "https://ollama.com:443"
    room.step(Action.LOAD, "big:cloud")
    outcome = room.run()
    assert (outcome.exit_code, outcome.results[0].code, room.engine.log) == (3, "runs_elsewhere", [])
