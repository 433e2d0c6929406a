"""Variants of a model: the best that fits is placed with its reason, and what is placed stays while it fits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fleets import GIB, actions, applied, desired, facts, fleet, loaded, model, node, owned, plan
from hypothesis import given, settings
from hypothesis import strategies as st
from pretend import carry_out

from reconciler.fleet import Applied, ContextVia, EngineKind, Unmanaged, Variant
from reconciler.fleet.desired import Policy
from reconciler.placement import place, set_up
from reconciler.planning import Cause, first_stale_step
from reconciler.views import plan_document, plan_text

Q8, Q4, Q2 = Variant("m:q8", 9 * GIB), Variant("m:q4", 5 * GIB), Variant("m:q2", 3 * GIB)
EVERY = ("m:q8", "m:q4", "m:q2", "n:1")


def three(nodes=("a",), *, variants=(Q8, Q4, Q2), **fields):
    return model("m", nodes, variants=tuple(variants), **fields)


def chosen(result):
    return {step.address: step.variant.name for step in result.steps if step.variant is not None and step.action in ("load", "adopt")}


def test_the_best_variant_is_placed_where_it_fits():
    of = fleet(node("a", 10 * GIB))
    result = plan(of, desired(three()), facts(of, installed=EVERY))
    assert actions(result) == ["load model.m@a/ollama"]
    (load,) = result.steps
    assert (load.engine_name, load.variant.name, load.variant.passed_over, load.vram_bytes) == ("m:q8", "m:q8", (), 9 * GIB)


def test_the_first_that_fits_is_placed_and_says_why_no_better_one_is():
    of = fleet(node("a", 4 * GIB))
    (load,) = plan(of, desired(three()), facts(of, installed=EVERY)).steps
    assert load.engine_name == "m:q2"
    assert [(one.name, one.reason) for one in load.variant.passed_over] == [("m:q8", "too_large"), ("m:q4", "too_large")]
    assert load.variant.passed_over[1].message == "needs 5120 MiB > 3686 MiB usable"


def test_a_variant_of_unknown_need_does_not_fit():
    of = fleet(node("a", 10 * GIB))
    (load,) = plan(of, desired(three(variants=(Variant("m:q8"), Q4))), facts(of, installed=EVERY)).steps
    assert (load.engine_name, load.variant.passed_over[0].reason) == ("m:q4", "need_unknown")


def test_variants_of_which_nobody_knows_the_need_say_where_to_declare_it():
    of = fleet(node("a", 10 * GIB))
    (lacking,) = plan(of, desired(three(variants=(Variant("m:q8"), Variant("m:q4")))), facts(of)).unplaced
    assert lacking.would_fit_if == ("the need of its variants is declared: `variants: [{name: m:q4, vram: 5GiB}]` under models.m",)


def test_on_an_engine_that_cannot_pull_a_variant_that_is_installed_is_taken():
    of = fleet(node("a", 10 * GIB, kind=EngineKind.LLAMACPP))
    seen = facts(of, installed=["m:q4"])
    (load,) = plan(of, desired(three()), seen).steps
    assert (load.engine_name, load.variant.passed_over[0].reason) == ("m:q4", "not_installed")


def test_each_replica_has_the_best_variant_for_its_own_card():
    of = fleet(node("a", 10 * GIB), node("b", 6 * GIB), node("c", 1 * GIB))
    result = plan(of, desired(three(("a", "b", "c"), each="node")), facts(of, installed=EVERY))
    assert chosen(result) == {"model.m@a/ollama": "m:q8", "model.m@b/ollama": "m:q4"}
    (lacking,) = result.unplaced
    assert lacking.needed_bytes == 3 * GIB
    (candidate,) = lacking.candidates
    assert [(one.name, one.reason) for one in candidate.variants] == [(name, "too_large") for name in ("m:q8", "m:q4", "m:q2")]
    assert candidate.message.startswith("m:q8 needs 9216 MiB > 921 MiB usable; m:q4 needs")


def test_a_replica_goes_where_a_better_variant_fits_before_a_worse_one_is_taken():
    of = fleet(node("a", 4 * GIB), node("b", 10 * GIB))
    result = plan(of, desired(three(("a", "b"))), facts(of, installed=EVERY))
    assert chosen(result) == {"model.m@b/ollama": "m:q8"}


def test_a_worse_variant_with_room_is_taken_rather_than_somebody_else_displaced():
    of = fleet(node("a", 10 * GIB))
    seen = facts(of, {"a": [loaded("n:1", 4 * GIB)]}, EVERY)
    want = desired(three(priority=9), model("n:1", ["a"], 4 * GIB))
    result = plan(of, want, seen, applied(owned("n:1", "a", 4 * GIB)))
    assert (actions(result), chosen(result)) == (["load model.m@a/ollama"], {"model.m@a/ollama": "m:q4"})


def test_somebody_of_lower_priority_is_displaced_where_no_variant_has_room():
    of = fleet(node("a", 10 * GIB))
    seen = facts(of, {"a": [loaded("n:1", 8 * GIB)]}, EVERY)
    want = desired(three(priority=9), model("n:1", ["a"], 8 * GIB))
    result = plan(of, want, seen, applied(owned("n:1", "a", 8 * GIB)))
    assert chosen(result) == {"model.m@a/ollama": "m:q8"}
    assert [entry.model for entry in result.unplaced] == ["n:1"]


def test_a_placed_variant_stays_though_a_better_one_would_fit_and_the_plan_says_so():
    of = fleet(node("a", 10 * GIB))
    seen = facts(of, {"a": [loaded("m:q4", 5 * GIB)]}, EVERY)
    result = plan(of, desired(three()), seen, applied(owned("m", "a", 5 * GIB, engine_name="m:q4")))
    assert actions(result) == []
    (note,) = result.notes
    assert (note.address, note.code) == ("model.m@a/ollama", "better_variant")
    assert note.message.startswith("m:q8 would fit in the place of m:q4, which stays")
    assert plan_text(result).startswith("No changes.")


def test_a_better_variant_of_unknown_need_is_not_said_to_fit_by_the_declared_need_of_the_one_that_is_there():
    of = fleet(node("a", 10 * GIB))
    seen = facts(of, {"a": [loaded("m:q4", 5 * GIB)]}, EVERY)
    result = plan(of, desired(three(variants=(Variant("m:q8"), Q4))), seen, applied(owned("m", "a", 5 * GIB, engine_name="m:q4")))
    assert (actions(result), result.notes) == ([], ())


def test_a_placed_variant_that_was_lost_comes_back_as_it_was():
    of = fleet(node("a", 10 * GIB))
    before = applied(owned("m", "a", 5 * GIB, engine_name="m:q4"))
    (load,) = plan(of, desired(three()), facts(of, installed=EVERY), before).steps
    assert (load.engine_name, load.reason.code, load.cause) == ("m:q4", "missing", Cause.DRIFT)
    assert [(one.name, one.reason) for one in load.variant.passed_over] == [("m:q8", "applied_before")]


def test_a_lost_variant_that_fits_nowhere_any_more_gives_way_to_the_next():
    of = fleet(node("a", 10 * GIB))
    seen = facts(of, {"a": [loaded("stranger:1", 6 * GIB)]}, EVERY)
    result = plan(of, desired(three()), seen, applied(owned("m", "a", 9 * GIB, engine_name="m:q8")))
    assert (chosen(result), result.steps[0].reason.code) == ({"model.m@a/ollama": "m:q2"}, "variant_changed")


def test_a_variant_that_left_the_list_is_replaced_on_its_card():
    of = fleet(node("a", 10 * GIB))
    seen = facts(of, {"a": [loaded("m:q4", 5 * GIB)]}, EVERY)
    before = applied(owned("m", "a", 5 * GIB, engine_name="m:q4"))
    result = plan(of, desired(three(variants=(Q8, Q2))), seen, before)
    assert actions(result) == ["unload model.m@a/ollama", "load model.m@a/ollama"]
    unload, load = result.steps
    assert (unload.engine_name, unload.reason.code, load.engine_name, load.reason.code) == (
        "m:q4",
        "variant_changed",
        "m:q8",
        "variant_changed",
    )
    assert load.needs == (unload.id,)
    after, state = carry_out(result, seen, before)
    assert actions(plan(of, desired(three(variants=(Q8, Q2))), after, state)) == []


def test_a_variant_that_somebody_else_loaded_is_adopted():
    of = fleet(node("a", 10 * GIB))
    seen = facts(of, {"a": [loaded("m:q4", 5 * GIB)]}, EVERY)
    result = plan(of, desired(three()), seen)
    assert (actions(result), chosen(result)) == (["adopt model.m@a/ollama"], {"model.m@a/ollama": "m:q4"})


def test_of_two_resident_variants_ours_is_kept_else_the_better_one():
    of = fleet(node("a", 20 * GIB))
    seen = facts(of, {"a": [loaded("m:q4", 5 * GIB), loaded("m:q8", 9 * GIB)]}, EVERY)
    assert chosen(plan(of, desired(three()), seen)) == {"model.m@a/ollama": "m:q8"}
    ours = plan(of, desired(three()), seen, applied(owned("m", "a", 5 * GIB, engine_name="m:q4")))
    assert ours.steps == ()
    assert ours.placed == {"model.m@a/ollama": "m:q4"}


def test_a_replica_on_an_engine_that_cannot_be_asked_keeps_its_variant():
    of = fleet(node("a", 10 * GIB))
    result = plan(of, desired(three()), facts(of, down=["a"]), applied(owned("m", "a", 5 * GIB, engine_name="m:q4")))
    assert (actions(result), result.placed) == ([], {"model.m@a/ollama": "m:q4"})


def test_a_context_keeps_the_variant_and_changes_its_tag():
    of = fleet(node("a", 10 * GIB))
    names = ("m:q4", "m:q4-c4096")
    seen = facts(of, {"a": [loaded("m:q4-c4096", 5 * GIB, blob="sha256-4")]}, names, blobs=dict.fromkeys(names, "sha256-4"))
    before = applied(owned("m", "a", 5 * GIB, engine_name="m:q4-c4096", context=4096))
    result = plan(of, desired(three(context=8192)), seen, before)
    assert [(step.action, step.engine_name) for step in result.steps] == [("tag", "m:q4-c8192"), ("reload", "m:q4-c8192")]


def test_a_saved_plan_with_variants_stands_on_the_facts_it_was_made_from():
    of = fleet(node("a", 10 * GIB), node("b", 6 * GIB))
    want, seen = desired(three(("a", "b"), each="node")), facts(of)
    assert first_stale_step(plan(of, want, seen), of, want, seen, Applied()) is None


def test_the_plan_shows_the_choice_to_people_and_programs(snapshot):
    of = fleet(node("a", 6 * GIB), node("b", 1 * GIB))
    result = plan(of, desired(three(("a", "b"), each="node")), facts(of, installed=EVERY))
    document = plan_document(result)
    assert document["steps"][0]["variant"] == {
        "name": "m:q4",
        "passed_over": [{"name": "m:q8", "reason": "too_large", "message": "needs 9216 MiB > 5529 MiB usable"}],
    }
    assert plan_text(result) == snapshot


@st.composite
def situations(draw):
    """A few cards, models with one to three variants of falling size, strangers and our own rows from before."""
    count = draw(st.integers(1, 4))
    names = "abcd"[:count]
    of = fleet(*(node(name, draw(st.integers(2, 12)) * GIB) for name in names))
    models = []
    for number in range(draw(st.integers(1, 3))):
        sizes = sorted(draw(st.sets(st.integers(1, 10), min_size=1, max_size=3)), reverse=True)
        variants = tuple(Variant(f"m{number}:q{size}", size * GIB) for size in sizes)
        how = draw(st.sampled_from([{"replicas": 1}, {"replicas": 2}, {"each": "node"}]))
        models.append(model(f"m{number}", list(names), variants=variants, priority=draw(st.integers(0, 2)), **how))
    residents, rows = {}, []
    for name in names:
        there = []
        for one in models:
            variant = draw(st.none() | st.sampled_from(one.variants))
            if variant is not None:
                there.append(loaded(variant.name, variant.vram))
                if draw(st.booleans()):
                    rows.append(owned(one.name, name, variant.vram, engine_name=variant.name))
        residents[name] = there
    every = [variant.name for one in models for variant in one.variants]
    policy = Policy(unmanaged=draw(st.sampled_from(list(Unmanaged))))
    return of, desired(*models, policy=policy), facts(of, residents, every), applied(*rows)


@settings(max_examples=150, deadline=None)
@given(situations())
def test_the_plan_after_a_plan_with_variants_is_empty(situation):
    of, want, seen, before = situation
    after, state = carry_out(plan(of, want, seen, before), seen, before)
    assert actions(plan(of, want, after, state)) == []


@settings(max_examples=150, deadline=None)
@given(situations())
def test_a_passed_over_variant_did_not_fit_or_another_was_there_before(situation):
    of, want, seen, before = situation
    known = {one.name: [variant.name for variant in one.variants] for one in want.models}
    for step in plan(of, want, seen, before).steps:
        if step.variant is None or step.action != "load":
            continue
        names = known[step.model]
        assert [one.name for one in step.variant.passed_over] == names[: names.index(step.variant.name)]
        for one in step.variant.passed_over:
            if one.reason == "applied_before":
                assert before.replicas[step.address].engine_name == step.engine_name
            assert one.message


@settings(max_examples=100, deadline=None)
@given(situations())
def test_what_has_no_place_fits_nowhere_in_any_variant(situation):
    of, want, seen, before = situation
    board = set_up(of, seen, want.limits)
    placement = place(board, want, before)
    at = {}
    for target in placement.targets:
        at.setdefault(target.model.name, set()).add(target.slot.id.node)
    for lacking in placement.lacking:
        for slot in board:
            if slot.id.node in at.get(lacking.model.name, set()):
                continue
            free = slot.cards[0].free
            assert all(free < variant.vram for variant in lacking.model.variants), (lacking.model.name, slot.id, free)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_order_of_models_decides_nothing_among_variants(order):
    of = fleet(node("a", 10 * GIB), node("b", 6 * GIB))
    models = [three(("a", "b")), replace(three(("a", "b"), variants=(Variant("k:q8", 9 * GIB), Variant("k:q4", 5 * GIB))), name="k")]
    result = plan(of, desired(*(models[number] for number in order)), facts(of, installed=("k:q8", "k:q4", *EVERY)))
    assert chosen(result) == {"model.k@a/ollama": "k:q8", "model.m@b/ollama": "m:q4"}


def test_another_variant_in_the_place_of_one_that_cannot_be_loaded_anew_is_a_model_of_its_own_and_waits_for_its_unload():
    of = fleet(node("a", 9 * GIB))
    seen = facts(of, {"a": [loaded("m:q4", 5 * GIB, context=4096), loaded("x:1", 5 * GIB)]}, EVERY)
    state = applied(replace(owned("m", "a", 5 * GIB), engine_name="m:q4"))
    want = desired(three(variants=(Q4, Q2), context=8192, context_via=ContextVia.REQUEST))
    result = plan(of, want, seen, state)
    assert actions(result) == ["unload model.m@a/ollama", "load model.m@a/ollama"]
    assert [step.reason.code for step in result.steps] == ["variant_changed", "variant_changed"]
    assert result.steps[1].needs == ("unload:model.m@a/ollama",)
    assert (result.gpus[0].before_bytes, result.gpus[0].peak_bytes, result.gpus[0].after_bytes) == (10 * GIB, 10 * GIB, 8 * GIB)
    assert first_stale_step(result, of, want, seen, state) is None


def test_a_stranger_is_not_unloaded_for_another_variant_of_what_it_is():
    of = fleet(node("a", 9 * GIB))
    seen = facts(of, {"a": [loaded("m:q4", 5 * GIB, context=4096), loaded("x:1", 5 * GIB)]}, EVERY)
    result = plan(of, desired(three(variants=(Q4, Q2), context=8192, context_via=ContextVia.REQUEST)), seen)
    assert actions(result) == []
    assert result.gpus[0].after_bytes == 10 * GIB


def test_a_resident_that_is_kept_as_one_model_is_not_loaded_anew_as_a_variant_of_another():
    """Its room would be given away twice."""
    of = fleet(node("a", 8 * GIB))
    seen = facts(of, {"a": [loaded("n:1", 7 * GIB, context=4096)]}, EVERY)
    either = model("m", ("a",), variants=(Variant("n:1", 9 * GIB), Q2), context=8192, context_via=ContextVia.REQUEST, priority=2)
    of_all = desired(either, model("n:1", ("a",), 7 * GIB), model("o:1", ("a",), 5 * GIB, priority=1))
    result = plan(of, of_all, seen, applied(owned("n:1", "a", 7 * GIB)))
    (card,) = result.gpus
    assert card.peak_bytes <= 8 * GIB
    assert card.after_bytes == sum(step.vram_bytes for step in result.steps if step.action in ("load", "reload"))
