"""What fits by moves is found, what is found holds, and nothing that was placed is given up for less."""

from __future__ import annotations

import random
import sys
from itertools import product
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "planning"))
sys.path.append(str(Path(__file__).parent.parent.parent / "benchmarks"))
from planning.fleets import GIB, applied, desired, facts, fleet, loaded, model, node, owned, plan
from planted.draw import STORIES, Group
from planted.judge import judge

from reconciler.capacity import Bin, Item, Packing, Rebuild, ReplicaKind, Seat, card_groups
from reconciler.fleet import Spread
from reconciler.placement.search import Search


def kind(bins, takes, **fields):
    return ReplicaKind(tuple(bins), frozenset(bins), lambda at: Seat(takes), **fields)


def packing(rooms, *items, bins=None):
    """A card a bin with these rooms, and items by (bytes, bin where it is resident or None, priority); each may be anywhere."""
    bins = bins or [Bin((number,), number) for number in range(len(rooms))]
    kinds = [kind(range(len(bins)), size) for size, _, _ in items]
    made = [Item(number, size, priority, new=at is None) for number, (size, at, priority) in enumerate(items)]
    board = Packing(list(rooms), bins, kinds, made)
    for number, (size, at, _) in enumerate(items):
        if at is not None:
            board.put(number, at, ((bins[at].cards[0], size),))
            made[number].home, made[number].home_charges = at, made[number].charges
    return board


def searched(board):
    Search(board, 50_000, 10_000).run()
    assert min(board.free) >= 0
    return [item.at for item in board.items]


def test_cards_belong_together_that_engines_have_in_common_and_groups_are_numbered_by_their_first_card():
    assert card_groups(6, [(4, 2), (), (3,), (5, 4)]) == [0, 1, 2, 3, 2, 2]
    assert card_groups(4, [(0, 1), (2, 3), (3, 1)]) == [0, 0, 0, 0]


def test_two_move_at_once_for_a_third():
    assert searched(packing([24, 8], (4, 0, 0), (4, 0, 0), (24, None, 0))) == [1, 1, 0]


def test_what_makes_room_for_something_else_may_itself_need_room_made():
    assert searched(packing([24, 16, 8], (12, 0, 0), (8, 1, 0), (24, None, 0))) == [1, 2, 0]


def test_nothing_moves_where_something_fits_as_it_is():
    assert searched(packing([24, 16], (12, 0, 0), (8, 1, 0), (8, None, 0)))[:2] == [0, 1]


def test_what_matters_less_leaves_only_where_no_move_would_do():
    assert searched(packing([10, 6], (6, 0, 0), (8, None, 1))) == [1, 0]
    assert searched(packing([10, 5], (6, 0, 0), (8, None, 1))) == [None, 0]


def test_what_is_resident_leaves_for_nothing_that_matters_as_much():
    assert searched(packing([10], (6, 0, 0), (8, None, 0))) == [0, None]


def test_of_what_is_new_the_larger_has_the_place():
    assert searched(packing([10], (8, None, 0), (6, None, 0))) == [0, None]


@pytest.mark.parametrize(("priority", "at"), [(0, None), (1, 1), (1, None)])
def test_what_gives_way_on_one_card_leaves_for_a_move_that_makes_room_on_another(priority, at):
    board = packing([24, 8], (9, 0, priority), (6, 0, priority), (14, None, priority), (7, at, 0))
    assert searched(board) == [0, 1, 0, None]


def test_of_two_replicas_the_one_that_was_on_a_card_has_the_place_there_and_the_new_one_the_other():
    """Two engines share the first card. The replica that was there is on the other card, and its twin on the card in its place."""
    board = packing([6, 6], bins=[Bin((0,), 0), Bin((0,), 0), Bin((1,), 1)])
    board.kinds.append(kind(range(3), 6))
    for number, home, at in ((0, 0, 2), (1, None, 1)):
        board.items.append(Item(0, 6, 0, home, ((0, 6),) if home is not None else (), new=home is None))
        board.put(number, at, ((board.bins[at].cards[0], 6),))
    Search(board, 50_000, 10_000).settle()
    assert [item.at for item in board.items] == [0, 2]


def test_areas_are_drawn_no_oftener_than_there_are_choices_of_what_may_move(monkeypatch):
    """Of many cards each holds what may be nowhere else."""
    board = packing([10] * 24, *((8, at, 1) for at in range(24)), (5, None, 0))
    for at in range(24):
        board.kinds[at] = kind([at], 8)
    drawn, beside = [], Search._beside
    monkeypatch.setattr(Search, "_beside", lambda self, area: drawn.append(area) or beside(self, area))
    assert searched(board)[-1] is None
    assert len(drawn) < 24 * 16 * 16


@pytest.mark.parametrize("seed", range(60))
def test_a_search_leaves_out_no_more_than_it_found_keeps_every_card_and_ends_where_it_finds_nothing(seed):
    chance = random.Random(seed)
    rooms = [chance.randint(8, 30) for _ in range(chance.randint(2, 6))]
    left, items = list(rooms), []
    for _ in range(chance.randint(3, 14)):
        size, at = chance.randint(1, 14), chance.randrange(len(rooms))
        there = left[at] >= size and chance.random() < 0.7
        left[at] -= size if there else 0
        items.append((size, at if there else None, chance.choice((0, 0, 1))))

    def out(places):
        return [sum(size for (size, _, p), at in zip(items, places, strict=True) if p == level and at is None) for level in (1, 0)]

    found = searched(packing(rooms, *items))
    assert out(found) <= out([at for _, at, _ in items])
    held = [sum(size for (size, _, _), at in zip(items, found, strict=True) if at == card) for card in range(len(rooms))]
    assert all(count <= room for count, room in zip(held, rooms, strict=True))
    again = [(size, at, priority) for (size, _, priority), at in zip(items, found, strict=True)]
    assert searched(packing(rooms, *again)) == found


@pytest.mark.parametrize("seed", range(40))
def test_a_rebuilding_is_as_cheap_as_the_cheapest_of_all_ways(seed):
    chance = random.Random(seed)
    rooms = [chance.randint(5, 12) for _ in range(3)]
    sizes = [chance.randint(1, 6) for _ in range(chance.randint(2, 6))]
    costs = {(number, at): chance.randint(0, 5) for number in range(len(sizes)) for at in range(3)}
    board = packing(rooms, *((size, None, 0) for size in sizes))
    every = (
        sum(costs[number, at] for number, at in enumerate(places))
        for places in product(range(3), repeat=len(sizes))
        if all(sum(size for size, at in zip(sizes, places, strict=True) if at == card) <= rooms[card] for card in range(3))
    )
    best = min(every, default=None)
    core = Rebuild(board, range(len(sizes)), range(3), lambda number, at: costs[number, at], 100_000)
    answer = core.solve(10**6)
    assert board.free == rooms
    assert (answer is None) == (best is None)
    if answer is not None:
        assert sum(costs[number, at] for number, (at, _) in zip(core.order, answer, strict=True)) == best


def test_replicas_of_one_model_stay_apart_and_bounds_of_an_engine_hold_in_a_search():
    bins = [Bin((0,), 0, places=1), Bin((1,), 1, own=[5]), Bin((2,), 1)]
    apart = kind(range(3), 4, apart=Spread.NODE)
    board = Packing([20, 20, 20], bins, [apart, kind(range(3), 6)], [Item(0, 4, 0, new=True) for _ in range(3)] + [Item(1, 6, 0, new=True)])
    places = searched(board)
    assert sorted(places[:3], key=str).count(None) == 1
    assert len({bins[at].node for at in places[:3] if at is not None}) == 2
    assert places[3] == 2


def test_a_chain_of_moves_is_carried_out_without_a_moment_without_any_of_them():
    of = fleet(node("a", 27 * GIB), node("b", 18 * GIB), node("c", 9 * GIB))  # nine tenths of each are usable
    sizes = {"x:1": 12, "y:1": 8, "z:1": 24}
    want = desired(*(model(name, list("abc"), size * GIB) for name, size in sizes.items()))
    there = {"a": [loaded("x:1", 12 * GIB)], "b": [loaded("y:1", 8 * GIB)]}
    result = plan(of, want, facts(of, there, sizes), applied(owned("x:1", "a"), owned("y:1", "b")))
    assert result.unplaced == ()
    needs = {step.id: set(step.needs) for step in result.steps}
    assert needs["unload:model.y:1@b/ollama"] == {"load:model.y:1@c/ollama"}
    assert needs["load:model.x:1@b/ollama"] == {"unload:model.y:1@b/ollama"}
    assert needs["unload:model.x:1@a/ollama"] == {"load:model.x:1@b/ollama"}
    assert needs["load:model.z:1@a/ollama"] == {"unload:model.x:1@a/ollama"}
    assert result.impact.downtime_seconds == {}


def test_a_stranger_that_moves_and_has_to_be_fetched_there_makes_nobody_wait():
    of = fleet(node("a", 27 * GIB), node("b", 18 * GIB))
    want = desired(model("x:1", ["a", "b"], 12 * GIB), model("z:1", ["a"], 24 * GIB))
    result = plan(of, want, facts(of, {"a": [loaded("x:1", 12 * GIB)]}))
    unload = next(step for step in result.steps if step.id == "unload:model.x:1@a/ollama")
    assert set(unload.needs) == {"pull:model.z:1@a/ollama"}


@pytest.mark.parametrize("story", ["empty", "churn", "fragmented"])
@pytest.mark.parametrize("count", [8, 16])
@pytest.mark.parametrize("seed", range(100, 103))
def test_what_was_planted_is_placed_without_needless_moves_and_stays_so(story, count, seed):
    found = judge(Group("t", story, (count,), range(1)).draw(count, seed))
    assert (found.faults, found.needless, found.second) == ([], [], 0)
    assert found.unplaced_share <= 0.01


@pytest.mark.parametrize(("story", "count", "seed"), [("priorities", 32, 2), *((story, 12, 700) for story in sorted(STORIES))])
def test_the_plan_after_an_apply_is_empty_also_where_something_is_left_out(story, count, seed):
    assert judge(Group("t", story, (count,), range(1)).draw(count, seed)).second == 0


@pytest.mark.parametrize("count", [4, 8, 16])
@pytest.mark.parametrize("seed", range(100, 104))
def test_nothing_is_left_out_where_what_matters_less_holds_its_room(count, seed):
    found = judge(Group("t", "priorities", (count,), range(1)).draw(count, seed))
    assert (found.faults, found.inversions, found.needless) == ([], [], [])
    assert [left for priority, left in found.unplaced.items() if priority > 0] == [0, 0]


def test_what_moved_for_others_comes_back_also_where_something_is_left_out():
    found = judge(Group("t", "priorities", (32,), range(1)).draw(32, 2))
    assert (found.unplaced_count, found.needless, found.second) == (1, [], 0)


def test_a_fleet_of_few_cards_is_searched_as_a_whole():
    assert judge(Group("t", "fragmented", (3,), range(1)).draw(3, 1065)).unplaced_count == 0


def test_a_twin_in_the_way_of_a_replica_and_a_part_short_of_room_on_one_card_alone_are_moved():
    """Of a split model each card must have room for its part; on the card that has the least in the way the twin must not be either."""
    for count, seed in ((3, 0), (3, 1007), (3, 1018)):
        of = Group("t", "parts", (count,), range(1)).draw(count, seed)
        assert judge(of).unplaced_count == 0
