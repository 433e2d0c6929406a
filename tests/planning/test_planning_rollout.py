"""How the changes of a model's replicas follow each other: how many are away at once, a canary, and what is first of a move."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import pytest
from fleets import GIB, actions, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.fleet import ContextVia, Order, Rollout
from reconciler.planning import Action, Plan, Step

NODES = ["a", "b", "c", "d"]
OF = fleet(*(node(name, 24 * GIB) for name in NODES))


def reloading(rollout: Rollout) -> Plan:
    """Four replicas that get another context."""
    seen = facts(OF, {name: [loaded("m:1", 8 * GIB, context=2048)] for name in NODES}, ["m:1"])
    rows = applied(*(owned("m:1", name, 8 * GIB) for name in NODES))
    want = model("m:1", NODES, 8 * GIB, each="node", context=4096, context_via=ContextVia.REQUEST, rollout=rollout)
    return plan(OF, desired(want), seen, rows)


def waits(found: Plan) -> dict[str, set[str]]:
    """For each step all steps that end before it begins."""
    needs = {step.id: set(step.needs) for step in found.steps}
    for step in found.steps:  # each after all that it needs
        needs[step.id] |= {far for near in step.needs for far in needs[near]}
    return needs


def at_once(found: Plan, of: list[Step]) -> int:
    """How many of these steps may run at the same time."""
    before = waits(found)

    def together(some: tuple[Step, ...]) -> bool:
        return all(one.id not in before[two.id] and two.id not in before[one.id] for one, two in combinations(some, 2))

    return max(size for size in range(1, len(of) + 1) if any(together(some) for some in combinations(of, size)))


@pytest.mark.parametrize("most", [1, 2, 3, 4, 9])
def test_no_more_replicas_of_a_model_are_reloaded_at_once_than_may_be_away(most: int) -> None:
    found = reloading(Rollout(max_unavailable=most))
    reloads = [step for step in found.steps if step.action is Action.RELOAD]
    assert len(reloads) == 4
    assert at_once(found, reloads) == min(most, 4)


def test_unless_it_says_otherwise_one_replica_is_away_at_a_time() -> None:
    found = reloading(Rollout())
    assert at_once(found, list(found.steps)) == 1


def test_reloads_of_different_models_do_not_wait_for_each_other() -> None:
    seen = facts(OF, {"a": [loaded("m:1", GIB, context=2048)], "b": [loaded("n:1", GIB, context=2048)]}, ["m:1", "n:1"])
    wanted = [
        model(name, [at], GIB, context=4096, context_via=ContextVia.REQUEST) for name, at in (("m:1", "a"), ("n:1", "b"))
    ]  # fmt: skip
    found = plan(OF, desired(*wanted), seen, applied(owned("m:1", "a", GIB), owned("n:1", "b", GIB)))
    assert actions(found) == ["reload model.m:1@a/ollama", "reload model.n:1@b/ollama"]
    assert not any(step.needs for step in found.steps)


def test_all_other_replicas_wait_for_the_canary() -> None:
    found = reloading(Rollout(max_unavailable=4, canary=True))
    first, *rest = found.steps
    assert [list(step.needs) for step in rest] == [[first.id]] * 3
    assert at_once(found, rest) == 3


def test_a_canary_is_first_of_a_first_roll_out_too_and_of_no_other_model() -> None:
    want = desired(model("m:1", NODES, 8 * GIB, each="node", rollout=Rollout(canary=True)), model("n:1", NODES, GIB, each="node"))
    found = plan(OF, want, facts(OF, installed=["m:1", "n:1"]))
    mine = [step for step in found.steps if step.action is Action.LOAD and step.address.startswith("model.m:1@")]
    assert [list(step.needs) for step in mine] == [[], *[[mine[0].id]] * 3]
    assert not any(step.needs for step in found.steps if step.address.startswith("model.n:1@"))


def moving(order: Order | None, size: int = 8, other: int = 0) -> Plan:
    """A model that is to be on b and is on a; `other` is what is in its way there and goes to a."""
    of = fleet(node("a", 12 * GIB), node("b", 12 * GIB))
    residents = {"a": [loaded("m:1", size * GIB)], "b": [loaded("n:1", other * GIB)] if other else []}
    rows = [owned("m:1", "a", size * GIB), *([owned("n:1", "b", other * GIB)] if other else [])]
    wanted = [model("m:1", ["b"], size * GIB, rollout=Rollout(order=order)), *([model("n:1", ["a"], other * GIB)] if other else [])]
    return plan(of, desired(*wanted), facts(of, residents, ["m:1", "n:1"]), applied(*rows))


@pytest.mark.parametrize(
    ("order", "first"),
    [(None, "load"), (Order.START_FIRST, "load"), (Order.STOP_FIRST, "unload")],
)
def test_a_model_that_moves_is_there_before_it_leaves_unless_it_is_to_stop_first(order: Order | None, first: str) -> None:
    found = moving(order)
    one, two = found.steps
    assert one.action.value == first
    assert list(two.needs) == [one.id]
    assert not [note for note in found.notes if note.code == "stops_first"]


def _told(found: Plan) -> Iterator[str]:
    return (note.address for note in found.notes if note.code == "stops_first")


def test_a_move_that_has_no_room_for_both_is_told_only_to_who_asked_to_start_first() -> None:
    assert list(_told(moving(Order.START_FIRST, other=8))) == ["model.m:1@a/ollama"]
    assert not list(_told(moving(None, other=8)))


def test_of_models_that_change_places_one_replica_each_is_away_at_a_time() -> None:
    """Each new place is held by the other model, so no replica of one waits for another of its own."""
    seen = facts(OF, {name: [loaded(who, 20 * GIB)] for who, names in (("m:1", "ab"), ("n:1", "cd")) for name in names}, ["m:1", "n:1"])
    rows = applied(*(owned(who, name, 20 * GIB) for who, names in (("m:1", "ab"), ("n:1", "cd")) for name in names))
    wanted = [model("m:1", ["c", "d"], 20 * GIB, each="node"), model("n:1", ["a", "b"], 20 * GIB, each="node")]
    found = plan(OF, desired(*wanted), seen, rows)
    before = waits(found)
    for name in ("m:1", "n:1"):
        leave = [step for step in found.steps if step.action is Action.UNLOAD and step.model == name]
        come = [step.id for step in found.steps if step.action is Action.LOAD and step.model == name]
        assert (len(leave), len(come)) == (2, 2)
        assert any(before[last.id] & set(come) for last in leave), "the second leaves after the first is there again"
