"""What is done about a replica, rule by rule."""

from __future__ import annotations

import pytest
from fleets import GIB, actions, applied, desired, facts, fleet, loaded, model, node, owned, plan

from reconciler.fleet import EngineKind, Ensure, Limits, Policy, Residency, ResidentStatus, Unmanaged
from reconciler.fleet.facts import Resident
from reconciler.planning import Cause

CARD = fleet(node("a", 24 * GIB))
WANT = desired(model("m:1", ["a"], 5 * GIB))
THERE = model("m:1", ["a"], 5 * GIB)


def one_step(of):
    assert len(of.steps) == 1, actions(of)
    return of.steps[0]


def test_an_adopted_resident_whose_options_nobody_tells_is_warned_of():
    want = desired(model("m:1", ["a"], 5 * GIB, options={"num_batch": 256}))
    result = plan(CARD, want, facts(CARD, {"a": [loaded("m:1", 5 * GIB)]}, ["m:1"]))
    assert actions(result) == ["adopt model.m:1@a/ollama"]
    (note,) = result.notes
    assert (note.address, note.code) == ("model.m:1@a/ollama", "options_unknown")
    assert "Ollama does not tell num_batch; --replace model.m:1@a/ollama" in note.message
    assert plan(CARD, WANT, facts(CARD, {"a": [loaded("m:1", 5 * GIB)]})).notes == ()


def test_a_wanted_model_that_is_installed_is_loaded_as_pending():
    step = one_step(plan(CARD, WANT, facts(CARD, installed=["m:1"])))
    assert (step.action, step.reason.code, step.cause, step.gpus, step.vram_bytes) == ("load", "not_loaded", Cause.PENDING, (0,), 5 * GIB)


def test_a_model_that_is_not_installed_is_pulled_before_its_load():
    result = plan(CARD, WANT, facts(CARD))
    assert actions(result) == ["pull model.m:1@a/ollama", "load model.m:1@a/ollama"]
    assert result.steps[1].needs == (result.steps[0].id,)


def test_a_resident_that_matches_is_adopted_and_nothing_else():
    step = one_step(plan(CARD, WANT, facts(CARD, {"a": [loaded("m:1", 5 * GIB)]}, ["m:1"])))
    assert (step.action, step.cause) == ("adopt", Cause.ADOPT)


def test_what_was_applied_and_is_there_needs_nothing():
    result = plan(CARD, WANT, facts(CARD, {"a": [loaded("m:1", 5 * GIB)]}, ["m:1"]), applied(owned("m:1", "a")))
    assert (result.empty, result.unchanged, result.pending, result.drift) == (True, 1, 0, ())


def test_a_replica_that_is_gone_is_drift_and_loaded_where_it_was():
    two = fleet(node("a", 8 * GIB), node("b", 24 * GIB))
    result = plan(two, desired(model("m:1", ["a", "b"], 5 * GIB)), facts(two, installed=["m:1"]), applied(owned("m:1", "a")))
    step = one_step(result)
    assert (step.action, step.node, step.reason.code, step.cause) == ("load", "a", "missing", Cause.DRIFT)
    assert [entry.kind for entry in result.drift] == ["missing"]


def test_a_tenth_on_the_card_is_a_cpu_fallback_and_reloaded():
    seen = facts(CARD, {"a": [loaded("m:1", 5 * GIB, fraction=0.1)]}, ["m:1"])
    result = plan(CARD, WANT, seen, applied(owned("m:1", "a")))
    step = one_step(result)
    assert (step.action, step.reason.code, step.cause) == ("reload", "cpu_fallback", Cause.DRIFT)
    assert [entry.kind for entry in result.drift] == ["cpu_fallback"]


def test_an_unknown_fraction_is_neither_drift_nor_a_step():
    seen = facts(CARD, {"a": [Resident("m:1", context=4096, pinned=True)]}, ["m:1"])
    assert plan(CARD, WANT, seen, applied(owned("m:1", "a"))).empty


def test_a_finite_keep_alive_is_pinned_again_without_a_reload():
    seen = facts(CARD, {"a": [loaded("m:1", 5 * GIB, pinned=False)]}, ["m:1"])
    step = one_step(plan(CARD, WANT, seen, applied(owned("m:1", "a"))))
    assert (step.action, step.reason.code) == ("update", "keep_alive_differs")


def test_a_context_lives_in_a_tag_that_is_made_before_the_load():
    result = plan(CARD, desired(model("m:1", ["a"], 5 * GIB, context=8192)), facts(CARD, installed=["m:1"]))
    tag, load = result.steps
    assert (tag.action, tag.reason.code, tag.engine_name, tag.base_name) == ("tag", "make_tag", "m:1-c8192", "m:1")
    assert (load.action, load.engine_name) == ("load", "m:1-c8192")
    assert [note.code for note in result.notes] == ["context_tag"]


def test_another_context_of_the_same_weights_is_reloaded():
    seen = facts(CARD, {"a": [loaded("m:1", 5 * GIB, blob="w")]}, ["m:1", "m:1-c8192"], blobs={"m:1": "w", "m:1-c8192": "w"})
    want = desired(model("m:1", ["a"], 5 * GIB, context=8192))
    row = owned("m:1", "a", engine_name="m:1-c8192", context=8192, observed_context=8192)
    step = one_step(plan(CARD, want, seen, applied(row)))
    assert (step.action, step.reason.code, step.cause) == ("reload", "context_differs", Cause.DRIFT)


def test_a_model_that_is_loading_is_waited_for():
    seen = facts(CARD, {"a": [Resident("m:1", ResidentStatus.LOADING)]}, ["m:1"])
    assert actions(plan(CARD, WANT, seen)) == ["wait model.m:1@a/ollama"]


def test_an_engine_that_cannot_be_reached_is_deferred_and_nothing_is_moved_away_from_it():
    two = fleet(node("a", 8 * GIB), node("b", 24 * GIB))
    want = desired(model("m:1", ["a", "b"], 5 * GIB))
    result = plan(two, want, facts(two, installed=["m:1"], down=["a"]), applied(owned("m:1", "a")))
    assert result.empty
    assert result.drift == ()
    assert [(entry.node, entry.reason) for entry in result.deferred] == [("a", "connection refused")]


def test_what_we_loaded_and_is_no_longer_wanted_is_unloaded():
    seen = facts(CARD, {"a": [loaded("old:1", GIB)]}, ["old:1"])
    step = one_step(plan(CARD, desired(), seen, applied(owned("old:1", "a"))))
    assert (step.action, step.reason.code) == ("unload", "not_wanted")


def test_what_we_loaded_and_is_neither_wanted_nor_there_is_forgotten_without_a_step():
    result = plan(CARD, desired(), facts(CARD), applied(owned("old:1", "a")))
    assert result.empty
    assert result.forgotten == ("model.old:1@a/ollama",)
    assert result.pending == 0


@pytest.mark.parametrize(
    ("policy", "steps", "drift"),
    [(Unmanaged.LEAVE, 0, 0), (Unmanaged.YIELD, 0, 0), (Unmanaged.DRIFT, 0, 1), (Unmanaged.UNLOAD, 1, 1)],
)
def test_a_resident_nobody_asked_for_is_treated_as_the_policy_says(policy, steps, drift):
    seen = facts(CARD, {"a": [loaded("stranger:1", GIB, pinned=False)]}, ["stranger:1"])
    result = plan(CARD, desired(policy=Policy(policy)), seen)
    assert (len(result.steps), len(result.drift)) == (steps, drift)


def test_an_unmanaged_resident_keeps_its_room_and_the_plan_says_what_would_help():
    seen = facts(CARD, {"a": [loaded("stranger:1", 20 * GIB)]}, ["m:1"])
    result = plan(CARD, WANT, seen)
    assert result.empty
    assert any("unmanaged" in line for line in result.unplaced[0].would_fit_if)


def test_an_unmanaged_resident_that_may_yield_is_evicted_after_the_pull():
    seen = facts(CARD, {"a": [loaded("stranger:1", 20 * GIB, pinned=False)]})
    result = plan(CARD, desired(THERE, policy=Policy(Unmanaged.YIELD)), seen)
    assert [step.action.value for step in result.steps] == ["pull", "unload", "load"]
    assert result.impact.evictions == ("model.stranger:1@a/ollama",)


def test_a_pinned_unmanaged_resident_does_not_yield():
    seen = facts(CARD, {"a": [loaded("stranger:1", 20 * GIB, pinned=True)]}, ["m:1"])
    assert plan(CARD, desired(THERE, policy=Policy(Unmanaged.YIELD)), seen).empty


def test_present_is_pulled_and_never_loaded():
    want = desired(model("m:1", ["a"], ensure=Ensure.PRESENT, keep_alive=None))
    assert actions(plan(CARD, want, facts(CARD))) == ["pull model.m:1@a/ollama"]
    assert plan(CARD, want, facts(CARD, installed=["m:1"]), applied(owned("m:1", "a", ensure="present", keep_alive=None))).empty


def test_a_server_of_one_model_is_observed_only():
    single = fleet(node("a", 24 * GIB, kind=EngineKind.LLAMACPP))
    seen = facts(single, {"a": [Resident("m", context=4096)]}, ["m"])
    engine = seen.nodes["a"].engines["llamacpp"]
    object.__setattr__(engine, "mode", "single")
    result = plan(single, desired(model("m", ["a"], GIB), model("other", ["a"], GIB)), seen)
    assert actions(result) == ["adopt model.m@a/llamacpp"]
    assert result.unplaced[0].candidate_counts == {"engine_fixed_model": 1}


def test_a_fixed_context_is_drift_without_a_step():
    router = fleet(node("a", 24 * GIB, kind=EngineKind.LLAMACPP))
    seen = facts(router, {"a": [Resident("m", context=2048)]}, ["m"])
    result = plan(
        router, desired(model("m", ["a"], GIB, context=8192)), seen, applied(owned("m", "a", kind=EngineKind.LLAMACPP, context=8192))
    )
    assert result.empty
    assert "engine_fixed_options" in {note.code for note in result.notes}
    assert result.drift != ()


def test_a_model_on_the_cpu_is_counted_against_ram():
    plain = fleet(node("a", ram=8 * GIB))
    result = plan(
        plain,
        desired(model("m:1", ["a"], 5 * GIB, residency=Residency.CPU), model("n:1", ["a"], 5 * GIB, residency=Residency.CPU)),
        facts(plain, installed=["m:1", "n:1"]),
    )
    assert actions(result) == ["load model.m:1@a/ollama"]
    assert result.unplaced[0].candidate_counts == {"insufficient_ram": 1}


def test_gpu_preferred_takes_the_cpu_only_where_no_card_has_room():
    two = fleet(node("a", 4 * GIB), node("b", ram=32 * GIB))
    prefers = {"residency": Residency.GPU_PREFERRED}
    seen = facts(two, installed=["small:1", "large:1"])
    result = plan(two, desired(model("small:1", ["a", "b"], GIB, **prefers), model("large:1", ["a", "b"], 6 * GIB, **prefers)), seen)
    assert {(step.model, step.node) for step in result.steps} == {("small:1", "a"), ("large:1", "b")}


def test_an_apply_on_a_few_nodes_leaves_the_others_alone():
    two = fleet(node("a", 8 * GIB), node("b", 8 * GIB))
    want = desired(model("m:1", ["a", "b"], GIB, each="node"))
    result = plan(two, want, facts(two, installed=["m:1"]), selected=frozenset({"b"}))
    assert actions(result) == ["load model.m:1@b/ollama"]
    assert result.unplaced == ()


def test_limits_are_declared_at_the_card_before_the_node():
    assert Limits(reserve=1).over(Limits(reserve=2, ram_reserve=3)) == Limits(reserve=1, ram_reserve=3)


def test_the_digest_leaves_out_time_serial_and_what_a_leaving_model_holds_just_now():
    def digest(held, serial):
        before = applied(owned("old:1", "a"))
        object.__setattr__(before, "serial", serial)
        return plan(CARD, desired(), facts(CARD, {"a": [loaded("old:1", held)]}, ["old:1"]), before).digest

    assert digest(GIB, 1) == digest(GIB + 4096, 2)


def test_the_digest_tells_one_plan_from_another():
    seen = facts(CARD, installed=["m:1"])
    digests = {plan(CARD, desired(model("m:1", ["a"], need)), seen).digest for need in (GIB, 2 * GIB)}
    assert len(digests) == 2


def test_a_replica_that_may_fit_on_an_engine_that_cannot_be_reached_waits_and_is_not_called_unplaced():
    two = fleet(node("a", 8 * GIB), node("b", 2 * GIB))
    result = plan(two, desired(model("m:1", ["a", "b"], 5 * GIB)), facts(two, installed=["m:1"], down=["a"]))
    assert result.empty
    assert result.unplaced == ()
    assert [(note.code, note.message) for note in result.notes] == [
        ("waits_for_unreachable", "1 replica waits until a/ollama can be reached")
    ]


def test_a_context_that_the_server_decides_is_told_and_never_reloaded_for():
    from reconciler.fleet import ContextVia

    want = desired(model("m:1", ["a"], 5 * GIB, context=8192, context_via=ContextVia.ENGINE))
    seen = facts(CARD, {"a": [loaded("m:1", 5 * GIB)]}, ["m:1"])
    result = plan(CARD, want, seen, applied(owned("m:1", "a", context=8192)))
    assert result.empty
    (message,) = [note.message for note in result.notes if note.code == "engine_fixed_options"]
    assert message == "serves context 4096, wanted 8192; set OLLAMA_CONTEXT_LENGTH=8192"


def test_clients_are_told_of_a_tag_only_where_the_model_may_be_on_an_ollama():
    two = fleet(node("a", 8 * GIB), node("b", 8 * GIB, kind=EngineKind.LLAMACPP))
    for on, told in ((["b"], []), (["a", "b"], ["context_tag"])):
        result = plan(two, desired(model("m:1", on, 5 * GIB, context=8192)), facts(two, installed=["m:1"]))
        assert [note.code for note in result.notes if note.code == "context_tag"] == told


@pytest.mark.parametrize(
    ("pinned", "policy", "lines"),
    [
        ((False, False), Unmanaged.LEAVE, ["2 unmanaged residents (6144 MiB) make room: `policy: {unmanaged: yield}`"]),
        ((True, True), Unmanaged.LEAVE, ["2 unmanaged residents (6144 MiB) make room: `policy: {unmanaged: unload}`"]),
        ((True, True), Unmanaged.YIELD, ["2 unmanaged residents (6144 MiB) make room: `policy: {unmanaged: unload}`"]),
        (
            (False, True),
            Unmanaged.LEAVE,
            ["2 unmanaged residents (6144 MiB) make room: `policy: {unmanaged: unload}`"],
        ),
    ],
)
def test_the_policy_that_would_make_room_is_one_that_takes_these_residents(pinned, policy, lines):
    strangers = [loaded(f"{number}:1", 3 * GIB, pinned=one) for number, one in enumerate(pinned)]
    one = fleet(node("a", 8 * GIB))
    seen = facts(one, {"a": strangers}, ["m:1", "0:1", "1:1"])
    (lacking,) = plan(one, desired(model("m:1", ["a"], 7 * GIB), policy=Policy(unmanaged=policy)), seen).unplaced
    assert [line for line in lacking.would_fit_if if "unmanaged" in line] == lines
