"""One name, two residents: the tag was pulled anew while the older weights still ran."""

from __future__ import annotations

from dataclasses import replace

from fleets import GIB, actions, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.fleet import Applied, Policy, Unmanaged
from reconciler.planning import import_fleet

OF = fleet(node("a", 24 * GIB))
WANT = desired(model("m:1", ["a"], 6 * GIB))
OLD, NEW = replace(loaded("m:1", 6 * GIB), digest="old"), replace(loaded("m:1", 6 * GIB), digest="new")


def seen(*residents):
    found = facts(OF, {"a": residents}, ["m:1"])
    engine = found.nodes["a"].engines["ollama"]
    engine = replace(engine, installed=(replace(engine.installed[0], digest="new", blob="sha256:w"),))
    return replace(found, nodes={"a": replace(found.nodes["a"], engines={"ollama": engine})})


def test_the_one_with_the_digest_of_the_tag_is_adopted_and_the_other_is_told_and_charged():
    first = plan(OF, WANT, seen(OLD, NEW))
    assert actions(first) == ["adopt model.m:1@a/ollama"]
    assert [note.code for note in first.notes] == ["left_over"]
    assert [card.before_bytes for card in first.gpus] == [12 * GIB]
    assert actions(plan(OF, WANT, seen(OLD, NEW), applied(owned("m:1", "a", 6 * GIB)))) == []


def test_nothing_is_sent_to_get_rid_of_what_no_request_reaches():
    for policy in (Policy(Unmanaged.UNLOAD), Policy(Unmanaged.YIELD)):
        want = replace(WANT, policy=policy)
        finite = replace(OLD, pinned=False)
        assert actions(plan(OF, want, seen(finite, NEW), applied(owned("m:1", "a", 6 * GIB)))) == []


def test_what_is_wanted_no_more_is_unloaded_once():
    assert actions(plan(OF, desired(), seen(OLD, NEW), applied(owned("m:1", "a", 6 * GIB)))) == ["unload model.m:1@a/ollama"]


def test_an_import_writes_it_once_and_says_what_it_leaves_out():
    found = import_fleet(OF, seen(OLD, NEW), Applied(), lambda nodes: "all")
    assert [(one.spec.name, one.spec.replicas) for one in found.models] == [("m:1", 1)]
    assert [one.what for one in found.left_out] == ["m:1 on a/ollama"]
