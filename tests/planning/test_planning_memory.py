"""The memory of a board is free when its plan is made, though nothing collects circles while a command plans."""

from __future__ import annotations

import gc

from fleets import GIB, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.capacity import Card, EngineState, Holding
from reconciler.fleet import Each


def test_a_plan_in_which_all_has_a_place_keeps_nothing_of_its_board():
    of = fleet(node("a", 8 * GIB, 8 * GIB), node("b", 8 * GIB))
    want = desired(model("m:1", ["a", "b"], 2 * GIB, each=Each.NODE), model("n:1", ["a", "b"], GIB, replicas=1))
    seen = facts(of, {"a": [loaded("m:1", 2 * GIB), loaded("old:1", GIB)]}, ["m:1", "n:1"])
    gc.collect()
    gc.disable()
    try:
        before = {id(one) for one in gc.get_objects()}
        made = plan(of, want, seen, applied(owned("m:1", "a", 2 * GIB), owned("old:1", "a", GIB)))
        left = [one for one in gc.get_objects() if isinstance(one, Card | EngineState | Holding) and id(one) not in before]
    finally:
        gc.enable()
    assert made.steps
    assert not left
