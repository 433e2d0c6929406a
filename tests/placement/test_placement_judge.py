"""The judge of the placement benchmark finds what a plan did wrong, and what is planted for it is possible."""

from __future__ import annotations

import random
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent.parent / "benchmarks"))
from placement import planted_properties
from planted.brute import least_left_out
from planted.draw import GROUPS, STORIES, Group
from planted.instance import GIB, Agent, Cards, Piece, card_of, instance
from planted.judge import agents_of, foes_of, plan_of, residents_of, verdict

from reconciler.fleet import OWN_CARD, EngineId, EngineKind, RunOptions, Spread
from reconciler.planning import Action

A, B = EngineId("a", "e0"), EngineId("b", "e0")


def drawn(story, count=8, seed=0):
    return Group("t", story, (count,), range(1)).draw(count, seed)


def of_pieces(*pieces, sizes=(10, 10)):
    cards = Cards({name: (size * GIB,) for name, size in zip("ab", sizes, strict=True)})
    return instance("made", cards, pieces, random.Random(0))


def judged(of, change=lambda step: (step,)):
    """The verdict on the plan of an instance, each of whose steps became what `change` makes of it."""
    plan = plan_of(of)
    return verdict(of, replace(plan, steps=tuple(new for step in plan.steps for new in change(step))))


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("seed", range(5))
def test_what_is_planted_and_what_is_there_fits_on_every_card(story, seed):
    of = drawn(story, seed=seed)
    sizes = {(node.node, card.index): card.total_bytes - card.foreign_bytes for node in of.facts.nodes.values() for card in node.cards}
    for at, share in of.cards.shares.items():
        sizes[card_of(at)] -= share * of.cards.nodes[at.node][card_of(at)[1]]
    planted, now = Counter(), Counter()
    for agent in of.cards.agents:
        planted[agent.planted] += agent.size
        now.update({agent.now: agent.size} if agent.now is not None else {})
    for name, engines in of.planted.items():
        for at in engines:
            planted.update(of.takes(name, at))
    for at, names in residents_of(of).items():
        assert len(names) == len(set(names))
        for name in names:
            now.update(of.takes(name, at) if name in of.sizes else {})
    assert of.planted
    for held in (planted, now):
        assert all(held[card] <= size for card, size in sizes.items())


@pytest.mark.parametrize("seed", range(5))
def test_what_is_planted_and_what_is_there_is_in_the_company_that_it_may_have(seed):
    of = drawn("company", seed=seed)
    foes, mates = foes_of(of), {model.name: model.with_models for model in of.desired.models}
    now = {name: frozenset(at for at, names in residents_of(of).items() if name in names) for name in of.planted}
    assert any(foes.values())
    assert any(mates.values())
    for places in (of.planted, now):
        cards = {name: {card_of(at) for at in engines} for name, engines in places.items()}
        assert all(cards[name].isdisjoint(cards[foe]) for name, some in foes.items() for foe in some)
        assert all(cards[name] <= cards[mate] for name, some in mates.items() for mate in some)


@pytest.mark.parametrize("story", STORIES)
def test_an_instance_is_the_same_for_the_same_seed_and_another_for_another(story):
    assert drawn(story) == drawn(story)
    assert drawn(story) != drawn(story, seed=1)


def test_every_story_has_groups_of_every_size():
    assert {group.story for group in GROUPS} == set(STORIES)
    assert {count for group in GROUPS for count in group.cards} >= {32, 100, 300, 1000}


@pytest.mark.parametrize("story", STORIES)
def test_a_plan_as_it_is_made_has_no_fault(story):
    of = drawn(story)
    found = verdict(of, plan_of(of), second=True)
    assert found.faults == []
    assert found.second == 0


def test_a_card_over_its_bytes_is_a_fault():
    of = of_pieces(Piece(6 * GIB, A), Piece(7 * GIB, B))
    found = judged(of, lambda step: (replace(step, node="a"),))
    assert [fault for fault in found.faults if "holds" in fault] == [f"a/0 holds {13 * GIB:,} of {10 * GIB:,}"]


def test_a_replica_left_out_beside_room_for_it_is_a_fault_and_its_bytes_are_counted():
    of = of_pieces(Piece(6 * GIB, A), Piece(7 * GIB, B))
    found = judged(of, lambda step: () if step.vram_bytes == 7 * GIB else (step,))
    assert any("has no place, and fits on" in fault for fault in found.faults)
    assert any("something else of what has no place" in fault for fault in found.faults)
    assert (found.unplaced, found.unplaced_count) == ({0: 7 * GIB}, 1)
    assert found.unplaced_share == pytest.approx(7 / 13)


def test_a_replica_too_many_and_one_on_another_place_than_the_plan_says_are_faults():
    of = of_pieces(Piece(2 * GIB, A))
    twice = judged(of, lambda step: (step, replace(step, node="b" if step.node == "a" else "a")))
    assert any("1 replicas too many" in fault for fault in twice.faults)
    elsewhere = judged(of, lambda step: (replace(step, node="b" if step.node == "a" else "a"),))
    assert elsewhere.faults == ["the plan says another placement than its steps"]


def test_a_replica_beside_itself_where_its_spread_forbids_it_is_a_fault():
    cards = Cards({"a": (10 * GIB, 10 * GIB), "b": (10 * GIB,)})
    apart = {"spread": Spread.NODE, "spread_hard": True}
    of = instance("made", cards, [Piece(GIB, EngineId("a", "e0"), fields=apart), Piece(GIB, B, fields=apart)], random.Random(0))
    assert [model.replicas for model in of.desired.models] == [2]
    assert judged(of).faults == []
    found = judged(of, lambda step: (replace(step, node="a", engine="e1" if step.node == "b" else "e0"),))
    assert any("stands beside itself" in fault for fault in found.faults)


@pytest.mark.parametrize(
    ("bounds", "fault"),
    [({"most": {A: 1}}, "a/e0 holds 2 models of 1"), ({"limits": {A: 2 * GIB}}, f"a/e0 takes {3 * GIB:,} of {2 * GIB:,}")],
)
def test_an_engine_over_a_limit_of_its_own_is_a_fault(bounds, fault):
    cards = Cards({"a": (10 * GIB,), "b": (10 * GIB,)}, **bounds)
    of = instance("made", cards, [Piece(GIB, A), Piece(2 * GIB, B)], random.Random(0))
    assert verdict(of, plan_of(of)).faults == []
    assert fault in judged(of, lambda step: (replace(step, node="a"),)).faults


def test_a_part_of_a_split_model_on_a_full_card_is_a_fault():
    cards = Cards({"a": (10 * GIB, 10 * GIB)}, over={EngineId("a", "w0"): (0, 1)})
    split = Piece(12 * GIB, EngineId("a", "w0"), kind=EngineKind.LLAMACPP, fields={"runs": RunOptions(split_cards=2)})
    small = Piece(6 * GIB, None, kind=EngineKind.OLLAMA)
    of = instance("made", cards, [split, small], random.Random(0))
    assert judged(of).faults == []
    load = next(step for step in plan_of(of).steps if step.action is Action.LOAD)
    name = next(name for name, size in of.sizes.items() if size == 6 * GIB)
    found = judged(of, lambda step: (step, replace(load, model=name, engine_name=name, engine="e0")))
    assert f"a/0 holds {12 * GIB:,} of {10 * GIB:,}" in found.faults


def test_a_model_beside_another_that_it_is_never_with_or_without_the_one_that_it_must_be_with_is_a_fault():
    apart = of_pieces(Piece(3 * GIB, A, tag="one", never_with=("other",)), Piece(2 * GIB, B, tag="other"))
    assert judged(apart).faults == []
    names = {size: name for name, size in apart.sizes.items()}
    found = judged(apart, lambda step: (replace(step, node="a"),))
    assert {f"{names[3 * GIB]} is beside {names[2 * GIB]} on a/e0", f"{names[2 * GIB]} is beside {names[3 * GIB]} on a/e0"} <= {
        *found.faults
    }
    beside = of_pieces(Piece(3 * GIB, A, tag="one", with_models=("other",)), Piece(2 * GIB, A, tag="other"))
    assert judged(beside).faults == []
    names = {size: name for name, size in beside.sizes.items()}
    found = judged(beside, lambda step: (replace(step, node="a" if step.vram_bytes == 3 * GIB else "b"),))
    assert f"{names[3 * GIB]} is without {names[2 * GIB]} on a/e0" in found.faults


def test_an_agent_without_a_card_beside_room_for_it_or_on_another_card_than_it_had_is_a_fault():
    cards = Cards({"a": (10 * GIB,), "b": (10 * GIB,)}, agents=(Agent("g", 4 * GIB, ("a", 0), None), Agent("h", GIB, ("b", 0), ("b", 0))))
    of = instance("made", cards, [Piece(GIB, A)], random.Random(0))
    assert judged(of).faults == []
    assert agents_of(plan_of(of))["h"] == ("b", 0)
    without = judged(of, lambda step: () if step.address.startswith("agent.g") else (step,))
    assert [fault for fault in without.faults if fault.startswith("g ")] == ["g has no card, and fits on ('a', 0)"]
    moved = judged(
        of, lambda step: (replace(step, after={**step.after, OWN_CARD: "GPU-a-0"}) if step.address.startswith("agent.h") else step,)
    )
    assert "h has ('b', 0) and gets ('a', 0)" in moved.faults


def test_a_protected_replica_that_leaves_is_a_fault():
    of = of_pieces(Piece(6 * GIB, A, A, fields={"protect": True}), Piece(GIB, B))
    guarded = next(name for name, size in of.sizes.items() if size == 6 * GIB)
    load = next(step for step in plan_of(of).steps if step.action is Action.LOAD)
    gone = replace(load, model=guarded, engine_name=guarded, node="a", action=Action.UNLOAD)
    found = judged(of, lambda step: (step, gone) if step.id == load.id else (step,))
    assert f"{guarded} is protected and leaves a/e0" in found.faults


def test_a_high_priority_left_out_for_a_lower_one_is_an_inversion():
    of = of_pieces(Piece(8 * GIB, A, priority=2), Piece(7 * GIB, B), sizes=(10, 5))
    fair = judged(of)
    assert (fair.inversions, fair.unplaced) == ([], {2: 0, 0: 7 * GIB})
    high, low = sorted((model for model in of.desired.models), key=lambda model: -model.priority)
    stolen = judged(of, lambda step: (replace(step, model=low.name, engine_name=low.name),))
    assert len(stolen.inversions) == 1
    assert high.name in stolen.inversions[0]
    assert stolen.unplaced_share == pytest.approx(8 / 15)


def test_a_move_that_nothing_needed_is_told_and_its_bytes_are_counted():
    of = of_pieces(Piece(6 * GIB, A, A), Piece(GIB, B))
    load = next(step for step in plan_of(of).steps if step.action is Action.LOAD)
    mover = next(name for name, size in of.sizes.items() if size == 6 * GIB)

    def moving(step):
        other = replace(step, model=mover, engine_name=mover, base_name=mover, node="b")
        return step, other, replace(other, node="a", action=Action.UNLOAD)

    found = judged(of, lambda step: moving(step) if step is load or step.id == load.id else (step,))
    assert found.moved == 6 * GIB
    assert found.needless == [f"{mover} left a/e0 and would fit there"]
    assert (judged(of).moved, judged(of).needless) == (0, [])


def test_a_plan_that_leaves_something_for_the_next_one_is_told():
    of = of_pieces(Piece(6 * GIB, A), Piece(7 * GIB, B))
    plan = plan_of(of)
    assert verdict(of, plan, second=True).second == 0
    assert verdict(of, replace(plan, steps=plan.steps[:1]), second=True).second > 0


def test_no_placement_of_a_planted_fleet_breaks_a_promise():
    assert planted_properties.judged(range(40)) == []


def test_of_all_placements_the_best_leaves_out_nothing_high_for_anything_low():
    assert least_left_out(of_pieces(Piece(8 * GIB, A, priority=2), Piece(7 * GIB, B), Piece(3 * GIB, None), sizes=(10, 5))) == (0, 7 * GIB)
    assert least_left_out(of_pieces(Piece(6 * GIB, A), Piece(6 * GIB, None), Piece(4 * GIB, None), sizes=(10, 1))) == (6 * GIB,)


@pytest.mark.parametrize("piece", [Piece(6 * GIB, None, A, wanted=False, ours=False), Piece(6 * GIB, A, A, fields={"protect": True})])
def test_what_stays_in_any_case_keeps_its_room_in_all_placements(piece):
    assert least_left_out(of_pieces(piece, Piece(6 * GIB, None, priority=1), sizes=(10, 1)))[0] == 6 * GIB


@pytest.mark.parametrize("story", sorted(STORIES))
@pytest.mark.parametrize("seed", range(3))
def test_no_placement_of_a_small_fleet_leaves_out_more_than_the_planted_one(story, seed):
    of = drawn(story, count=3, seed=seed)
    best = least_left_out(of)
    assert best is not None
    assert best <= tuple(verdict(of, plan_of(of)).planted_unplaced.values())
