"""Where replicas go, seen through plans."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "planning"))
from planning.fleets import GIB, actions, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.capacity import EngineState, set_up
from reconciler.fleet import ContextVia, Each, Limits, ModelSpec, Requirements, Spread, Strategy, VersionBound
from reconciler.placement import place, preemption
from reconciler.placement.answers import refused
from reconciler.placement.search_state import Placing


def places(of):
    return sorted((step.model, step.node) for step in of.steps if step.action == "load")


def names(*models):
    return [each.name for each in models]


def run(of, *models, residents=None, before=None, **more):
    return plan(of, desired(*models, **more), facts(of, residents, names(*models)), before)


def test_two_models_are_never_sent_to_the_same_free_space():
    one = fleet(node("a", 10 * GIB))
    result = run(one, model("x:1", ["a"], 6 * GIB), model("y:1", ["a"], 6 * GIB))
    assert places(result) == [("x:1", "a")]
    assert result.unplaced[0].candidate_counts == {"insufficient_vram": 1}


def test_higher_priority_goes_first():
    one = fleet(node("a", 10 * GIB))
    assert places(run(one, model("x:1", ["a"], 6 * GIB), model("y:1", ["a"], 6 * GIB, priority=1))) == [("y:1", "a")]


def test_a_model_of_higher_priority_takes_the_place_of_a_lower_one_which_moves():
    two = fleet(node("a", 10 * GIB), node("b", 7 * GIB))
    low, high = model("low:1", ["a", "b"], 5 * GIB), model("high:1", ["a"], 8 * GIB, priority=9)
    result = run(two, low, high, residents={"a": [loaded("low:1", 5 * GIB)]}, before=applied(owned("low:1", "a")))
    assert places(result) == [("high:1", "a"), ("low:1", "b")]
    assert actions(result) == ["load model.low:1@b/ollama", "unload model.low:1@a/ollama", "load model.high:1@a/ollama"]


def test_a_model_never_displaces_one_of_its_own_priority():
    one = fleet(node("a", 10 * GIB))
    result = run(
        one,
        model("x:1", ["a"], 6 * GIB),
        model("b:1", ["a"], 6 * GIB),
        residents={"a": [loaded("x:1", 6 * GIB)]},
        before=applied(owned("x:1", "a")),
    )
    assert result.empty
    assert [entry.model for entry in result.unplaced] == ["b:1"]


def test_a_replica_of_the_same_priority_moves_when_both_fit_then():
    two = fleet(node("a", 12 * GIB), node("b", 7 * GIB))
    small, large = model("small:1", ["a", "b"], 5 * GIB), model("large:1", ["a", "b"], 9 * GIB)
    result = run(two, small, large, residents={"a": [loaded("small:1", 5 * GIB)]}, before=applied(owned("small:1", "a")))
    assert result.unplaced == ()
    assert places(result) == [("large:1", "a"), ("small:1", "b")]


def test_of_more_residents_than_are_wanted_the_right_one_stays_also_beside_replicas_that_nobody_can_ask():
    of = fleet(*(node(name, 24 * GIB) for name in "abcd"))
    there = {"c": [loaded("m:1", 8 * GIB, context=2048)], "d": [loaded("m:1", 8 * GIB, context=4096)]}
    seen = facts(of, there, ["m:1"], down=["a", "b"])
    want = desired(model("m:1", list("abcd"), 8 * GIB, replicas=3, context=4096, context_via=ContextVia.REQUEST))
    made = plan(of, want, seen, applied(*(owned("m:1", name, 8 * GIB, context=4096) for name in "ab")))
    assert actions(made) == ["adopt model.m:1@d/ollama"]


def test_least_loaded_spreads_and_binpack_fills():
    three = fleet(node("a", 24 * GIB), node("b", 24 * GIB), node("c", 12 * GIB))
    both = (model("x:1", ["a", "b", "c"], 2 * GIB), model("y:1", ["a", "b", "c"], 2 * GIB))
    assert len({where for _, where in places(run(three, *both))}) == 2
    assert {where for _, where in places(run(three, *both, strategy=Strategy.BINPACK))} == {"c"}


def test_round_robin_does_not_always_return_the_first():
    three = fleet(node("a", 24 * GIB), node("b", 24 * GIB), node("c", 24 * GIB))
    models = [model(f"m{n}:1", ["a", "b", "c"], GIB) for n in range(3)]
    assert [where for _, where in places(run(three, *models, strategy=Strategy.ROUND_ROBIN))] == ["a", "b", "c"]


def test_replicas_go_to_different_nodes_and_share_one_only_when_they_must():
    two = fleet(node("a", 24 * GIB), node("b", 24 * GIB))
    assert places(run(two, model("m:1", ["a", "b"], GIB, replicas=2))) == [("m:1", "a"), ("m:1", "b")]
    result = run(two, model("m:1", ["a", "b"], GIB, replicas=3))
    assert result.unplaced[0].count == 1


def test_a_written_spread_is_hard():
    one = fleet(node("a", 24 * GIB))
    result = run(one, model("m:1", ["a"], GIB, replicas=2, spread=Spread.NODE, spread_hard=True))
    assert (len(places(result)), result.unplaced[0].count) == (1, 1)


def test_each_counts_what_can_ever_qualify_and_reports_a_full_one():
    three = fleet(node("a", 24 * GIB), node("b", 2 * GIB), node("c"))
    result = run(three, model("m:1", ["a", "b", "c"], 5 * GIB, each=Each.NODE))
    assert places(result) == [("m:1", "a")]
    assert [(entry.engine, entry.reason) for entry in result.unplaced[0].candidates] == [("b/ollama", "too_large")]


def test_each_gpu_counts_engines_with_one_card():
    two = fleet(node("a", 24 * GIB), node("b", 24 * GIB, 24 * GIB))
    assert places(run(two, model("m:1", ["a", "b"], GIB, each=Each.GPU))) == [("m:1", "a")]


@pytest.mark.parametrize(
    ("requires", "reason"),
    [
        (Requirements(compute_capability=VersionBound(">=", (9, 0))), "compute_capability"),
        (Requirements(driver=VersionBound(">=", (525,))), "driver_unknown"),
        (Requirements(vram=48 * GIB), "card_too_small"),
        (Requirements(labels=(("zone", "berlin"),)), "labels"),
    ],
)
def test_a_requirement_that_is_not_met_is_named(requires, reason):
    one = fleet(node("a", 24 * GIB))
    assert run(one, model("m:1", ["a"], GIB, requires=requires)).unplaced[0].candidate_counts == {reason: 1}


def test_a_need_that_nobody_knows_is_not_guessed():
    one = fleet(node("a", 24 * GIB))
    result = run(one, model("m:1", ["a"]))
    assert result.unplaced[0].candidate_counts == {"need_unknown": 1}
    assert "vram:" in result.unplaced[0].would_fit_if[0]


def test_the_file_size_with_its_factor_is_the_last_source():
    one = fleet(node("a", 24 * GIB))
    result = plan(one, desired(model("m:1", ["a"])), facts(one, installed=["m:1"], sizes={"m:1": 10 * GIB}))
    assert (result.steps[0].vram_bytes, result.steps[0].vram_source) == (12 * GIB, "file_size")


def test_cards_are_not_summed_for_a_model_that_fits_on_one():
    """On an engine with several cards nobody knows which one is taken: the whole is charged to each that could be."""
    one = fleet(node("a", 10 * GIB, 10 * GIB))
    result = run(one, model("x:1", ["a"], 6 * GIB), model("y:1", ["a"], 7 * GIB))
    assert len(places(result)) == 1
    assert result.steps[0].gpu_candidates == (0, 1)


def test_a_model_larger_than_a_card_needs_room_for_its_part_on_each():
    one = fleet(node("a", 10 * GIB, 10 * GIB))
    result = run(one, model("x:1", ["a"], 16 * GIB))
    assert result.steps[0].vram_bytes == 8 * GIB
    assert (result.steps[0].gpus, result.steps[0].gpu_candidates) == ((0, 1), None)
    assert [card.after_bytes for card in result.gpus] == [8 * GIB, 8 * GIB]


def test_the_memory_limit_of_an_engine_caps_what_it_places():
    one = fleet(node("a", 24 * GIB, memory_limit=4 * GIB))
    assert run(one, model("x:1", ["a"], 5 * GIB)).unplaced[0].candidate_counts == {"memory_limit": 1}


def test_a_resident_of_unknown_size_blocks_its_card():
    one = fleet(node("a", 24 * GIB))
    from reconciler.fleet import Resident

    result = run(one, model("x:1", ["a"], GIB), residents={"a": [Resident("stranger:1")]})
    assert result.unplaced[0].candidate_counts == {"insufficient_vram": 1}


def test_two_names_of_the_same_weights_share_one_runner():
    one = fleet(node("a", 10 * GIB))
    x, y = model("x:1", ["a"], 6 * GIB), model("y:1", ["a"], 6 * GIB)
    seen = facts(one, installed=["x:1", "y:1"], blobs={"x:1": "w", "y:1": "w"})
    result = plan(one, desired(x, y), seen)
    assert result.unplaced == ()
    assert result.gpus[0].after_bytes == 6 * GIB


def test_two_names_of_the_same_weights_with_other_options_conflict():
    one = fleet(node("a", 24 * GIB))
    x, y = model("x:1", ["a"], 6 * GIB), model("y:1", ["a"], 6 * GIB, options={"num_batch": 64})
    seen = facts(one, installed=["x:1", "y:1"], blobs={"x:1": "w", "y:1": "w"})
    assert plan(one, desired(x, y), seen).unplaced[0].candidate_counts == {"shared_runner_conflict": 1}


def test_limits_of_the_node_win_over_those_of_the_fleet():
    one = fleet(node("a", 10 * GIB, limits=Limits(reserve=6 * GIB)))
    assert run(one, model("x:1", ["a"], 5 * GIB)).unplaced[0].candidate_counts == {"too_large": 1}


def test_models_with_the_same_pattern_text_but_other_nodes_are_told_apart():
    from dataclasses import replace

    two = fleet(node("a", 24 * GIB), node("b", 24 * GIB))
    x = replace(model("x:1", ["a"], GIB), on="gpu")
    y = replace(model("y:1", ["b"], GIB), on="gpu")
    assert places(run(two, x, y)) == [("x:1", "a"), ("y:1", "b")]


def test_who_would_have_to_leave_is_worked_out_once_for_each_engine_that_did_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 90
    names_of_nodes = [f"n{number:03d}" for number in range(count)]
    many = fleet(*(node(name, 10 * GIB) for name in names_of_nodes))
    asked: list[str] = []

    def counted(placing: Placing, of: ModelSpec, slot: EngineState) -> list[preemption.Leaving] | None:
        asked.append(slot.id.node)
        return victims_of(placing, of, slot)

    victims_of = preemption.victims_of
    monkeypatch.setattr(preemption, "victims_of", counted)
    result = run(
        many,
        model("low:1", names_of_nodes, 6 * GIB, replicas=count),
        model("high:1", names_of_nodes, 6 * GIB, replicas=count, priority=1),
        residents={name: [loaded("low:1", 6 * GIB)] for name in names_of_nodes},
        before=applied(*(owned("low:1", name) for name in names_of_nodes)),
    )
    assert len(places(result)) == count
    assert len(asked) <= 2 * count  # 64 are compared for each of the 90, in all more than 5,000


def with_fault(of, *lost, size=24 * GIB):
    """Facts in which these cards are lost, and nobody knows their size."""
    seen = facts(of, None, ["m:1"])
    found = seen.nodes["a"]
    cards = tuple(
        replace(card, fault="GPU is lost", total_bytes=size) if card.index in lost else replace(card, total_bytes=24 * GIB)
        for card in found.cards
    )
    return replace(seen, nodes={**seen.nodes, "a": replace(found, cards=cards)})


@pytest.mark.parametrize("size", [24 * GIB, None])
def test_nothing_is_placed_on_a_card_at_fault_whatever_its_size(size):
    one = fleet(node("a", 24 * GIB))
    result = plan(one, desired(model("m:1", ["a"], 5 * GIB)), with_fault(one, 0, size=size))
    assert [(one.reason, one.message) for one in result.unplaced[0].candidates] == [("card_fault", "GPU is lost")]


def test_an_engine_of_several_cards_goes_on_with_those_that_are_not_at_fault():
    one = fleet(node("a", 24 * GIB, 24 * GIB))
    result = plan(one, desired(model("m:1", ["a"], 5 * GIB)), with_fault(one, 1, size=None))
    assert [(step.action, step.gpus or step.gpu_candidates) for step in result.steps] == [("load", (0,))]


def test_temperature_takes_the_coolest_card_and_what_is_placed_stays():
    three = fleet(node("a", 24 * GIB), node("b", 24 * GIB), node("c", 24 * GIB))
    some = [model(f"{name}:1", ["a", "b", "c"], 2 * GIB) for name in "xyz"]

    def warm(**degrees):
        seen = facts(three, installed=names(*some))
        nodes = {
            name: replace(one, cards=tuple(replace(card, temperature=degrees.get(name)) for card in one.cards))
            for name, one in seen.nodes.items()
        }
        return replace(seen, nodes=nodes)

    by_heat = desired(*some, strategy=Strategy.TEMPERATURE)
    found = places(plan(three, by_heat, warm(a=81.0, b=61.0, c=60.0)))
    assert {where for _, where in found} == {"b", "c"}
    assert {where for _, where in places(plan(three, by_heat, warm(a=81.0)))} == {"a"}


@pytest.mark.parametrize("twice", [False, True], ids=["where one is", "both to one engine"])
def test_no_answer_of_a_search_puts_two_replicas_of_a_model_on_one_engine(twice):
    pair = fleet(node("a", 40 * GIB), node("b", 40 * GIB))
    want = desired(model("m:1", ["a", "b"], 5 * GIB, replicas=2 if not twice else 1))
    seen = facts(pair, {}, ["m:1"])
    asked = []

    def try_it(placing: Placing) -> None:
        (one,) = placing.models
        there = list(placing.at["m:1"])
        free = [slot for slot in placing.board if slot not in there]
        coming = [(one, free[0]), (one, free[0])] if twice else [(one, there[0])]
        before = {slot.id: dict(slot.coming) for slot in placing.board}
        asked.append(refused(placing, [], coming))
        assert {slot.id: dict(slot.coming) for slot in placing.board} == before, "nothing stays changed"
        assert asked == [{("m:1", coming[0][1])}]

    place(set_up(pair, seen, want.limits), want, applied(), finish=try_it)
    assert asked
