"""What was repaired and is wrong again is held, with the reason and the way out, so that no repair goes round in a circle."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fleets import GIB, NOW, applied, desired, facts, fleet, loaded, model, node, owned

from reconciler.fleet import ContextVia, Incident
from reconciler.planning import asked_digest, evicted_by, first_stale_step, make_plan

CARD = fleet(node("a", 24 * GIB), node("b", 24 * GIB))
M, WANT = "model.m:1@a/ollama", model("m:1", ["a"], GIB)
THERE = facts(CARD, {"a": [loaded("m:1", GIB), loaded("n:1", GIB)]}, ["m:1", "n:1", "x:1"])
EVICTED = facts(CARD, {"a": [loaded("n:1", GIB), loaded("x:1", GIB)]}, ["m:1", "n:1", "x:1"])


def before(*incidents, of=WANT, minutes=30, **fields):
    """The state with these incidents, each so many minutes before now."""
    at = f"2025-12-31T23:{60 - minutes:02}:00Z"
    found = tuple(Incident(M, code, at.replace("00Z", f"{number:02}Z"), asked_digest(of)) for number, code in enumerate(incidents))
    return replace(applied(owned("m:1", "a", **fields)), incidents=found)


def plan(want, seen, state, recorded=THERE, now=NOW, again=()):
    return make_plan(CARD, desired(want), seen, state, config_digest="c", created_at=now, recorded=recorded, again=frozenset(again))


def outcome(result):
    return [(step.action.value, step.reason.code) for step in result.steps], [note.address for note in result.held]


def test_gone_while_another_came_and_the_rest_stayed_is_evicted():
    was, now = THERE.nodes["a"].engines["ollama"], EVICTED.nodes["a"].engines["ollama"]
    assert evicted_by("m:1", was, now) == "x:1"
    assert evicted_by("m:1", was, replace(now, residents=())) is None, "all gone: a restart"
    assert evicted_by("m:1", was, replace(now, residents=now.residents[:1])) is None, "a lone disappearance"
    assert evicted_by("m:1", was, replace(now, residents=now.residents[1:])) is None, "the rest did not stay"
    assert evicted_by("m:1", was, replace(now, residents=None)) is None, "nobody can tell"
    assert evicted_by("m:1", None, now) is None
    away = replace(was, reachable=False, reason="connection refused")
    assert evicted_by("m:1", away, now) == "x:1", "what was last known of one that the last apply could not ask counts too"


def test_what_was_evicted_is_loaded_again_twice_an_hour_and_then_held():
    assert outcome(plan(WANT, EVICTED, before())) == ([("load", "evicted")], [])
    assert outcome(plan(WANT, EVICTED, before("evicted"))) == ([("load", "evicted")], [])
    third = plan(WANT, EVICTED, before("evicted", "evicted"))
    assert outcome(third) == ([], [M])
    assert third.held[0].message == (
        "was evicted 3 times within an hour (last for x:1) and is not loaded again: held until 2026-01-01 01:00 UTC, "
        f"until what is asked of it changes, or with --replace {M}"
    )


def test_a_restart_is_no_eviction_however_often_it_was_evicted_before():
    assert outcome(plan(WANT, facts(CARD, installed=["m:1"]), before("evicted", "evicted"))) == ([("load", "missing")], [])


def test_what_is_held_stays_so_when_the_facts_that_told_are_no_longer_recorded():
    state = before("evicted", "evicted", "held")
    assert outcome(plan(WANT, EVICTED, state, recorded=EVICTED)) == ([], [M])
    third = plan(WANT, EVICTED, before("evicted", "evicted"))
    kept = [(one.code, one.evictor) for one in third.incidents]
    assert kept == [("evicted", "x:1"), ("held", None)]
    assert [one.code for one in plan(WANT, EVICTED, state).incidents] == ["evicted"], "it is known to be held"


@pytest.mark.parametrize("code", ["evicted", "held"])
def test_it_is_let_go_after_an_hour_by_a_changed_desired_or_by_replace(code):
    state = before("evicted", "evicted", code)
    assert outcome(plan(WANT, EVICTED, state)) == ([], [M])
    assert outcome(plan(WANT, EVICTED, state, now="2026-01-01T00:30:05Z"))[1] == []
    assert outcome(plan(replace(WANT, priority=3), EVICTED, state))[1] == []
    assert outcome(plan(WANT, EVICTED, state, again=[M])) == ([("load", "evicted")], [])


def test_room_is_not_made_for_what_is_held():
    seen = facts(CARD, {"a": [loaded("n:1", 15 * GIB), loaded("x:1", GIB)]}, ["m:1", "n:1", "x:1"])
    recorded = facts(CARD, {"a": [loaded("m:1", 15 * GIB), loaded("n:1", 15 * GIB)]}, ["m:1", "n:1", "x:1"])
    want = model("m:1", ["a"], 15 * GIB, priority=9)
    state = before("evicted", "evicted", of=want)
    low = model("n:1", ["a"], 15 * GIB)
    state = replace(state, replicas={**state.replicas, "model.n:1@a/ollama": owned("n:1", "a")})
    result = make_plan(CARD, desired(want, low), seen, state, config_digest="c", created_at=NOW, recorded=recorded)
    assert outcome(result) == ([], [M])


def test_a_held_replica_is_back_as_soon_as_it_is_resident():
    assert outcome(plan(WANT, THERE, before("evicted", "evicted", "held"))) == ([], [])


DRIFTED = facts(CARD, {"a": [loaded("m:1", GIB, context=4096)]}, ["m:1"])
BY_REQUEST = model("m:1", ["a"], GIB, context=8192, context_via=ContextVia.REQUEST)


def test_a_context_that_drifts_again_within_an_hour_of_its_repair_is_held_with_advice():
    fields = {"context": 8192, "observed_context": 8192}
    assert outcome(plan(BY_REQUEST, DRIFTED, before(of=BY_REQUEST, **fields))) == ([("reload", "context_differs")], [])
    state = before("context_differs", of=BY_REQUEST, **fields)
    result = plan(BY_REQUEST, DRIFTED, state)
    assert outcome(result) == ([], [M])
    assert "context 4096, wanted 8192" in result.held[0].message
    assert "a client that sends no num_ctx undoes it, `context_via: tag` does not" in result.held[0].message
    assert [one.field for one in result.drift] == ["context"], "it is drift all the same"
    assert outcome(plan(BY_REQUEST, DRIFTED, state, now="2026-01-01T00:30:05Z")) == ([("reload", "context_differs")], [])
    assert outcome(plan(BY_REQUEST, DRIFTED, state, again=[M])) == ([("reload", "context_differs")], [])
    assert outcome(plan(replace(BY_REQUEST, context=2048), DRIFTED, state))[1] == []


def test_with_a_derived_tag_the_advice_names_it():
    want = model("m:1", ["a"], GIB, context=8192)
    seen = facts(
        CARD,
        {"a": [loaded("m:1", GIB, context=4096, blob="sha256:w")]},
        ["m:1", "m:1-c8192"],
        blobs=dict.fromkeys(["m:1", "m:1-c8192"], "sha256:w"),
    )
    state = before("context_differs", of=want, engine_name="m:1-c8192", context=8192)
    result = plan(want, seen, state)
    assert outcome(result) == ([], [M])
    assert "clients of m:1 undo it, have them ask for m:1-c8192" in result.held[0].message


def test_a_fallback_to_the_cpu_that_a_reload_did_not_mend_is_held():
    seen = facts(CARD, {"a": [loaded("m:1", GIB, fraction=0.5)]}, ["m:1"])
    assert outcome(plan(WANT, seen, before())) == ([("reload", "cpu_fallback")], [])
    result = plan(WANT, seen, before("cpu_fallback"))
    assert outcome(result) == ([], [M])
    assert "drifted again within an hour of its reload (50% on the card)" in result.held[0].message


def test_replace_loads_again_what_is_as_wanted_and_never_what_is_protected():
    assert outcome(plan(WANT, THERE, before(), again=[M])) == ([("reload", "asked_again")], [])
    protected = plan(replace(WANT, protect=True), THERE, before(), again=[M])
    assert (outcome(protected), [one.guard for one in protected.refusals]) == (([], []), ["protect"])


def test_a_hold_made_by_one_fault_holds_no_other():
    fields = {"context": 8192, "observed_context": 8192}
    on_cpu = facts(CARD, {"a": [loaded("m:1", GIB, fraction=0.0, context=8192)]}, ["m:1"])
    after_context = before("context_differs", of=BY_REQUEST, **fields)
    assert outcome(plan(BY_REQUEST, on_cpu, after_context)) == ([("reload", "cpu_fallback")], [])
    after_fallback = before("cpu_fallback", of=BY_REQUEST, **fields)
    assert outcome(plan(BY_REQUEST, DRIFTED, after_fallback)) == ([("reload", "context_differs")], [])
    both = before("cpu_fallback", "context_differs", of=BY_REQUEST, **fields)
    assert outcome(plan(BY_REQUEST, on_cpu, both)) == ([], [M])


def test_what_is_held_for_its_context_is_pinned_again_where_it_would_expire():
    expiring = facts(CARD, {"a": [loaded("m:1", GIB, context=4096, pinned=False)]}, ["m:1"])
    state = before("context_differs", of=BY_REQUEST, context=8192, observed_context=8192)
    result = plan(BY_REQUEST, expiring, state)
    assert outcome(result) == ([("update", "keep_alive_differs")], [M])
    assert first_stale_step(result, CARD, desired(BY_REQUEST), expiring, state) is None
    pinned = facts(CARD, {"a": [loaded("m:1", GIB, context=4096)]}, ["m:1"])
    assert outcome(plan(BY_REQUEST, pinned, state)) == ([], [M])


def test_one_that_is_held_and_gone_does_not_stop_a_saved_plan_from_unloading_another_one():
    want = desired(replace(WANT, nodes=("a", "b"), replicas=2), model("big:1", ["b"], 21 * GIB, priority=1))
    both = ["m:1", "n:1", "x:1", "big:1"]
    seen = facts(CARD, {"a": [loaded("n:1", GIB), loaded("x:1", GIB)], "b": [loaded("m:1", GIB)]}, both)
    state = before("evicted", "evicted", of=want.models[0])
    state = replace(state, replicas={**state.replicas, **applied(owned("m:1", "b")).replicas})
    result = make_plan(CARD, want, seen, state, config_digest="c", created_at=NOW, recorded=THERE)
    assert outcome(result) == ([("unload", "displaced"), ("load", "not_loaded")], [M])
    assert first_stale_step(result, CARD, want, seen, state) is None
