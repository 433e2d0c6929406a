"""Which engine or card each agent uses, and on which node it runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from agent_fleets import GIB, agent, facts, fleet, kept, node, placed, uuids, where
from hypothesis import given, settings
from hypothesis import strategies as st
from planning.fleets import desired, loaded, model

from reconciler.fleet import AgentEach, CardSpec, GpuRequirement, Limits, Near, Strategy, VersionBound

THREE = fleet(node("a", 24 * GIB), node("b", 24 * GIB), node("c", 24 * GIB))
ON_ALL = model("m:1", "abc", 8 * GIB, replicas=3)
SPEC = Limits(max_vram_utilization=None, reserve=0)


def most(count: int) -> Limits:
    return replace(SPEC, max_agents_per_gpu=count)


def test_an_agent_runs_beside_its_model_where_it_may():
    found = placed(THREE, desired(model("m:1", "b", 8 * GIB)), agent("x", "abc", model="m:1"))
    assert where(found) == {"agent.x@b": "b/ollama"}


def test_an_agent_whose_nodes_are_others_uses_the_engine_from_afar():
    found = placed(THREE, desired(model("m:1", "b", 8 * GIB)), agent("x", "ac", model="m:1"))
    assert where(found) == {"agent.x@a": "b/ollama"}


def test_near_node_asks_for_the_model_on_the_agents_own_node():
    found = placed(THREE, desired(model("m:1", "b", 8 * GIB)), agent("x", "ac", model="m:1", near=Near.NODE))
    assert found.places == []
    assert [(one.count, one.counts) for one in found.unplaced] == [(1, {"other_node": 1})]
    assert "near: node" in found.unplaced[0].reason


def test_least_loaded_takes_the_card_with_the_fewest_agents():
    found = placed(THREE, desired(ON_ALL), agent("x", "abc", model="m:1", replicas=6))
    assert Counter(where(found).values()) == {"a/ollama": 2, "b/ollama": 2, "c/ollama": 2}
    assert "agent.x#2@a" in where(found)


def test_no_card_has_more_agents_than_the_limit():
    found = placed(THREE, desired(ON_ALL, limits=most(2)), agent("x", "abc", model="m:1", replicas=7))
    assert len(found.places) == 6
    assert [(one.count, one.counts) for one in found.unplaced] == [(1, {"agents_per_gpu": 3})]
    assert "max_agents_per_gpu" in found.unplaced[0].reason


def test_agents_of_other_models_on_the_same_card_count_too():
    two = desired(model("m:1", "a", 8 * GIB), model("n:1", "a", 8 * GIB), limits=most(3))
    found = placed(THREE, two, agent("x", "abc", model="m:1", replicas=2), agent("y", "abc", model="n:1", replicas=2))
    assert len(found.places) == 3
    assert [one.spec.name for one in found.unplaced] == ["y"]


def test_a_model_in_ram_has_no_card_that_counts_its_agents():
    one = fleet(node("a", 24 * GIB, ram=64 * GIB))
    from reconciler.fleet import Residency

    cpu = desired(model("m:1", "a", 8 * GIB, residency=Residency.CPU, min_gpu_fraction=0.0), limits=most(1))
    assert len(placed(one, cpu, agent("x", "a", model="m:1", replicas=3)).places) == 3
    refused = placed(one, cpu, agent("x", "a", model="m:1", requires_gpu=True))
    assert refused.unplaced[0].counts == {"not_on_gpu": 1}


def test_an_agent_whose_model_has_no_place_is_told_as_such():
    found = placed(THREE, desired(model("m:1", "abc", 30 * GIB)), agent("x", "abc", model="m:1"))
    assert found.places == []
    assert "m:1 has no place" in found.unplaced[0].reason


def test_a_model_that_nobody_declared_is_one_that_a_resident_answers_to():
    seen = uuids(facts(THREE, residents={"b": [loaded("own:latest", 4 * GIB)]}, installed=["own:latest"]))
    found = placed(THREE, desired(), agent("x", "abc", model="own"), seen=seen)
    assert where(found) == {"agent.x@b": "b/ollama"}
    assert found.places[0].offer.name == "own:latest"


def test_the_card_of_the_model_must_have_what_is_required():
    mixed = fleet(node("a", 8 * GIB, capability=(6, 1)), node("b", 24 * GIB, capability=(8, 6)))
    both = desired(model("m:1", "ab", 4 * GIB, replicas=2))
    needs = GpuRequirement(20_000 * 2**20, VersionBound(">=", (7, 0)))
    assert where(placed(mixed, both, agent("x", "ab", model="m:1", requirement=needs))) == {"agent.x@b": "b/ollama"}
    only = placed(mixed, desired(model("m:1", "a", 4 * GIB)), agent("x", "ab", model="m:1", requirement=needs))
    assert only.unplaced[0].counts == {"card_too_small": 1}
    newer = GpuRequirement(None, VersionBound(">=", (9, 0)))
    assert placed(mixed, both, agent("x", "ab", model="m:1", requirement=newer)).unplaced[0].counts == {"compute_capability": 2}


def test_an_agent_without_a_model_is_given_a_card_and_charged_for_it():
    found = placed(THREE, desired(model("m:1", "a", 8 * GIB)), agent("x", "abc", vram=20 * GIB, replicas=2))
    assert where(found) == {"agent.x@b": "GPU-b0", "agent.x@c": "GPU-c0"}
    third = placed(THREE, desired(model("m:1", "a", 8 * GIB)), agent("x", "abc", vram=20 * GIB, replicas=3))
    assert third.unplaced[0].counts == {"insufficient_vram": 3}


def test_a_card_without_a_uuid_is_given_to_nobody():
    found = placed(THREE, desired(), agent("x", "abc", requires_gpu=True), seen=facts(THREE))
    assert found.unplaced[0].counts == {"no_uuid": 3}


def test_a_card_that_was_given_stays_charged_while_models_are_placed():
    one = fleet(node("a", 24 * GIB))
    first = placed(one, desired(), agent("x", "a", vram=20 * GIB))
    later = placed(one, desired(model("m:1", "a", 8 * GIB)), agent("x", "a", vram=20 * GIB), before=kept(first))
    assert where(later) == {"agent.x@a": "GPU-a0"}


def test_what_a_running_agent_takes_of_its_card_is_not_counted_twice():
    one = fleet(replace(node("a"), gpus=(CardSpec(0, vram=24 * GIB),)))
    first = placed(one, desired(), agent("x", "a", vram=10 * GIB))
    seen = uuids(facts(one, installed=["m:1"]))
    card = replace(seen.nodes["a"].cards[0], foreign_bytes=9 * GIB, used_bytes=9 * GIB, assumed=False)
    seen = replace(seen, nodes={"a": replace(seen.nodes["a"], cards=(card,))})
    want = desired(model("m:1", "a", 8 * GIB))
    both = placed(one, want, agent("x", "a", vram=10 * GIB), agent("y", "a", model="m:1"), before=kept(first), seen=seen)
    assert where(both) == {"agent.x@a": "GPU-a0", "agent.y@a": "a/ollama"}
    stopped = placed(one, want, agent("x", "a", vram=10 * GIB), agent("y", "a", model="m:1"), before=kept(first), seen=seen, running=False)
    assert [lacking.spec.name for lacking in stopped.unplaced] == ["y"]


def test_round_robin_goes_round_and_goes_on_where_the_last_plan_ended():
    around = desired(ON_ALL, strategy=Strategy.ROUND_ROBIN)
    first = placed(THREE, around, agent("x", "abc", model="m:1"))
    assert where(first) == {"agent.x@a": "a/ollama"}
    second = placed(THREE, around, agent("x", "abc", model="m:1"), agent("y", "abc", model="m:1"), before=kept(first))
    assert where(second) == {"agent.x@a": "a/ollama", "agent.y@b": "b/ollama"}
    again = placed(THREE, around, *(agent(name, "abc", model="m:1") for name in "xyz"), before=kept(second))
    assert where(again)["agent.z@c"] == "c/ollama"


def test_temperature_takes_the_coolest_and_counts_near_ones_as_as_cool():
    by_heat = desired(ON_ALL, strategy=Strategy.TEMPERATURE)
    hot = placed(THREE, by_heat, agent("x", "abc", model="m:1"), seen=uuids(facts(THREE, installed=["m:1"]), a=80.0, b=62.0, c=60.0))
    assert where(hot) == {"agent.x@b": "b/ollama"}
    spread = placed(
        THREE, by_heat, agent("x", "abc", model="m:1", replicas=4), seen=uuids(facts(THREE, installed=["m:1"]), a=80.0, b=62.0, c=60.0)
    )
    assert Counter(where(spread).values()) == {"b/ollama": 2, "c/ollama": 2}


def test_an_agent_stays_where_its_card_became_warm():
    by_heat = desired(ON_ALL, strategy=Strategy.TEMPERATURE)
    first = placed(THREE, by_heat, agent("x", "abc", model="m:1"), seen=uuids(facts(THREE, installed=["m:1"]), a=50.0, b=70.0, c=70.0))
    warm = uuids(facts(THREE, installed=["m:1"]), a=85.0, b=40.0, c=40.0)
    assert where(placed(THREE, by_heat, agent("x", "abc", model="m:1"), seen=warm, before=kept(first))) == where(first)


def test_a_card_of_unknown_temperature_is_not_taken_for_cool():
    by_heat = desired(ON_ALL, strategy=Strategy.TEMPERATURE)
    found = placed(THREE, by_heat, agent("x", "abc", model="m:1"), seen=uuids(facts(THREE, installed=["m:1"]), b=70.0))
    assert where(found) == {"agent.x@b": "b/ollama"}


def test_an_agent_follows_its_model_and_stays_on_its_node_where_it_may():
    first = placed(THREE, desired(model("m:1", "a", 8 * GIB)), agent("x", "abc", model="m:1"))
    moved = placed(THREE, desired(model("m:1", "b", 8 * GIB)), agent("x", "abc", model="m:1"), before=kept(first))
    assert where(moved) == {"agent.x@a": "b/ollama"}
    near = agent("x", "abc", model="m:1", near=Near.NODE)
    assert where(placed(THREE, desired(model("m:1", "b", 8 * GIB)), near, before=kept(first))) == {"agent.x@b": "b/ollama"}


def test_each_node_has_one_and_prefers_the_engine_beside_it():
    found = placed(THREE, desired(model("m:1", "ab", 8 * GIB, replicas=2)), agent("x", "abc", model="m:1", each=AgentEach.NODE))
    assert where(found)["agent.x@a"] == "a/ollama"
    assert where(found)["agent.x@b"] == "b/ollama"
    assert len(found.places) == 3


def test_each_gpu_has_one_for_every_card_that_qualifies():
    pair = fleet(node("a", 24 * GIB, 8 * GIB))
    found = placed(pair, desired(), agent("x", "a", each=AgentEach.GPU, vram=10 * GIB))
    assert where(found) == {"agent.x@a": "GPU-a0"}
    both = placed(pair, desired(), agent("x", "a", each=AgentEach.GPU, vram=4 * GIB))
    assert where(both) == {"agent.x@a": "GPU-a0", "agent.x#2@a": "GPU-a1"}


def test_only_nodes_that_run_containers_are_taken():
    found = placed(THREE, desired(ON_ALL), agent("x", "abc", model="m:1", replicas=3), hosts="c")
    assert {one.node for one in found.places} == {"c"}
    nowhere = placed(THREE, desired(ON_ALL), agent("x", "ab", model="m:1"), hosts="c")
    assert "docker:" in nowhere.unplaced[0].reason


def test_plain_containers_go_where_the_fewest_run():
    found = placed(THREE, desired(), agent("x", "abc", replicas=2), agent("y", "abc"))
    assert [one.node for one in found.places] == ["a", "b", "c"]


@given(
    count=st.integers(0, 12),
    limit=st.integers(1, 4),
    strategy=st.sampled_from([Strategy.LEAST_LOADED, Strategy.ROUND_ROBIN, Strategy.TEMPERATURE, Strategy.BINPACK]),
    near=st.sampled_from(Near),
    later=st.integers(0, 12),
)
@settings(max_examples=60, deadline=None)
def test_what_is_placed_is_kept_and_no_card_is_over_its_limit(count: int, limit: int, strategy: Strategy, near: Near, later: int) -> None:
    want = desired(ON_ALL, limits=most(limit), strategy=strategy)
    first = placed(THREE, want, agent("x", "abc", model="m:1", replicas=count, near=near))
    assert len(first.places) == min(count, 3 * limit)
    assert all(value <= limit for value in first.agents.values())
    again = placed(THREE, want, agent("x", "abc", model="m:1", replicas=count, near=near), before=kept(first))
    assert where(again) == where(first)
    changed = placed(THREE, want, agent("x", "abc", model="m:1", replicas=later, near=near), before=kept(first))
    staying = set(where(first).items()) & set(where(changed).items())
    assert len(staying) == min(len(first.places), len(changed.places))


@pytest.mark.parametrize("replicas", [2, 1, 0])
def test_fewer_agents_leave_the_last_ones_first(replicas: int) -> None:
    first = placed(THREE, desired(ON_ALL), agent("x", "abc", model="m:1", replicas=3))
    fewer = placed(THREE, desired(ON_ALL), agent("x", "abc", model="m:1", replicas=replicas), before=kept(first))
    assert [one.node for one in fewer.places] == ["a", "b", "c"][:replicas]


def test_outside_a_selection_every_agent_stays_and_nothing_new_comes():
    first = placed(THREE, desired(ON_ALL), agent("x", "abc", model="m:1", replicas=3))
    few = agent("x", "abc", model="m:1", replicas=4, near=Near.NODE)
    only = placed(THREE, desired(model("m:1", "a", 8 * GIB)), few, before=kept(first), selected=frozenset("a"))
    assert where(only) == {"agent.x@a": "a/ollama", "agent.x@b": None, "agent.x@c": None, "agent.x#2@a": "a/ollama"}


def test_nothing_new_is_put_where_the_daemon_cannot_be_asked_and_what_is_there_stays():
    first = placed(THREE, desired(ON_ALL), agent("x", "abc", model="m:1"))
    assert where(first) == {"agent.x@a": "a/ollama"}
    more = placed(THREE, desired(ON_ALL), agent("x", "abc", model="m:1", replicas=3), before=kept(first), away="a")
    assert [one.node for one in more.places] == ["a", "b", "c"]
