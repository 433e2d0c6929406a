"""Which models are named on which card."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "planning"))
from planning.fleets import GIB, facts, fleet, loaded, node

from reconciler.fleet import CardFacts, CardProcess
from reconciler.health import Holder, holders_by_card

ONE, TWO = fleet(node("a", 16 * GIB)), fleet(node("a", 16 * GIB, 8 * GIB))


def held(of, *residents, **changed):
    seen = facts(of, {"a": residents}, [])
    return holders_by_card(of, replace(seen, nodes={"a": replace(seen.nodes["a"], **changed)}))


def test_on_the_only_card_of_its_engine_a_model_is_for_certain():
    assert held(ONE, loaded("m:1", GIB)) == {("a", 0): (Holder("ollama", "m:1", GIB, True),)}


def test_on_one_of_several_cards_it_could_be_on_each():
    found = held(TWO, loaded("m:1", GIB))
    assert [(at, one.certain) for at, (one,) in found.items()] == [(("a", 0), False), (("a", 1), False)]


def test_where_a_process_of_its_engine_is_seen_on_one_card_it_is_there():
    cards = (CardFacts(0, processes=()), CardFacts(1, processes=(CardProcess(7, engine="ollama"),)))
    assert held(TWO, loaded("m:1", GIB), cards=cards) == {("a", 1): (Holder("ollama", "m:1", GIB, True),)}


def test_what_runs_on_the_cpu_is_on_no_card_and_unknown_cards_have_none():
    assert held(ONE, loaded("m:1", GIB, fraction=0.0)) == {}
    assert held(ONE, loaded("m:1", GIB), cards=None) == {}


def test_a_model_of_unknown_size_is_named_with_its_own_spelling():
    one = replace(loaded("m:q2_k", GIB), vram_bytes=None, size_bytes=None, label="M:Q2_K")
    assert held(ONE, one) == {("a", 0): (Holder("ollama", "M:Q2_K", None, True),)}
