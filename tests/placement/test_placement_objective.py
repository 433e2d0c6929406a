"""What a placement is worth, and what none can do better than: held against every placement there is, on fleets small enough for that."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent / "planning"))
from planning.fleets import GIB, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.fleet import EngineKind, Limits, RunOptions
from reconciler.views import plan_text

WHOLE = Limits(reserve=0, max_vram_utilization=1)
ALONE = 16
GUARDED = "guarded"


@st.composite
def small_fleets(draw):
    """Cards by node; of each model its size, priority, number of replicas, and the nodes where it is resident as far as there is room. What
    has a name that begins with GUARDED is protected: where it is resident it stays."""
    cards = dict(zip("abc", draw(st.lists(st.integers(3, 12), min_size=1, max_size=3)), strict=False))
    free, models = dict(cards), {}
    for number in range(draw(st.integers(1, 4))):
        size, count = draw(st.integers(1, 9)), draw(st.integers(1, 2))
        here = []
        for name in draw(st.lists(st.sampled_from(sorted(cards)), max_size=count, unique=True)):
            if free[name] >= size:
                free[name] -= size
                here.append(name)
        models[f"{draw(st.sampled_from(('m', 'm', GUARDED)))}{number}:latest"] = (size, draw(st.integers(0, 2)), count, tuple(here))
    return cards, models


def planned(cards, models, apart=(), beside=(), **fields):
    """`apart`: pairs of models that are never on one card; `beside`: pairs the first of which may only be beside the second."""
    of = fleet(*(node(name, size * GIB) for name, size in cards.items()))
    want = desired(
        *(
            model(
                name,
                sorted(cards),
                size * GIB,
                priority=priority,
                replicas=count,
                protect=name.startswith(GUARDED),
                never_with=tuple(other for one, other in apart if one == name),
                with_models=tuple(other for one, other in beside if one == name),
            )
            for name, (size, priority, count, _) in models.items()
        ),
        limits=WHOLE,
        **fields,
    )
    here = {at: [loaded(name, one[0] * GIB) for name, one in models.items() if at in one[3]] for at in cards}
    rows = applied(*(owned(name, at, one[0] * GIB) for name, one in models.items() for at in one[3]))
    return plan(of, want, facts(of, here), rows)


def words(of):
    return " ".join(plan_text(of).split())


def every_placement(cards, models, apart=(), beside=()):
    """Of each placement of whole replicas: the GiB left out by priority, the GiB moved, the disturbance."""
    priorities = sorted({one[1] for one in models.values()}, reverse=True)
    ranks = {priority: len(priorities) - number for number, priority in enumerate(priorities)}
    ways = [
        [
            places
            for number in range(count + 1)
            for places in itertools.combinations(sorted(cards), number)
            if not name.startswith(GUARDED) or set(here) <= set(places)
        ]
        for name, (_, _, count, here) in models.items()
    ]
    for choice in itertools.product(*ways):
        there = {name: set(places) for name, places in zip(models, choice, strict=True)}
        if any(there[one] & there[other] for one, other in apart) or not all(there[one] <= there[other] for one, other in beside):
            continue
        held = dict.fromkeys(cards, 0)
        out, moved, disturbance = dict.fromkeys(priorities, 0), 0, 0
        for (size, priority, count, here), places in zip(models.values(), choice, strict=True):
            for at in places:
                held[at] += size
            out[priority] += (count - len(places)) * size
            stay = len(set(here) & set(places))
            left = (len(here) - stay) * size
            moved += left
            disturbance += left * ranks[priority] * (1 if stay else ALONE)
        if all(held[at] <= size for at, size in cards.items()):
            yield tuple(out.values()), moved, disturbance


@settings(max_examples=150)
@given(small_fleets())
def test_no_placement_is_below_the_bound_and_what_is_proved_is_the_best_of_all(drawn):
    cards, models = drawn
    told = planned(cards, models).placement
    every = list(every_placement(cards, models))
    found = tuple(level.bytes for level in told.unplaced)
    best = min((tuple(one * GIB for one in out), disturbance * GIB) for out, _, disturbance in every)
    assert best[0] <= found
    for number, level in enumerate(told.unplaced, 1):
        least = min(sum(out[:number]) for out, _, _ in every) * GIB
        assert level.bound_bytes <= least
    assert told.bound <= told.objective == sum(found)
    if not told.objective:
        assert told.moved_bound_bytes <= min(moved for out, moved, _ in every if not any(out)) * GIB
    if told.proved:
        assert found == best[0]
        assert not told.moved or best[1]


def test_where_all_has_a_place_and_nothing_moves_that_is_proved_without_a_word():
    of = planned({"a": 10}, {"m:latest": (4, 0, 1, ())})
    told = of.placement
    assert (told.objective, told.bound, told.gap, told.proved) == (0, 0, 0.0, True)
    assert "Placement:" not in words(of)


def test_what_is_larger_than_every_card_is_left_out_by_any_placement():
    of = planned({"a": 10, "b": 10}, {"m:latest": (12, 0, 2, ())})
    told = of.placement
    assert (told.objective, told.bound, told.gap, told.proved) == (24 * GIB, 24 * GIB, 0.0, True)
    assert "24.0 GiB (2 replicas) without a place, and no placement leaves out less." in words(of)


@pytest.mark.parametrize(
    ("models", "bound"),
    [
        ({"m:latest": (6, 0, 2, ()), "n:latest": (6, 0, 1, ())}, 6),  # a card takes one of 6 GiB, whatever the sum
        ({"m:latest": (4, 0, 2, ()), "n:latest": (3, 0, 2, ()), "o:latest": (4, 0, 2, ())}, 2),  # 22 of 20 GiB
        ({"m:latest": (9, 1, 1, ()), "n:latest": (2, 0, 2, ()), "o:latest": (8, 0, 1, ())}, 1),
    ],
)
def test_the_bound_counts_by_size_class_and_by_bytes(models, bound):
    told = planned({"a": 10, "b": 10}, models).placement
    assert told.bound == bound * GIB
    assert told.objective >= told.bound
    assert told.gap == pytest.approx((told.objective - told.bound) / told.objective, abs=1e-4)


def test_bytes_are_told_by_priority_and_a_low_one_never_pays_for_a_high_one():
    told = planned({"a": 10}, {"high:latest": (8, 5, 1, ()), "low:latest": (4, 0, 2, ())}).placement
    levels = [(level.priority, level.bytes, level.count, level.bound_bytes) for level in told.unplaced]
    assert levels == [(5, 0, 0, 0), (0, 8 * GIB, 2, 6 * GIB)]


def test_what_is_protected_gives_no_room_in_the_bound():
    models = {"guarded:latest": (6, 0, 1, ("a",)), "large:latest": (10, 0, 1, ())}
    told = planned({"a": 10, "b": 8}, models).placement
    assert (told.objective, told.bound, told.proved) == (10 * GIB, 10 * GIB, True)
    free = {name.replace(GUARDED, "m"): one for name, one in models.items()}
    assert planned({"a": 10, "b": 8}, free).placement.objective == 0


def test_what_must_move_is_counted_and_bounded():
    of = planned({"a": 10, "b": 6}, {"small:latest": (4, 0, 1, ("a",)), "large:latest": (9, 0, 1, ())})
    told = of.placement
    assert (told.objective, told.moved_bytes, told.moved, told.moved_bound_bytes, told.proved) == (0, 4 * GIB, 1, 4 * GIB, False)
    assert "4096 MiB (1 replica) moved for others, and no placement with room for all moves less." in words(of)


def test_the_strategy_never_takes_a_placement_that_disturbs_more():
    models = {"a1:latest": (4, 0, 1, ("a",)), "b1:latest": (4, 0, 1, ("b",)), "new:latest": (6, 0, 1, ())}
    told = planned({"a": 10, "b": 10}, models).placement
    assert (told.objective, told.moved, told.proved) == (0, 0, True)


def test_a_split_model_that_moves_counts_all_of_its_parts():
    of = fleet(*(node(name, 10 * GIB, 10 * GIB, kind=EngineKind.LLAMACPP) for name in "ab"))
    two = {"runs": RunOptions(split_cards=2)}
    want = desired(model("here", ["a"], 16 * GIB, priority=1, **two), model("moves", ["a", "b"], 12 * GIB, **two), limits=WHOLE)
    seen = facts(of, {"a": [loaded("moves", 12 * GIB)]}, ["here", "moves"])
    told = plan(of, want, seen, applied(owned("moves", "a", 12 * GIB, kind=EngineKind.LLAMACPP))).placement
    assert (told.objective, told.moved, told.moved_bytes) == (0, 1, 12 * GIB)
