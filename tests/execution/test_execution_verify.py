"""`verify`: what a load must show before it counts as done, and what becomes of one that does not."""

from __future__ import annotations

import pytest
from scripted import GIB, Room, refused

from reconciler.execution import ExecutionOptions
from reconciler.fleet import ContextVia, Problem, Unreachable, Verify
from reconciler.planning import Action, CardBalance


@pytest.mark.parametrize(
    ("verify", "code", "said"),
    [
        (Verify(embedding_length=768), None, ""),
        (Verify(embedding_length=1024), "verify_failed", "makes vectors of 768 numbers, wanted 1024"),
        (Verify(min_tokens_per_second=100), None, ""),
        (Verify(min_tokens_per_second=100.5), "verify_failed", "writes 100 tokens a second, wanted 100.5"),
    ],
)
@pytest.mark.parametrize("action", [Action.LOAD, Action.RELOAD])
def test_a_load_is_done_only_when_it_shows_what_was_asked(action: Action, verify: Verify, code: str | None, said: str) -> None:
    room = Room()
    address = room.want("m:latest", verify=verify)
    step = room.step(action, "m:latest", grows=GIB)
    outcome = room.run()
    assert room.codes(outcome) == {step.id: code}
    assert (address in room.state.replicas) is (code is None)
    assert ("m:latest" in room.engine.residents) is (code is None), "what was found wrong does not stay"
    assert said in (outcome.results[0].message or "")
    assert ("it was unloaded again: see `gpurec doctor`" in (outcome.results[0].message or "")) is (code is not None)


def test_a_model_without_verify_is_not_asked_anything() -> None:
    room = Room()
    room.want("m:latest")
    room.step(Action.LOAD, "m:latest", grows=GIB)
    room.run()
    assert room.engine.log == [("load", "m:latest")]


def test_the_request_goes_with_the_options_of_the_load() -> None:
    room = Room()
    room.want("m:latest", context=8192, context_via=ContextVia.REQUEST, verify=Verify(min_tokens_per_second=1))
    room.step(Action.LOAD, "m:latest", grows=GIB)
    room.run()
    assert [dict(request.options) for request in room.engine.requests] == [{"num_ctx": 8192}, {"num_ctx": 8192}]


def test_a_model_that_refuses_the_request_cannot_be_verified() -> None:
    room = Room()
    room.want("m:latest", verify=Verify(min_tokens_per_second=1))
    step = room.step(Action.LOAD, "m:latest", grows=GIB)
    room.engine.fails["speed", "m:latest"] = [refused("trial_failed")]
    outcome = room.run()
    assert room.codes(outcome) == {step.id: "verify_failed"}
    assert room.engine.residents == {}


def test_a_server_that_breaks_off_meanwhile_has_not_shown_it_and_the_load_is_not_taken_for_verified() -> None:
    room = Room()
    address = room.want("m:latest", verify=Verify(min_tokens_per_second=1))
    step = room.step(Action.LOAD, "m:latest", grows=GIB)
    room.engine.fails["speed", "m:latest"] = [Unreachable(Problem("broke off"), "cut")]
    assert room.codes(room.run()) == {step.id: "verify_failed"}
    assert room.engine.log == [("load", "m:latest"), ("speed", "m:latest"), ("unload", "m:latest")]
    assert address not in room.state.replicas


def test_what_was_found_wrong_and_cannot_be_taken_back_is_told_as_both() -> None:
    room = Room()
    room.want("m:latest", verify=Verify(embedding_length=1))
    step = room.step(Action.LOAD, "m:latest", grows=GIB)
    room.engine.fails["unload", "m:latest"] = [refused("engine_error")]
    outcome = room.run()
    assert room.codes(outcome) == {step.id: "verify_unfinished"}
    assert "wanted 1, and cannot be taken back" in (outcome.results[0].message or "")


def test_a_failed_verify_gives_its_room_back_to_the_next() -> None:
    room = Room(options=ExecutionOptions(keep_going=True, parallelism=1), balances=(CardBalance("a", 0, 8 * GIB, GIB, 0, True, 0, 0, 0),))
    room.want("m:latest", verify=Verify(embedding_length=1))
    room.want("n:latest")
    room.step(Action.LOAD, "m:latest", grows=GIB)
    room.step(Action.LOAD, "n:latest", grows=GIB)
    outcome = room.run()
    assert (outcome.exit_code, set(room.engine.residents)) == (3, {"n:latest"})
