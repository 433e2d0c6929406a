"""Evictions that go round in a circle are held: at one place, between places, and between models that throw each other out in turn."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fleets import GIB, NOW, applied, desired, facts, fleet, loaded, model, node, owned

from reconciler.fleet import Applied, Each, FleetFacts, Incident, ModelSpec
from reconciler.planning import EVICTED, Plan, asked_digest, make_plan
from reconciler.planning.kinds.model.evictions import seen_evictions

FLEET = fleet(node("a", 24 * GIB), node("b", 24 * GIB))
NAMES = ["m:1", "n:1", "o:1", "x:1"]
M, N, OTHER = model("m:1", ["a"], GIB), model("n:1", ["a"], GIB), model("o:1", ["a"], GIB)


def address(name: str, at: str = "a") -> str:
    return f"model.{name}@{at}/ollama"


def threw_out(second: int, want: ModelSpec, evictor: str, at: str = "a") -> Incident:
    """`want` was evicted half an hour before now."""
    return Incident(address(want.name, at), EVICTED, f"2025-12-31T23:30:{second:02}Z", asked_digest(want), evictor)


def plan(want: list[ModelSpec], seen: FleetFacts, state: Applied, recorded: FleetFacts | None = None) -> Plan:
    return make_plan(FLEET, desired(*want), seen, state, config_digest="c", created_at=NOW, recorded=recorded or seen)


def has(**residents: list[str]) -> FleetFacts:
    return facts(FLEET, {at: [loaded(name, GIB) for name in names] for at, names in residents.items()}, NAMES)


def held(result: Plan) -> list[str]:
    return [note.address for note in result.held]


BOTH = applied(owned("m:1", "a"), owned("n:1", "a"))


def test_two_that_evict_each_other_in_turn_are_held_at_the_third_turn() -> None:
    turns = (threw_out(1, M, "n:1"), threw_out(2, N, "m:1"), threw_out(3, M, "n:1"))
    for count in (0, 1, 2):
        loads = plan([M, N], has(a=["n:1"]), replace(BOTH, incidents=turns[:count]))
        assert (held(loads), [step.address for step in loads.steps]) == ([], [address("m:1")])
    result = plan([M, N], has(a=["n:1"]), replace(BOTH, incidents=turns))
    assert (held(result), result.steps) == ([address("m:1")], ())
    assert result.held[0].message.startswith("was evicted in turn with n:1, 3 times within an hour and is not loaded again: held until")
    assert [(one.address, one.code) for one in result.incidents] == [(address("m:1"), "held")]


def test_the_turn_that_is_seen_only_now_counts_too() -> None:
    turns = (threw_out(1, M, "n:1"), threw_out(2, N, "m:1"))
    result = plan([M, N], has(a=["n:1"]), replace(BOTH, incidents=turns), recorded=has(a=["m:1"]))
    assert held(result) == [address("m:1")]
    assert [(one.address, one.code, one.evictor) for one in result.incidents] == [
        (address("m:1"), "evicted", "n:1"),
        (address("m:1"), "held", None),
    ]


def test_a_round_of_three_is_a_circle() -> None:
    state = applied(owned("m:1", "a"), owned("n:1", "a"), owned("o:1", "a"))
    turns = (threw_out(1, M, "n:1"), threw_out(2, N, "o:1"), threw_out(3, OTHER, "m:1"))
    assert held(plan([M, N, OTHER], has(a=["m:1", "n:1"]), replace(state, incidents=turns))) == [address("o:1")]
    assert held(plan([M, N, OTHER], has(a=["m:1", "n:1"]), replace(state, incidents=turns[1:]))) == []


@pytest.mark.parametrize("evictor", ["x:1", None])
def test_evictions_for_strangers_of_two_models_do_not_add_up(evictor: str | None) -> None:
    turns = tuple(
        replace(one, evictor=evictor) for one in (threw_out(1, M, ""), threw_out(2, N, ""), threw_out(3, M, ""), threw_out(4, N, ""))
    )
    assert held(plan([M, N], has(a=["x:1"]), replace(BOTH, incidents=turns))) == []


def test_one_way_is_no_circle() -> None:
    turns = (threw_out(1, M, "n:1"), threw_out(2, M, "n:1"))
    assert held(plan([M, N], has(a=["n:1"]), replace(BOTH, incidents=turns))) == []


def test_the_derived_tag_of_a_model_is_that_model() -> None:
    turns = (threw_out(1, M, "n:1-c8192"), threw_out(2, N, "m:1"), threw_out(3, M, "n:1-c8192"))
    state = applied(owned("m:1", "a"), owned("n:1", "a", engine_name="n:1-c8192"))
    assert held(plan([M, N], has(a=["n:1"]), replace(state, incidents=turns))) == [address("m:1")]


def test_a_model_that_is_evicted_from_place_to_place_is_held_where_it_was_last() -> None:
    anywhere = model("m:1", ["a", "b"], GIB)
    turns = (threw_out(1, anywhere, "x:1"), threw_out(2, anywhere, "x:1", "b"), threw_out(3, anywhere, "x:1"))
    result = plan([anywhere], has(a=["x:1"], b=["x:1"]), replace(applied(owned("m:1", "a")), incidents=turns))
    assert (held(result), result.steps) == ([address("m:1")], ())
    assert "was evicted 3 times within an hour, at a/ollama and b/ollama" in result.held[0].message
    fewer = plan([anywhere], has(a=["x:1"], b=["x:1"]), replace(applied(owned("m:1", "a")), incidents=turns[:2]))
    assert held(fewer) == []


def test_two_replicas_may_be_evicted_twice_as_often_and_each_has_its_own_count() -> None:
    two = model("m:1", ["a", "b"], GIB, replicas=2)
    state = applied(owned("m:1", "a"), owned("m:1", "b"))
    four = tuple(threw_out(number, two, "x:1", at) for number, at in enumerate("abab"))
    seen = has(a=["x:1"], b=["x:1"])
    assert held(plan([two], seen, replace(state, incidents=four))) == []
    assert held(plan([two], seen, replace(state, incidents=(*four, threw_out(9, two, "x:1"))))) == [address("m:1"), address("m:1", "b")]
    each = model("m:1", ["a", "b"], GIB, each=Each.NODE)
    five = tuple(threw_out(number, each, "x:1", at) for number, at in enumerate("aabba"))
    assert held(plan([each], seen, replace(state, incidents=five))) == [address("m:1")], "it cannot go anywhere else"


def test_an_eviction_that_the_cut_off_run_noted_itself_is_not_counted_again() -> None:
    recorded, now = has(a=["m:1"]), has(a=["n:1"])
    at = "2025-12-31T23:00:00Z"
    earlier = replace(recorded, at=at)
    assert [(row.model, evictor) for row, evictor in seen_evictions(BOTH, earlier, now)] == [("m:1", "n:1")]
    noted = replace(BOTH, incidents=(threw_out(0, M, "n:1"),))
    assert list(seen_evictions(noted, earlier, now)) == []
    before = replace(threw_out(0, M, "n:1"), at=at)
    assert [row.model for row, _ in seen_evictions(replace(BOTH, incidents=(before,)), earlier, now)] == ["m:1"]


def test_an_eviction_outside_the_limit_is_kept_all_the_same() -> None:
    result = make_plan(
        FLEET,
        desired(M),
        has(a=["x:1"]),
        BOTH,
        config_digest="c",
        created_at=NOW,
        recorded=has(a=["m:1"]),
        selected=frozenset({"b"}),
    )
    assert [(one.address, one.evictor) for one in result.incidents] == [(address("m:1"), "x:1")]
