"""`kv_cache`, `parallel` and `flash_attention`: where an engine is known to run otherwise, where it tells, and where nobody can."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fleets import GIB, actions, desired, facts, fleet, loaded, model, node, plan

from reconciler.fleet import (
    EngineContainer,
    EngineKind,
    EngineSpec,
    Ensure,
    Fleet,
    KvCache,
    NodeSpec,
    OwnedEngine,
    Resident,
    RunOptions,
    told_by_start,
    with_asked_environment,
)
from reconciler.planning import Plan

Q8 = RunOptions(kv_cache=KvCache.Q8_0)


def with_env(of: NodeSpec, **env: str) -> NodeSpec:
    return replace(of, engines=tuple(replace(engine, env=env) for engine in of.engines))


def owned(of: NodeSpec, **env: str) -> NodeSpec:
    start = OwnedEngine(EngineContainer("ollama/ollama:0.34.0"), 11434, env=env)
    return replace(of, engines=tuple(replace(engine, env=env, owned=start) for engine in of.engines))


def only_engine(of: Fleet) -> EngineSpec:
    ((one,),) = [each.engines for each in of.nodes.values()]
    return one


def notes(of: Plan, code: str) -> list[str]:
    return [one.message for one in of.notes if one.code == code]


def test_an_ollama_that_is_declared_to_run_otherwise_gets_no_such_model_and_the_line_that_helps_is_named() -> None:
    of = fleet(with_env(node("a", 24 * GIB), OLLAMA_KV_CACHE_TYPE="f16"), with_env(node("b", 24 * GIB), OLLAMA_KV_CACHE_TYPE="q8_0"))
    want = desired(model("m:1", ["a", "b"], GIB, runs=Q8))
    assert actions(plan(of, want, facts(of, installed=["m:1"]))) == ["load model.m:1@b/ollama"]
    (unplaced,) = plan(of, desired(model("m:1", ["a"], GIB, runs=Q8)), facts(of, installed=["m:1"])).unplaced
    assert [(one.reason, one.message) for one in unplaced.candidates] == [
        ("engine_fixed_options", "its start sets OLLAMA_KV_CACHE_TYPE f16, wanted q8_0")
    ]
    assert unplaced.would_fit_if == ('a/ollama is started so: `env: {OLLAMA_KV_CACHE_TYPE: "q8_0"}` of the engine',)


def test_an_ollama_of_which_nobody_says_how_it_runs_takes_it_and_the_plan_says_that_it_cannot_be_seen() -> None:
    of = fleet(node("a", 24 * GIB))
    made = plan(of, desired(model("m:1", ["a"], GIB, runs=RunOptions(parallel=2, kv_cache=KvCache.Q8_0))), facts(of, installed=["m:1"]))
    assert actions(made) == ["load model.m:1@a/ollama"]
    assert made.drift == ()
    assert notes(made, "not_observable") == [
        "asked-for kv_cache, parallel: Ollama tells it to nobody; start it with OLLAMA_KV_CACHE_TYPE and OLLAMA_NUM_PARALLEL, "
        "and say so under `env` of the engine"
    ]


def test_a_model_that_runs_where_the_environment_says_otherwise_is_drift_that_no_step_mends() -> None:
    of = fleet(with_env(node("a", 24 * GIB), OLLAMA_NUM_PARALLEL="4", OLLAMA_FLASH_ATTENTION="0"))
    want = desired(model("m:1", ["a"], GIB, runs=RunOptions(parallel=2, flash_attention=True)))
    made = plan(of, want, facts(of, {"a": [loaded("m:1", GIB)]}, ["m:1"]))
    assert [step.action.value for step in made.steps] == ["adopt"]
    assert [(one.kind, one.field, one.applied, one.found) for one in made.drift] == [
        ("engine_fixed_options", "flash_attention", True, False),
        ("engine_fixed_options", "parallel", 2, 4),
    ]
    assert notes(made, "engine_fixed_options") == [
        "runs with parallel 4, wanted 2; set OLLAMA_NUM_PARALLEL",
        "runs with flash_attention false, wanted true; set OLLAMA_FLASH_ATTENTION",
    ]


@pytest.mark.parametrize(
    ("told", "drift"),
    [
        (("cache-type-k=q8_0", "cache-type-v=q8_0", "parallel=2", "flash-attn=on"), []),
        (("LLAMA_ARG_CACHE_TYPE_K=q8_0",), [("kv_cache", "q8_0", "q8_0/f16")]),
        (("parallel=4", "flash-attn=off"), [("flash_attention", True, False), ("parallel", 2, 4)]),
        ((), []),
        (None, []),
    ],
)
def test_a_llama_cpp_is_compared_by_what_its_preset_tells(told: tuple[str, ...] | None, drift: list[object]) -> None:
    of = fleet(node("a", 24 * GIB, kind=EngineKind.LLAMACPP))
    want = desired(model("m", ["a"], GIB, runs=RunOptions(2, KvCache.Q8_0, True)))
    made = plan(of, want, facts(of, {"a": [Resident("m", context=4096, options=told)]}, ["m"]))
    assert [(one.field, one.applied, one.found) for one in made.drift if one.kind == "engine_fixed_options"] == drift
    assert bool(notes(made, "not_observable")) is (told is None or len(told) < 4)


def test_a_vllm_is_no_candidate_for_a_cache_that_it_does_not_have() -> None:
    of = fleet(node("a", 24 * GIB, kind=EngineKind.VLLM), node("b", 24 * GIB))
    made = plan(of, desired(model("m:1", ["a", "b"], GIB, runs=Q8, each="engine")), facts(of, installed=["m:1"]))
    assert actions(made) == ["load model.m:1@b/ollama"]
    assert made.unplaced == ()


def test_an_ollama_of_ours_is_started_as_its_models_ask_where_they_agree_and_its_files_do_not_say() -> None:
    asked = [(("a",), RunOptions(4, KvCache.Q8_0, True)), (("a",), RunOptions(2)), (("b",), RunOptions(kv_cache=KvCache.Q4_0))]
    made = only_engine(with_asked_environment(fleet(owned(node("a", 24 * GIB))), asked))
    assert dict(made.env) == {"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": "1"}
    assert made.owned is not None
    assert dict(made.owned.env) == dict(made.env)
    said = only_engine(with_asked_environment(fleet(owned(node("a", 24 * GIB), OLLAMA_KV_CACHE_TYPE="f16")), asked))
    assert said.env["OLLAMA_KV_CACHE_TYPE"] == "f16"
    assert only_engine(with_asked_environment(fleet(node("a", 24 * GIB)), asked)).env == {}


def test_what_an_ollama_of_ours_is_not_told_is_known_to_be_its_default() -> None:
    of = fleet(owned(node("a", 24 * GIB)))
    (unplaced,) = plan(of, desired(model("m:1", ["a"], GIB, runs=RunOptions(parallel=3))), facts(of, installed=["m:1"])).unplaced
    assert [one.message for one in unplaced.candidates] == ["its start sets OLLAMA_NUM_PARALLEL 1, wanted 3"]


@pytest.mark.parametrize(("said", "told"), [("10m", 600), ("600", 600), ("-1", -1), ("-1s", -1), ("0", 0), ("soon", None), ("", None)])
def test_after_what_time_an_ollama_unloads_is_read_as_it_reads_it(said: str, told: int | None) -> None:
    assert only_engine(fleet(with_env(node("a"), OLLAMA_KEEP_ALIVE=said))).kind is EngineKind.OLLAMA
    assert told_by_start(only_engine(fleet(with_env(node("a"), OLLAMA_KEEP_ALIVE=said)))).idle == told


def test_a_model_that_is_to_leave_when_idle_goes_where_the_engine_does_that() -> None:
    of = fleet(with_env(node("a", 24 * GIB), OLLAMA_KEEP_ALIVE="-1"), with_env(node("b", 24 * GIB), OLLAMA_KEEP_ALIVE="10m"))
    want = desired(model("m:1", ["a", "b"], ensure=Ensure.PRESENT, keep_alive=None, runs=RunOptions(idle=600)))
    made = plan(of, want, facts(of))
    assert actions(made) == ["pull model.m:1@b/ollama"]
    assert not notes(made, "not_observable")


def test_an_ollama_that_gpurec_starts_is_told_when_to_unload_and_a_router_by_its_preset() -> None:
    of = with_asked_environment(fleet(owned(node("a", 24 * GIB))), [(["a"], RunOptions(idle=600))])
    assert only_engine(of).env == {"OLLAMA_KEEP_ALIVE": "600"}
    assert RunOptions(idle=600).arguments(EngineKind.LLAMACPP) == [("--sleep-idle-seconds", "600")]
    assert [RunOptions(idle=600).refused_by(kind) for kind in (EngineKind.VLLM, EngineKind.LLAMASWAP)] == ["idle", "idle"]


def test_where_nobody_says_when_an_ollama_unloads_the_plan_says_that_it_cannot_be_seen() -> None:
    of = fleet(node("a", 24 * GIB))
    want = desired(model("m:1", ["a"], ensure=Ensure.PRESENT, keep_alive=None, runs=RunOptions(idle=600)))
    (note,) = notes(plan(of, want, facts(of, installed=["m:1"])), "not_observable")
    assert note.startswith("asked-for idle: ")
