"""A whole run: what stops it, what it leaves in the state, and that the plan after it is empty."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from scripted import GIB, ListedState, Room, loaded, refused

from reconciler.execution import ExecutionOptions, ResidentLost, RunFinished, RunStarted, StepInterrupted, StepSkipped, StepStarted, execute
from reconciler.fleet import Applied, AppliedReplica, Desired, EngineId, EngineKind, Ensure, FleetFacts, StateError
from reconciler.planning import Action, make_plan
from reconciler.state import StepStatus, open_reader, open_writer


def facts_of(room: Room) -> FleetFacts:
    return asyncio.run(room.facts())


def owned(address: str, name: str, **fields: object) -> AppliedReplica:
    row = AppliedReplica(address, name, EngineId("a", "e"), name, keep_alive=-1.0, observed_context=4096, vram_bytes=1)
    return replace(row, **fields)  # type: ignore[arg-type]


def three_loads(**options: object) -> Room:
    room = Room(options=ExecutionOptions(**options))  # type: ignore[arg-type]
    for name in ("a:latest", "b:latest", "c:latest"):
        room.want(name)
        room.step(Action.LOAD, name)
    room.engine.fails["load", "a:latest"] = [refused()]
    return room


def test_after_the_first_failure_no_step_begins() -> None:
    room = three_loads()
    outcome = room.run()
    assert room.engine.log == [("load", "a:latest")]
    assert [result.code for result in outcome.results] == ["out_of_memory", "stopped", "stopped"]
    assert (outcome.exit_code, outcome.result) == (3, "failed")


def test_keep_going_does_what_does_not_need_the_failure() -> None:
    room = three_loads(keep_going=True)
    outcome = room.run()
    assert (outcome.done, outcome.failed, outcome.exit_code, outcome.result) == (2, 1, 3, "partial")


def test_max_fail_is_the_number_of_failures_put_up_with() -> None:
    room = three_loads(max_fail=1)
    room.engine.fails["load", "b:latest"] = [refused()]
    assert [result.code for result in room.run().results] == ["out_of_memory", "out_of_memory", "stopped"]


def test_what_runs_when_another_step_fails_is_let_settle() -> None:
    room = Room(nodes=("a", "b"))
    room.want("m:latest", "a")
    room.want("n:latest", "b")
    room.engines["a"].fails["load", "m:latest"] = [refused()]
    room.engines["b"].load_takes = 50
    room.step(Action.LOAD, "m:latest", node="a")
    room.step(Action.LOAD, "n:latest", node="b")
    assert (room.run().done, room.run().failed) == (1, 0)


def test_engines_load_at_the_same_time() -> None:
    room = Room(nodes=("a", "b", "c"))
    for node in room.nodes:
        room.engines[node].load_takes = 20
        room.want("m:latest", node)
        room.step(Action.LOAD, "m:latest", node=node)
    assert room.run().seconds < 30


def test_parallelism_bounds_the_steps_at_once() -> None:
    room = Room(nodes=("a", "b", "c"), options=ExecutionOptions(parallelism=1))
    for node in room.nodes:
        room.engines[node].load_takes = 20
        room.want("m:latest", node)
        room.step(Action.LOAD, "m:latest", node=node)
    assert room.run().seconds >= 60


def test_a_stop_lets_running_steps_settle_and_begins_no_more() -> None:
    room = three_loads()
    room.engine.fails.clear()
    listen = room.events.append

    def stop_at_first(event: object) -> None:
        listen(event)  # type: ignore[arg-type]
        if isinstance(event, StepStarted):
            room.stop.request_stop()

    room.events = type("Heard", (), {"append": staticmethod(stop_at_first)})()  # type: ignore[assignment]
    outcome = room.run()
    assert [(result.status, result.code) for result in outcome.results] == [
        (StepStatus.DONE, None),
        (StepStatus.SKIPPED, "interrupted"),
        (StepStatus.SKIPPED, "interrupted"),
    ]
    assert (outcome.exit_code, outcome.result, outcome.interrupted) == (130, "interrupted", True)
    assert len(room.state.replicas) == 1


def test_a_run_that_is_cut_journals_what_ran_as_interrupted() -> None:
    room = Room()
    room.want("m:latest")
    room.engine.hangs = True
    step = room.step(Action.LOAD, "m:latest")
    with pytest.raises(asyncio.CancelledError):
        room.run(cut_after=5.0)
    assert room.state.journaled[step.id][0] is StepStatus.INTERRUPTED
    assert any(isinstance(event, StepInterrupted) for event in room.events)
    assert room.engine.loading == 0


def test_a_run_that_is_cut_journals_what_never_began() -> None:
    room = Room(options=ExecutionOptions(parallelism=1))
    room.want("m:latest")
    room.want("n:latest")
    room.engine.hangs = True
    first, second = room.step(Action.LOAD, "m:latest"), room.step(Action.LOAD, "n:latest")
    with pytest.raises(asyncio.CancelledError):
        room.run(cut_after=5.0)
    assert room.state.journaled[first.id][0] is StepStatus.INTERRUPTED
    assert room.state.journaled[second.id] == (StepStatus.SKIPPED, "interrupted: the run was cut before it began")
    assert [event.step.id for event in room.events if isinstance(event, StepSkipped)] == [second.id]


def test_an_adopted_replica_is_owned_without_a_word_to_its_engine() -> None:
    room = Room()
    address = room.want("m:latest")
    room.engine.residents["m:latest"] = loaded("m:latest")
    room.step(Action.ADOPT, "m:latest")
    facts = facts_of(room)
    room.engine.looks = 0
    assert room.run(facts).done == 1
    assert (room.engine.log, room.engine.looks) == ([], 0)
    assert room.state.replicas[address].observed_context == 4096


def test_a_replica_without_a_step_that_a_load_of_ours_pushed_out_is_told_and_the_run_is_not_complete() -> None:
    room = Room()
    kept, _ = room.want("kept:1"), room.want("new:1")
    room.engine.residents["kept:1"] = loaded("kept:1")
    room.engine.evicts = True
    room.step(Action.LOAD, "new:1", grows=GIB)
    outcome = room.run()
    assert [(lost.address, lost.ours) for lost in outcome.lost] == [(kept, True)]
    assert (outcome.failed, outcome.exit_code, outcome.result) == (0, 3, "partial")
    assert [event.address for event in room.events if isinstance(event, ResidentLost)] == [kept]


@pytest.mark.parametrize(("pinned", "lost"), [(True, ["model.stranger:1@a/e"]), (False, [])])
def test_a_pinned_stranger_that_a_load_of_ours_pushed_out_is_told_and_harms_nothing(pinned: bool, lost: list[str]) -> None:
    room = Room()
    room.want("new:1")
    room.engine.residents["stranger:1"] = loaded("stranger:1", pinned=pinned)
    room.engine.evicts = True
    room.step(Action.LOAD, "new:1", grows=GIB)
    outcome = room.run()
    assert [one.address for one in outcome.lost] == lost
    assert outcome.exit_code == 0


def test_what_the_plan_unloads_is_not_lost() -> None:
    room = Room()
    room.engine.residents["old:1"] = loaded("old:1")
    room.step(Action.UNLOAD, "old:1", frees=GIB)
    assert room.run().lost == ()


def test_a_replica_that_left_before_it_could_be_adopted_is_not_owned() -> None:
    room = Room()
    address = room.want("m:latest")
    step = room.step(Action.ADOPT, "m:latest")
    outcome = room.run()
    assert room.codes(outcome) == {step.id: "changed_since_plan"}
    assert (outcome.exit_code, address in room.state.replicas) == (3, False)


def test_an_empty_run_records_what_is_observed_and_asks_nobody() -> None:
    room = Room()
    address = room.want("m:latest")
    room.state = ListedState(Applied("l", 1, {address: owned(address, "m:latest")}))
    room.engine.residents["m:latest"] = loaded("m:latest", 5 * GIB)
    facts = facts_of(room)
    room.engine.looks = 0
    assert room.run(facts).exit_code == 0
    assert room.engine.looks == 0
    assert room.state.replicas[address].vram_bytes == 5 * GIB
    assert room.state.facts == facts
    assert isinstance(room.events[0], RunStarted)
    assert isinstance(room.events[-1], RunFinished)


def test_a_replica_without_a_step_that_nobody_owned_is_not_taken() -> None:
    room = Room()
    address = room.want("m:latest")
    room.engine.residents["m:latest"] = loaded("m:latest")
    room.run()
    assert address not in room.state.replicas


def test_options_that_wait_to_be_changed_are_not_recorded_as_applied() -> None:
    room = Room()
    address = room.want("m:latest", options={"num_batch": 256})
    before = owned(address, "m:latest")
    room.state = ListedState(Applied("l", 1, {address: before}))
    room.engine.residents["m:latest"] = loaded("m:latest")
    room.run()
    assert room.state.replicas[address] == before


def test_a_replica_whose_step_failed_keeps_its_row_of_before() -> None:
    room = Room()
    address = room.want("m:latest", options={"num_batch": 256})
    before = owned(address, "m:latest")
    room.state = ListedState(Applied("l", 1, {address: before}))
    room.engine.residents["m:latest"] = loaded("m:latest")
    room.engine.fails["unload", "m:latest"] = [refused("engine_error")]
    room.step(Action.RELOAD, "m:latest", reason="options_changed")
    assert room.run().failed == 1
    assert room.state.replicas[address] == before


def test_what_the_plan_found_gone_is_forgotten() -> None:
    room = Room()
    room.state = ListedState(Applied("l", 1, {"model.x@a/e": owned("model.x@a/e", "x")}))
    room.forgotten = ("model.x@a/e",)
    room.run()
    assert room.state.replicas == {}


def test_each_effect_is_recorded_before_the_next_step_begins() -> None:
    room = three_loads()
    room.engine.fails = {("load", "b:latest"): [refused()]}
    record = room.state.record
    seen: list[int] = []

    def counted(replicas: object, gone: object = ()) -> None:
        seen.append(len(room.engine.log))
        record(replicas, gone)  # type: ignore[arg-type]

    room.state.record = counted  # type: ignore[method-assign, assignment]
    room.run()
    assert seen[0] == 1


def test_a_lost_lease_ends_the_run_and_no_further_step_is_sent() -> None:
    room = three_loads(keep_going=True)

    def lost(*args: object) -> None:
        raise StateError.of("the lock of this run was taken over")

    room.state.step_started = lost  # type: ignore[method-assign, assignment]
    with pytest.raises(StateError, match="taken over"):
        room.run()
    assert room.engine.log == []


@pytest.mark.parametrize("kind", [EngineKind.OLLAMA, EngineKind.LLAMACPP])
def test_the_plan_after_a_complete_apply_is_empty_and_the_store_owns_it(tmp_path: Path, kind: EngineKind) -> None:
    room = Room(kind=kind, nodes=("a", "b"))
    for name in ("m", "n"):
        room.want(name, "a", vram=GIB, context=8192 if kind is EngineKind.OLLAMA else None)
    room.want("p", "a", ensure=Ensure.PRESENT, keep_alive=None)
    for engine in room.engines.values():
        engine.installed = {"m:latest", "n:latest", "p:latest"} if kind is EngineKind.OLLAMA else {"m", "n", "p"}
    wanted = Desired(tuple(replace(model, nodes=("a", "b")) for model in room.models))

    def plan_and_apply() -> list[str]:
        facts = facts_of(room)
        with open_writer(tmp_path / "s.db", command="apply") as state:
            plan = make_plan(room.fleet, wanted, facts, state.applied(), config_digest="c", created_at="")
            run = state.begin_run(plan.digest, "c", "apply")
            outcome = asyncio.run(
                execute(
                    plan,
                    room.fleet,
                    wanted,
                    facts=facts,
                    engines=lambda at: room.engines[at.node],
                    state=state,
                    run_id=run,
                    clock=room.time.clock,
                    sleep=room.time.sleep,
                )
            )
            state.finish_run(run, outcome.result)
            assert outcome.exit_code == 0, outcome.results
            return [step.id for step in plan.steps]

    assert plan_and_apply()
    sent = [list(engine.log) for engine in room.engines.values()]
    assert plan_and_apply() == []
    assert [list(engine.log) for engine in room.engines.values()] == sent
    reader = open_reader(tmp_path / "s.db")
    assert {row.model for row in reader.applied().replicas.values()} == {"m", "n", "p"}
    assert [record.result for record in reader.runs()] == ["done", "done"]
    reader.close()
