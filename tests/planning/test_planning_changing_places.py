"""Two models that change places, one from the card to RAM and one from RAM to the card, where neither has room before the other has left:
a reload of both has no order, so one of them is unloaded first and loaded again after."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fleets import GIB, actions, desired, fleet, loaded, model, node, owned, plan
from pretend import some_order
from properties import refused
from small_worlds import settles, world
from wide_fleets import carry

from reconciler.capacity import set_up
from reconciler.fleet import EngineId, EngineKind, Guards, LoadKey, Policy, Residency, Strategy
from reconciler.planning import Action
from reconciler.planning.kinds.model.change import Change
from reconciler.planning.kinds.model.changing_places import who_leaves_first
from reconciler.planning.plan import Cause, Reason
from reconciler.views import plan_text

ONE = fleet(replace(node("a", 24 * GIB, 8 * GIB), ram=16 * GIB))
ROOMY = fleet(replace(node("a", 24 * GIB, 8 * GIB), ram=64 * GIB))
CHAT, CODER = "model.m0:1@a/ollama", "model.m1:1@a/ollama"
SIZES = {"m0:1": 8, "m1:1": 9, "m2:1": 5}


def want(at=("a",), **guards):
    """m0 on a card, m1 in RAM, and m2 where it is: on a card."""
    how = {"each": "node"} if len(at) > 1 else {}
    return desired(
        model("m0:1", at, 8 * GIB, priority=2, **how),
        model("m1:1", at, 9 * GIB, priority=1, residency=Residency.CPU, min_gpu_fraction=0.0, **how),
        model("m2:1", at, 5 * GIB, **how),
        strategy=Strategy.BINPACK,
        policy=Policy(guards=Guards(**guards)),
    )


def changing(of=ONE, asked=None):
    """m0 runs in RAM and m1 on the card: each where the other is wanted."""
    there = [loaded("m0:1", 8 * GIB, fraction=0.0), loaded("m1:1", 9 * GIB), loaded("m2:1", 5 * GIB)]
    rows = [owned(name, at) for at in of.nodes for name in SIZES]
    return world(of, asked or want(), dict.fromkeys(of.nodes, there), rows, sizes=SIZES)


def test_the_lower_priority_leaves_first_and_is_loaded_where_the_other_was():
    found = changing().plan()
    assert actions(found) == [f"unload {CODER}", f"reload {CHAT}", f"load {CODER}"]
    assert [step.needs for step in found.steps] == [(), (f"unload:{CODER}",), (f"reload:{CHAT}", f"unload:{CODER}")]
    assert found.steps[0].reason.message == "changes places with m0:1: neither has room before the other has left"
    assert "changes places with m0:1: neither has room before the other has left" in " ".join(plan_text(found).split())


@pytest.mark.parametrize("priorities", [(1, 1, 0), (1, 1, 1), (0, 0, 1)])
def test_models_of_equal_priority_change_places_too_and_nothing_else_leaves_for_that(priorities):
    asked = want()
    models = tuple(replace(one, priority=priority) for one, priority in zip(asked.models, priorities, strict=True))
    there = changing(asked=replace(asked, models=models))
    found = there.plan()
    assert found.unplaced == ()
    assert actions(found) == [f"unload {CHAT}", f"reload {CODER}", f"load {CHAT}"]
    assert refused(there, found, some_order(found, 1)) == []
    assert settles(there) == []


def test_of_three_that_wait_for_each_other_the_least_important_stays_out_where_there_is_no_room_for_all():
    of = fleet(replace(ONE.nodes["a"], ram=28 * GIB))
    asked = want()
    asked = replace(asked, models=(*(replace(one, priority=1) for one in asked.models), model("m3:1", ("a",), 12 * GIB)))
    sizes = {**SIZES, "m3:1": 12}
    there = [loaded(name, size * GIB, fraction=float(name in ("m1:1", "m2:1"))) for name, size in sizes.items()]
    found = world(of, asked, {"a": there}, [owned(name, "a") for name in sizes], sizes=sizes).plan()
    assert [entry.model for entry in found.unplaced] == ["m3:1"]
    assert actions(found) == [f"unload {CHAT}", f"reload {CODER}", f"load {CHAT}"]


def test_of_equal_priority_the_smaller_leaves_first_and_before_it_one_that_asks_for_no_free_memory():
    there = changing()
    slot = set_up(ONE, there.facts, there.desired.limits).slots[EngineId("a", "ollama")]

    def reload(name, priority, count, waits=False):
        why = Reason("cpu_fallback", "")
        takes = ((slot.ram, count),)
        return Change(Action.RELOAD, name, name, slot, name, name, why, Cause.DRIFT, priority, takes=takes, waits_for_all=waits)

    ring = [reload("large", 1, 6), reload("small", 1, 5), reload("smaller", 2, 1), reload("picky", 0, 1, waits=True)]
    assert [who_leaves_first(ring).address, who_leaves_first(ring[::2]).address] == ["small", "large"]
    assert who_leaves_first(ring[2:]).address == "smaller"


def test_where_one_has_room_already_both_are_reloaded():
    assert actions(changing(ROOMY).plan()) == [f"reload {CODER}", f"reload {CHAT}"]


def test_the_saved_plan_stands_at_every_moment_and_leaves_nothing_to_do():
    there = changing()
    found = there.plan()
    assert len(found.steps) == 3
    assert refused(there, found, some_order(found, 1)) == []
    assert settles(there) == []


@pytest.mark.parametrize("done", [1, 2])
def test_what_was_cut_in_the_middle_is_loaded_by_the_next_plan(done):
    there = changing()
    found = there.plan()
    for step in found.steps[:done]:
        there = carry(there, found, step)
    again = [f"reload {CHAT}", f"load {CODER}"][done - 1 :]
    assert sorted(actions(there.plan())) == sorted(again)
    assert settles(there) == []


def test_the_one_that_leaves_is_away_until_both_are_loaded_and_it_is_no_move():
    there = changing()
    took = {LoadKey(EngineKind.OLLAMA, "m0:1", None): 20.0, LoadKey(EngineKind.OLLAMA, "m1:1", None): 3.0}
    impact = plan(ONE, there.desired, there.facts, replace(there.applied, load_seconds=took)).impact
    assert impact.downtime_seconds == {"m0:1": 20.0, "m1:1": 23.0}
    assert (impact.moves, impact.evictions) == ((), ())


def test_each_counts_once_for_the_guard_of_what_a_plan_takes_away():
    assert changing(asked=want(max_unload=2)).plan().refusals == ()
    (refusal,) = changing(asked=want(max_unload=1)).plan().refusals
    assert refusal.message.startswith("2 residents would be unloaded or reloaded, 1 of 3 may be")


def test_a_change_of_places_of_two_pairs_sends_one_of_each_away():
    of = fleet(*(replace(node(name, 24 * GIB, 8 * GIB), ram=16 * GIB) for name in "ab"))
    one = changing(of, want(("a", "b")))
    found = one.plan()
    assert sorted(actions(found)) == sorted(
        f"{action} model.{name}@{at}/ollama" for at in "ab" for action, name in (("unload", "m1:1"), ("reload", "m0:1"), ("load", "m1:1"))
    )
    assert refused(one, found, some_order(found, 1)) == []
    assert settles(one) == []
