"""What is resident and owned is charged where its load was charged, whatever is free by now."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "planning"))
from planning.fleets import GIB, applied, desired, facts, fleet, loaded, model, node, owned, plan

POOL = fleet(node("a", 24 * GIB, 24 * GIB))
WANT = desired(model("m:1", ["a"], 10 * GIB))


def before(held: int, *charges: tuple[int, int]) -> list[int]:
    row = replace(owned("m:1", "a", held), charges=charges)
    return [card.before_bytes // GIB for card in plan(POOL, WANT, facts(POOL, {"a": [loaded("m:1", held)]}, ["m:1"]), applied(row)).gpus]


def test_it_stays_on_the_cards_that_its_load_was_charged_to():
    assert before(10 * GIB, (1, 10 * GIB)) == [0, 10]
    assert before(10 * GIB, (0, 10 * GIB), (1, 10 * GIB)) == [10, 10]


def test_what_it_takes_now_counts_and_no_card_holds_more_than_that():
    assert before(8 * GIB, (1, 10 * GIB)) == [0, 8]
    assert before(12 * GIB, (1, 10 * GIB)) == [0, 12]


def test_a_load_that_was_spread_keeps_its_parts_and_grows_in_all_of_them():
    assert before(20 * GIB, (0, 11 * GIB), (1, 11 * GIB)) == [11, 11]
    assert before(44 * GIB, (0, 11 * GIB), (1, 11 * GIB)) == [22, 22]


def test_where_nobody_remembers_or_a_card_is_gone_it_is_on_every_card_that_could_hold_it():
    assert before(10 * GIB) == [10, 10]
    assert before(10 * GIB, (7, 10 * GIB)) == [10, 10]


def test_the_plan_says_what_a_row_is_to_remember():
    first = plan(POOL, WANT, facts(POOL, {}, ["m:1"]))
    assert dict(first.charges) == {"model.m:1@a/ollama": ((0, 10 * GIB), (1, 10 * GIB))}


def test_what_a_client_loaded_anew_with_another_context_is_remembered_nowhere_until_it_is_seen():
    row = replace(owned("m:1", "a", 10 * GIB), charges=((1, 10 * GIB),))
    there = facts(POOL, {"a": [loaded("m:1", 10 * GIB, context=8192)]}, ["m:1"])
    result = plan(POOL, WANT, there, applied(row))
    assert [card.before_bytes // GIB for card in result.gpus] == [10, 10]
    assert result.empty
    assert dict(result.charges) == {"model.m:1@a/ollama": ((0, 10 * GIB), (1, 10 * GIB))}
