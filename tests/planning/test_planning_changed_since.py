"""What counts as a change of somebody else between a plan and its step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.fleet import ResourceFacts
from reconciler.planning.plan import Action
from reconciler.planning.resource import changed_since

KIND: Any = SimpleNamespace(fields=[SimpleNamespace(name=name) for name in ("image", "state", "name")])
BEFORE = {"image": "a:1", "state": "created", "name": "worker.next"}
AFTER = {"image": "a:2", "state": "running", "name": "worker"}


def changed(action: Action = Action.UPDATE, before: dict[str, Any] = BEFORE, after: dict[str, Any] = AFTER, **now: object) -> list[str]:
    step: Any = SimpleNamespace(action=action, before=before, after=after)
    return changed_since(KIND, step, ResourceFacts(True, {**before, **now}))


@pytest.mark.parametrize(
    ("now", "against"),
    [
        ({}, []),
        ({"state": "running"}, []),
        ({"state": "exited"}, ["state"]),
        ({"state": "running", "image": "b:1"}, ["image"]),
        ({"state": "running", "image": "a:2"}, []),
    ],
)
def test_what_is_already_as_the_step_leaves_it_is_no_change_against_it(now: dict[str, object], against: list[str]) -> None:
    assert changed(**now) == against


def test_of_what_a_step_does_not_set_every_change_counts() -> None:
    assert changed(after={"image": "a:2"}, state="running") == ["state"]
    assert changed(Action.REMOVE, after={}, state="running") == ["state"]
