"""`policy.unknown_foreign`, and cards that share memory or are slices of another."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from fleets import GIB, actions, desired, facts, fleet, loaded, model, node, owned, plan
from fleets import applied as before

from reconciler.fleet import CardSpec, EngineId, EngineKind, EngineSpec, NodeFacts, NodeSpec, Policy
from reconciler.probes.combine import combine
from reconciler.probes.declared import declared_cards


def test_to_a_card_whose_use_nobody_can_read_nothing_is_added_where_the_policy_says_so_and_what_is_there_stays() -> None:
    of = fleet(node("a", 24 * GIB))
    there = facts(of, {"a": [loaded("old:1", GIB)]}, ["m:1", "old:1"])
    want = desired(model("m:1", ["a"], GIB), model("old:1", ["a"], GIB))
    assert actions(plan(of, want, there, before(owned("old:1", "a", GIB)))) == ["load model.m:1@a/ollama"]
    made = plan(of, replace(want, policy=Policy(assumes_foreign=False)), there, before(owned("old:1", "a", GIB)))
    assert actions(made) == []
    (unplaced,) = made.unplaced
    assert [one.reason for one in unplaced.candidates] == ["foreign_unknown"]
    assert unplaced.would_fit_if == (
        "its cards are probed (`probe: {via: ssh, user: NAME}` on the node), or trusted: `policy: {unknown_foreign: assume}`",
    )


def test_a_card_whose_use_is_read_is_used_all_the_same() -> None:
    of = fleet(node("a", 24 * GIB))
    seen = facts(of, installed=["m:1"])
    read = tuple(replace(card, assumed=False, used_bytes=0, foreign_bytes=0) for card in seen.nodes["a"].cards or ())
    nodes = {"a": NodeFacts("a", read, None, seen.nodes["a"].engines)}
    want = desired(model("m:1", ["a"], GIB), policy=Policy(assumes_foreign=False))
    assert actions(plan(of, want, replace(seen, nodes=nodes))) == ["load model.m:1@a/ollama"]


def test_a_declared_card_that_shares_memory_has_its_part_of_the_ram_and_vram_goes_before() -> None:
    cards = (CardSpec(0, unified=Fraction(3, 4)), CardSpec(1, unified=Fraction(3, 5)), CardSpec(2, unified=Fraction(3, 4), vram=8 * GIB))
    of = NodeSpec("a", "a", gpus=cards, ram=100 * GIB)
    sizes = [card.total_bytes for card in declared_cards(of) or ()]
    assert sizes == [75 * GIB, 60 * GIB, 8 * GIB]
    (unread,) = declared_cards(NodeSpec("a", "a", gpus=(CardSpec(0, unified=Fraction(3, 4)),))) or ()
    assert unread.total_bytes is None
    (bare,) = declared_cards(NodeSpec("a", "a", gpus=cards[1:2], ram=100 * GIB)) or ()
    probed, _ = combine(of, (replace(bare, total_bytes=None, index=1, assumed=False, source="nvml", unified=None),), 200 * GIB)
    assert [(card.index, card.unified, card.total_bytes) for card in probed] == [(1, True, 120 * GIB)]


def test_the_slices_of_a_declared_card_are_cards_of_their_own_and_an_engine_of_the_whole_card_has_each_model_on_one_of_all() -> None:
    slices = tuple(CardSpec(index, uuid=f"MIG-{index}", mig="GPU-1", vram=20 * GIB, compute_capability=(9, 0)) for index in (0, 1))
    engines = tuple(
        EngineSpec(EngineId("a", name), EngineKind.OLLAMA, f"http://a:{port}", gpus)
        for name, port, gpus in (("one", 1, ("MIG-0",)), ("two", 2, ("MIG-1",)), ("whole", 3, ("GPU-1",)))
    )
    of = fleet(NodeSpec("a", "a", engines=engines, gpus=slices))
    seen = facts(of, installed=["m:1"])
    cards = declared_cards(of.nodes["a"])
    seen = replace(seen, nodes={"a": replace(seen.nodes["a"], cards=cards)})
    made = plan(of, desired(model("m:1", ["a"], 15 * GIB, each="gpu")), seen)
    assert actions(made) == ["load model.m:1@a/one", "load model.m:1@a/two"]
    assert [card.before_bytes for card in made.gpus] == [0, 0]
    several = replace(of, nodes={"a": replace(of.nodes["a"], engines=engines[2:])})
    whole = replace(seen, nodes={"a": replace(seen.nodes["a"], engines={"whole": seen.nodes["a"].engines["whole"]})})
    assert actions(plan(several, desired(model("m:1", ["a"], 15 * GIB)), whole)) == ["load model.m:1@a/whole"]
    large = plan(several, desired(model("m:1", ["a"], 30 * GIB)), whole)
    assert [one.candidate_counts for one in large.unplaced] == [{"too_large": 1}]
