"""A busy model is given time before it is unloaded, and one that stays gets its keep-alive back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted import Room, loaded

from reconciler.engines.protocol import LoadRequest
from reconciler.execution import ExecutionOptions
from reconciler.fleet import EngineError, EngineKind, Problem, Unreachable
from reconciler.planning import Action

DRAIN = ExecutionOptions(drain_seconds=60, settle_seconds=10)
FORCED = ExecutionOptions(drain_seconds=60, settle_seconds=10, force=True)


def with_busy(until: float | None, options: ExecutionOptions = DRAIN, kind: EngineKind = EngineKind.LLAMACPP) -> Room:
    """A room with one resident that answers requests until then; None: its engine does not tell."""
    room = Room(kind=kind, options=options)
    room.engine.residents["x:latest"] = loaded("x:latest")
    if until is not None:
        room.engine.busy_until["x:latest"] = until
    room.step(Action.UNLOAD, "x:latest")
    return room


def test_a_busy_model_is_unloaded_as_soon_as_it_answers_nobody() -> None:
    room = with_busy(20)
    outcome = room.run()
    assert (outcome.done, room.engine.log) == (1, [("unload", "x:latest")])
    assert 20 <= outcome.seconds < 30


def test_one_that_stays_busy_is_skipped_with_nothing_sent_and_the_run_ends_with_3() -> None:
    room = with_busy(1000)
    outcome = room.run()
    assert (outcome.skipped, outcome.exit_code, room.engine.log) == (1, 3, [])
    assert outcome.results[0].message == "x:latest is still busy after 1m; --force unloads it all the same"


def test_force_unloads_it_after_that_time_and_without_a_drain_nothing_is_waited_for() -> None:
    forced = with_busy(1000, FORCED)
    assert forced.run().seconds >= 60
    at_once = with_busy(1000, ExecutionOptions())
    assert at_once.run().seconds < 10
    assert forced.engine.log == at_once.engine.log == [("unload", "x:latest")]


def test_where_busy_cannot_be_seen_the_unload_itself_waits_that_long() -> None:
    room = with_busy(None, kind=EngineKind.OLLAMA)
    room.engine.release_takes = 40.0
    outcome = room.run()
    assert (outcome.done, outcome.seconds >= 40) == (1, True)


@pytest.mark.parametrize(("pinned", "keep_alive"), [(True, -1.0), (False, 120.0)])
def test_what_is_still_resident_then_gets_its_keep_alive_back(pinned: bool, keep_alive: float) -> None:
    room = with_busy(None, kind=EngineKind.OLLAMA)
    room.engine.release_takes = 1000.0
    resident = replace(loaded("x:latest", context=2048, pinned=pinned), expires_in=None if pinned else 120.0)
    room.engine.residents["x:latest"] = resident
    outcome = room.run()
    assert (outcome.failed, outcome.exit_code) == (1, 3)
    assert room.engine.requests == [LoadRequest("x:latest", keep_alive, {"num_ctx": 2048})]
    assert "it has its keep-alive back" in (outcome.results[0].message or "")


def test_with_force_the_unload_stays_in_place() -> None:
    room = with_busy(None, FORCED, EngineKind.OLLAMA)
    room.engine.release_takes = 1000.0
    assert (room.run().failed, room.engine.requests) == (1, [])


def test_a_reload_waits_for_a_busy_model_too() -> None:
    room = Room(kind=EngineKind.LLAMACPP, options=DRAIN)
    room.want("x")
    room.engine.residents["x"] = loaded("x")
    room.engine.busy_until["x"] = 1000.0
    room.step(Action.RELOAD, "x", reason="asked_again")
    outcome = room.run()
    assert (outcome.skipped, room.engine.log) == (1, [])


@pytest.mark.parametrize("trouble", ["refused", "hangs", "down"])
def test_a_keep_alive_that_cannot_be_given_back_never_hides_why_the_model_stayed(trouble: str) -> None:
    room = with_busy(None, kind=EngineKind.OLLAMA)
    room.engine.release_takes = 1000.0
    room.engine.residents["x:latest"] = loaded("x:latest", context=2048)
    if trouble == "refused":
        room.engine.fails["load", "x:latest"] = [EngineError(Problem("did not answer within 25 s"), "timeout")]
    room.engine.hangs = trouble == "hangs"
    if trouble == "down":
        room.engine.fails["load", "x:latest"] = [Unreachable(Problem("cannot be connected to"), "refused")]
    outcome = room.run()
    result = outcome.results[0]
    assert (outcome.failed, result.code) == (1, "still_resident")
    assert "x:latest is still resident 1m after its unload" in (result.message or "")
    assert "its keep-alive could not be given back" in (result.message or "")
    assert outcome.seconds < 60 + 2 * DRAIN.settle_seconds


def test_a_second_look_that_fails_leaves_the_reason_for_which_an_unload_was_refused() -> None:
    room = with_busy(None, ExecutionOptions(tolerated_looks=0, poll_seconds=1), EngineKind.OLLAMA)
    refusal = EngineError(Problem("the engine says no"), "engine_error")
    room.engine.fails["unload", "x:latest"] = [refusal]
    room.engine.dies_after.add(("unload", "x:latest"))
    assert room.run().results[0].code == "engine_error"


def test_an_engine_that_goes_away_after_it_refused_a_load_leaves_its_own_reason() -> None:
    room = Room(kind=EngineKind.OLLAMA, options=ExecutionOptions(tolerated_looks=0, poll_seconds=1))
    room.want("x:latest")
    room.step(Action.LOAD, "x:latest")
    room.engine.installed.add("x:latest")
    room.engine.fails["load", "x:latest"] = [EngineError(Problem("CUDA error: out of memory"), "out_of_memory")]
    room.engine.dies_after.add(("load", "x:latest"))
    assert room.run().results[0].code == "out_of_memory"
