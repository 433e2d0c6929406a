"""What is not as it should be is told once until it changes, and what cannot be seen is neither there nor gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.fleet import Applied, Desired, Fleet, FleetFacts, GpurecError, Topic
from reconciler.planning import Drift, make_plan
from reconciler.service.conditions import NONE, Condition, compare, of_error, of_plan

GONE = Condition(Topic.DRIFTED, "model.m:1@a/ollama", "missing resident", "(True, False)", "was resident, is gone", ("a", "ollama"))
AWAY = Condition(Topic.UNREACHABLE, "engine.a/ollama", "", "", "it did not answer", ("a", "ollama"))
NODE_AWAY = Condition(Topic.UNREACHABLE, "a", "", "", "no answer", ("a", None))


def test_what_is_new_is_told_once():
    first = compare(NONE, [GONE])
    assert (first.told, first.over) == ((GONE,), ())
    again = compare(first.now, [GONE])
    assert (again.told, again.over) == ((), ())


def test_what_changed_is_told_again_and_what_only_reads_otherwise_is_not():
    now = compare(NONE, [GONE]).now
    assert compare(now, [replace(GONE, message="was there, is not")]).told == ()
    changed = replace(GONE, state="(True, None)")
    assert compare(now, [changed]).told == (changed,)


def test_what_holds_no_more_is_over_once():
    now = compare(NONE, [GONE]).now
    ended = compare(now, [])
    assert (ended.told, ended.over, ended.now) == ((), (GONE,), {})


def test_what_is_at_a_silent_engine_or_node_is_not_called_recovered():
    now = compare(NONE, [GONE]).now
    for silent in (AWAY, NODE_AWAY):
        news = compare(now, [silent])
        assert (news.told, news.over) == ((silent,), ())
        assert GONE.key in news.now
        back = compare(news.now, [])
        assert set(back.over) == {GONE, silent}


def test_an_error_is_known_by_what_it_says():
    one, same, other = (of_error(GpurecError.of(what, None, None)) for what in ("a", "a", "b"))
    now = compare(NONE, [one]).now
    assert compare(now, [same]).told == ()
    assert compare(now, [other]).told == (other,)


@pytest.mark.parametrize(
    ("drift", "told"),
    [
        (Drift("model.m@a/ollama", "missing", "resident", True, False), "missing: was resident, is gone"),
        (Drift("engine.a/ollama", "missing", "exists", True, False), "missing: was there, is gone"),
        (Drift("engine.a/ollama", "state", "state", "running", "exited"), "state: running → exited"),
    ],
)
def test_drift_is_told_as_what_it_is_and_its_kind_once(drift: Drift, told: str):
    plan = make_plan(Fleet("f", {}), Desired(()), FleetFacts("", {}), Applied(), config_digest="c", created_at="")
    (one,) = of_plan(replace(plan, drift=(drift,)))
    assert one.message == told
