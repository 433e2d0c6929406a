"""Rows of an earlier serial as desired state: what was asked then, with what only the files know as it is now."""

from __future__ import annotations

from dataclasses import replace

from fleets import GIB, applied, desired, facts, fleet, loaded, model, node, owned, plan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.fleet import ContextVia, EngineKind, Ensure
from reconciler.planning import desired_of

ON = fleet(node("a", 24 * GIB), node("b", 24 * GIB))


def test_a_row_asks_for_what_it_was_asked_with_and_takes_priorities_and_needs_of_now():
    now = desired(model("chat:1", ["b"], 5 * GIB, priority=7, context=4096))
    rows = [owned("chat:1", "a", engine_name="chat:1-c8192", context=8192, options={"num_batch": 256})]
    (spec,) = desired_of(rows, ON, now)[0].models
    assert (spec.nodes, spec.replicas, spec.context, spec.context_via) == (("a",), 1, 8192, ContextVia.TAG)
    assert (spec.priority, spec.vram, spec.options, spec.names) == (7, 5 * GIB, {"num_batch": 256}, {})
    assert spec.engine_name(EngineKind.OLLAMA) == "chat:1-c8192"


def test_what_the_files_no_longer_name_comes_back_and_what_they_name_since_goes():
    now = desired(model("new:1", ["a"], GIB))
    rows = [owned("old", "a", engine_name="llama3.1:8b", ensure="present", keep_alive=None)]
    (spec,) = desired_of(rows, ON, now)[0].models
    assert (spec.name, spec.names, spec.ensure) == ("old", {EngineKind.OLLAMA: "llama3.1:8b"}, Ensure.PRESENT)


def test_a_row_on_an_engine_that_is_no_more_is_told_as_lost():
    rows = [owned("x:1", "gone"), owned("x:1", "a")]
    back, lost = desired_of(rows, ON, desired())
    assert (back.models[0].nodes, lost) == (("a",), ("model.x:1@gone/ollama",))


ROWS = st.dictionaries(
    st.tuples(st.sampled_from(["m1:1", "m2:1", "m3:1"]), st.sampled_from("ab")),
    st.sampled_from([None, 4096, 8192]),
    max_size=5,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ROWS)
def test_where_everything_is_as_it_was_applied_the_plan_back_is_empty(rows):
    of_model = {name: context for (name, _), context in rows.items()}
    there = {"a": [], "b": []}
    then = []
    for name, at in sorted(rows):
        context = of_model[name]
        on_engine = name if context is None else f"{name}-c{context}"
        there[at].append(loaded(on_engine, GIB, context=context or 4096))
        then.append(replace(owned(name, at, GIB, engine_name=on_engine, context=context), observed_context=None))
    names = sorted({one.name for residents in there.values() for one in residents} | {name for name, _ in rows})
    back, lost = desired_of(then, ON, desired())
    result = plan(ON, back, facts(ON, there, installed=names), applied(*then))
    assert (result.steps, result.unplaced, lost, result.pending) == ((), (), (), 0)
