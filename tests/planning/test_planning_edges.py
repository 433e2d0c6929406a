"""Steps of several kinds in one order: every hard edge holds, no soft one closes a ring, and what no edge touches stays as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.edges import Edge, with_edges
from reconciler.planning.plan import Action, Cause, Reason, Step


def step(name: str, *needs: str) -> Step:
    return Step(
        id=name, address=f"note.{name}@a", action=Action.CREATE, reason=Reason("r", "r"), cause=Cause.PENDING, node="a", needs=needs
    )


def ids(steps: tuple[Step, ...]) -> list[str]:
    return [one.id for one in steps]


def test_without_edges_nothing_changes():
    steps = (step("b"), step("a", "b"))
    assert with_edges(steps, []) == steps
    assert with_edges(steps, [Edge("a", "not there"), Edge("not there", "a"), Edge("a", "a")]) == steps


def test_a_step_comes_after_what_it_waits_for_and_the_rest_keeps_its_order():
    found = with_edges((step("unload"), step("load"), step("agent")), [Edge("unload", "agent", soft=True), Edge("agent", "load")])
    assert ids(found) == ["load", "agent", "unload"]
    assert [one.needs for one in found] == [(), ("load",), ("agent",)]


def test_a_soft_edge_that_would_close_a_ring_is_left_out():
    """The model's new place needs the room of its old one, so the old one goes before the agent can follow."""
    found = with_edges((step("unload"), step("load", "unload"), step("agent")), [Edge("agent", "load"), Edge("unload", "agent", soft=True)])
    assert ids(found) == ["unload", "load", "agent"]
    assert found[0].needs == ()


NAMES = [f"s{number:02}" for number in range(9)]


@given(
    hard=st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)).filter(lambda pair: pair[0] > pair[1]), max_size=14),
    soft=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=14),
    order=st.permutations(NAMES),
)
def test_every_hard_edge_holds_and_nothing_waits_for_itself(
    hard: set[tuple[str, str]], soft: list[tuple[str, str]], order: list[str]
) -> None:
    edges = [*(Edge(*pair) for pair in hard), *(Edge(*pair, soft=True) for pair in soft)]
    found = with_edges([step(name) for name in order], edges)
    assert sorted(ids(found)) == sorted(NAMES)
    place = {one.id: number for number, one in enumerate(found)}
    assert all(place[needed] < place[one.id] for one in found for needed in one.needs)
    needs = {one.id: set(one.needs) for one in found}
    assert all(needed in needs[waits] for waits, needed in hard)
    assert with_edges([step(name) for name in order], list(reversed(edges))) == found
