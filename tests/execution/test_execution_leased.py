"""A run that no longer holds its state sends nothing more, also in the middle of a step."""

from __future__ import annotations

import pytest
from scripted import Room, loaded

from reconciler.fleet import StateError
from reconciler.planning import Action


def lose_after(room: Room, proofs: int) -> None:
    """Another run takes the lock over when it has been proved so many times."""
    left = proofs

    def prove_held() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise StateError.of("the lock of this run was taken over by another")

    room.state.prove_held = prove_held  # type: ignore[method-assign]


@pytest.mark.parametrize("action", [Action.LOAD, Action.UNLOAD, Action.PULL, Action.REMOVE])
def test_nothing_is_sent_by_a_step_that_began_before_the_lock_was_lost(action: Action) -> None:
    room = Room()
    room.want("m:latest")
    if action is Action.UNLOAD:
        room.engine.residents["m:latest"] = loaded("m:latest")
    if action is Action.PULL:
        room.engine.installed.clear()
    room.step(action, "m:latest")
    lose_after(room, 0)
    with pytest.raises(StateError, match="taken over"):
        room.run()
    assert room.engine.log == []
    assert room.state.order == [("started", f"{action.value}:model.m:latest@a/e")]


def test_a_reload_that_unloaded_does_not_load_once_the_lock_is_lost() -> None:
    room = Room()
    room.want("m:latest", context=8192)
    room.engine.residents["m:latest-c8192"] = loaded("m:latest-c8192", context=4096)
    room.step(Action.RELOAD, "m:latest", reason="context_differs")
    lose_after(room, 1)
    with pytest.raises(StateError, match="taken over"):
        room.run()
    assert [word for word, _ in room.engine.log] == ["unload"]


def test_while_the_lock_is_held_every_send_is_preceded_by_a_proof() -> None:
    room = Room()
    room.want("m:latest")
    room.step(Action.LOAD, "m:latest")
    lose_after(room, 1)
    assert room.run().done == 1
