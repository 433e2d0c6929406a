"""Where the processes of an engine are seen on its cards, they say what it holds; only the rest is foreign."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "planning"))
from hypothesis import given
from hypothesis import strategies as st
from planning.fleets import GIB, actions, desired, facts, fleet, loaded, model, node, plan

from reconciler.capacity.processes import shares_of
from reconciler.fleet import MIB, CardFacts, CardProcess

ONE = fleet(node("a", 16 * GIB))


def seen(residents, used, *processes, foreign=0, cards=1):
    found = facts(ONE, {"a": residents}, ["m:1", "n:1"])
    card = CardFacts(
        0, "GPU-0", total_bytes=16 * GIB, used_bytes=used, foreign_bytes=foreign, source="nvml", assumed=False, processes=processes
    )
    one = replace(found.nodes["a"], cards=tuple(replace(card, index=nr, uuid=f"GPU-{nr}") for nr in range(cards)))
    return replace(found, nodes={"a": one})


def ours(size, engine="ollama"):
    return CardProcess(7, "ollama", size, engine=engine)


def test_a_resident_is_charged_with_what_its_engines_processes_hold_and_not_with_what_is_reported():
    resident = loaded("m:1", 5 * GIB)
    (by_report,) = plan(ONE, desired(model("m:1", ["a"], 5 * GIB)), seen([resident], 6 * GIB, ours(6 * GIB, "other"))).gpus
    (by_process,) = plan(ONE, desired(model("m:1", ["a"], 5 * GIB)), seen([resident], 6 * GIB, ours(6 * GIB))).gpus
    assert (by_report.before_bytes, by_process.before_bytes) == (5 * GIB, 6 * GIB)


def test_what_the_processes_hold_beyond_the_report_is_not_given_away_again():
    resident, wanted = loaded("m:1", 5 * GIB), [model("m:1", ["a"], 5 * GIB), model("n:1", ["a"], 9 * GIB)]
    assert actions(plan(ONE, desired(*wanted), seen([resident], 6 * GIB, ours(5 * GIB)))) == [
        "adopt model.m:1@a/ollama",
        "load model.n:1@a/ollama",
    ]
    assert actions(plan(ONE, desired(*wanted), seen([resident], 6 * GIB, ours(6 * GIB)))) == ["adopt model.m:1@a/ollama"]


def test_what_an_engine_holds_without_a_resident_is_charged_and_stays():
    (card,) = plan(ONE, desired(), seen([], 300 * MIB, ours(300 * MIB))).gpus
    assert (card.before_bytes, card.after_bytes) == (300 * MIB, 300 * MIB)


def test_the_drivers_own_memory_is_never_planned_with():
    bare = seen([], 0)
    reserved = replace(bare.nodes["a"], cards=(replace(bare.nodes["a"].cards[0], reserved_bytes=3 * GIB),))
    (card,) = plan(ONE, desired(), replace(bare, nodes={"a": reserved})).gpus
    assert card.usable_bytes == 13 * GIB


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=6).filter(any), st.lists(st.integers(0, 10**12), min_size=1, max_size=4))
def test_the_shares_of_all_residents_are_what_the_processes_hold_to_the_last_byte(weights, held):
    shares = shares_of(dict(enumerate(held)), weights)
    for card, count in enumerate(held):
        assert sum(part for share in shares for one, part in share if one == card) == count
    assert all(part > 0 for share in shares for _, part in share)
