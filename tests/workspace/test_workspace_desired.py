"""Models, priorities, policies: what is read, what is refused, and what comes later."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from reconciler.fleet import (
    FOREVER,
    GIB,
    MIB,
    ContextVia,
    Each,
    EngineKind,
    Ensure,
    Guards,
    MemoryPressure,
    Order,
    Residency,
    Rollout,
    RunOptions,
    Solver,
    SplitBy,
    Spread,
    Strategy,
    Thermal,
    Unmanaged,
    WorkspaceError,
)
from reconciler.workspace import Workspace, load_workspace

Load = Callable[..., Workspace]
Sentences = Callable[..., list[str]]

MIXED = """
gpu: {hosts: {"g[1:3]": {engines: {ollama: {url: "http://{{ inventory_hostname }}:1"}}}}}
cpp: {hosts: {c: {engines: {llamacpp: {url: "http://c:1"}}}}}
bare: {hosts: {d: }}
"""


def model(text: str) -> str:
    return f"version: 1\nmodels:\n  m: {text}\n"


def test_workspace_a_model_without_keys_has_the_defaults(load: Load) -> None:
    (spec,) = load(MIXED, model("")).desired.models
    assert (spec.on, spec.nodes, spec.replicas, spec.each, spec.ensure) == ("all", ("c", "d", "g1", "g2", "g3"), 1, None, Ensure.LOADED)
    assert (spec.keep_alive, spec.residency, spec.min_gpu_fraction, spec.spread_hard) == (FOREVER, Residency.GPU, 1.0, False)


def test_workspace_every_key_of_a_model_is_read(load: Load) -> None:
    (spec,) = load(
        MIXED,
        model(
            """
    engine: ollama
    names: {ollama: llama3.1, llamacpp: llama}
    priority: 7
    on: "gpu:!g1"
    each: gpu
    spread: gpu
    context: 8192
    context_via: request
    options: {num_batch: 512, use_mmap: false}
    residency: gpu_preferred
    min_gpu_fraction: 50%
    requires: {compute_capability: ">=7.0", driver: "525.60", vram: 6GB, dtype: bfloat16, labels: {zone: b}}
    vram_mb: 705
    best_effort: true
"""
        ),
    ).desired.models
    assert (spec.engine, spec.names[EngineKind.LLAMACPP], spec.priority, spec.nodes) == (EngineKind.OLLAMA, "llama", 7, ("g2", "g3"))
    assert (spec.replicas, spec.each, spec.spread, spec.spread_hard) == (None, Each.GPU, Spread.GPU, True)
    assert (spec.context, spec.context_via, spec.options) == (8192, ContextVia.REQUEST, {"num_batch": 512, "use_mmap": False})
    assert (spec.residency, spec.min_gpu_fraction, spec.vram, spec.best_effort) == (Residency.GPU_PREFERRED, 0.5, 705 * MIB, True)
    assert str(spec.requires.compute_capability) == ">=7.0"
    assert str(spec.requires.driver) == ">=525.60"
    assert (spec.requires.vram, spec.requires.dtype, spec.requires.labels) == (6 * 10**9, "bfloat16", (("zone", "b"),))


def test_workspace_a_capability_bound_compares_by_major_and_minor(load: Load) -> None:
    (spec,) = load(MIXED, model('{requires: {compute_capability: ">=10.0"}}')).desired.models
    assert spec.requires.compute_capability is not None
    assert spec.requires.compute_capability.holds((12, 0))
    assert not spec.requires.compute_capability.holds((8, 9))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("{keep_alive: -1}", FOREVER),
        ("{keep_alive: '-1'}", FOREVER),
        ("{keep_alive: -1m}", FOREVER),
        ("{ensure: present, keep_alive: 24h}", 86400.0),
        ("{ensure: present, keep_alive: 1d}", 86400.0),
        ("{ensure: present, keep_alive: 90}", 90.0),
        ("{ensure: present, keep_alive: 0}", 0.0),
        ("{ensure: present}", None),
    ],
)
def test_workspace_keep_alive_has_all_its_forms(load: Load, text: str, seconds: float | None) -> None:
    assert load(MIXED, model(text)).desired.models[0].keep_alive == seconds


def test_workspace_priority_models_come_first_and_may_stand_alone(load: Load) -> None:
    desired = load(MIXED, "version: 1\npriority_models: [b, a]\nmodels: {z: {priority: 3}, a: {context: 9}}\n").desired
    assert [(spec.name, spec.priority, spec.context) for spec in desired.models] == [("b", 1000, None), ("a", 999, 9), ("z", 3, None)]


def test_workspace_fleet_wide_keys_are_read(load: Load) -> None:
    text = """
    version: 1
    placement: {strategy: binpack, solver: exact}
    limits: {max_vram_utilization: 0.9, gpu_memory_reserve_mb: 2048, ram_reserve: 1GiB}
    policy: {unmanaged: yield}
    """
    desired = load(MIXED, text).desired
    assert (desired.strategy, desired.solver, desired.policy.unmanaged) == (Strategy.BINPACK, Solver.EXACT, Unmanaged.YIELD)
    assert (desired.limits.max_vram_utilization, desired.limits.reserve, desired.limits.ram_reserve) == (Fraction(9, 10), 2 * GIB, GIB)


def test_workspace_models_of_one_pattern_share_their_nodes(load: Load) -> None:
    first, second = load(MIXED, "version: 1\nmodels: {a: {on: gpu}, b: {on: gpu}}").desired.models
    assert first.nodes is second.nodes


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{contxt: 1}", "desired/x.yaml:3:7: unknown key 'contxt' of model 'm'; did you mean 'context'?"),
        ("{context: 8k}", "must be a whole number from 1 to"),
        ("{context: 0}", "must be a whole number from 1 to"),
        ("{context: true}", "must be a whole number from 1 to"),
        ("{vram: 7 bananas}", "the unknown unit 'bananas'"),
        (
            "{vram: 0}",
            "desired/x.yaml:3:13: 'vram' of model 'm': nothing has 0 bytes of VRAM; write its size, such as 8GiB, or leave the key out",
        ),
        ("{vram: 0GiB}", "nothing has 0 bytes of VRAM"),
        ("{vram_mb: 0}", "nothing has 0 bytes of VRAM"),
        ("{vram: 705}", "write a unit: 705MiB"),
        ("{min_gpu_fraction: 90}", "90 is not a ratio between 0 and 1; write 90% or 0.9"),
        ("{min_gpu_fraction: '85'}", "'85' is not a ratio between 0 and 1; write 85% or 0.85"),
        ("{min_gpu_fraction: 12.5}", "12.5 is not a ratio between 0 and 1; write 12.5% or 0.125"),
        ("{min_gpu_fraction: 180%}", "'180%' is not a ratio between 0 and 1; write 90% or 0.9"),
        ("{keep_alive: 24h}", "must stay loaded, and its keep_alive ends; write keep_alive: -1, or ensure: present"),
        ("{keep_alive: 0}", "must stay loaded, and its keep_alive ends"),
        ("{ensure: present, keep_alive: " + "9" * 40 + "d}", "the longest that engines know; write -1 for ever"),
        ("{keep_alive: soon}", "'soon' is not a duration; write -1 for ever"),
        ("{replicas: 1, each: node}", "has both `replicas` and `each`"),
        ("{replicas: -1}", "must be a whole number from 0"),
        ("{engine: olama}", "did you mean 'ollama'?"),
        ("{engine: llamacpp, on: gpu}", "has no engine of kind llamacpp on any of the 3 hosts of 'gpu'"),
        ("{on: bare}", "has no engine on any of the 1 hosts of 'bare'"),
        ("{on: gpo}", "desired/x.yaml:3:11: model 'm': the pattern 'gpo' names no host and no group; did you mean 'gpu'?"),
        ("{on: 'gpu:&cpp'}", "the pattern 'gpu:&cpp' leaves no host"),
        ("{residency: cpu, min_gpu_fraction: 1}", "belongs on the CPU and has a min_gpu_fraction"),
        ("{requires: {driver: new}}", "'new' is not a version"),
        ("{requires: {dtype: float61}}", "did you mean 'float16'?"),
        ("{names: {olama: x}}", "did you mean 'ollama'?"),
        ("{ensure: absent, protect: true}", "is to be deleted on all its hosts and has `protect`"),
        ("{kv_cache: q8}", "did you mean 'q8_0'?"),
        ("{kv_cache: q8_0, flash_attention: false}", "desired/x.yaml:3:40: model 'm': a q8_0 cache needs flash attention"),
        ("{parallel: 0}", "must be a whole number from 1"),
        ("{split: {by: layer}}", "'split' of model 'm' lacks 'cards'; add `cards:`"),
        ("{split: {cards: 1}}", "'cards' of 'split' of model 'm' must be a whole number from 2"),
        ("{split: {cards: 2, by: row}}", "cannot be 'row'; known here: layer, tensor"),
        ("{split: 2}", "'split' of model 'm' must be a mapping"),
        ("{tensor_parallel: 2}", "did you mean 'split'?"),
        ("{split: {cards: 2}, residency: cpu}", "model 'm' belongs on the CPU, and is to be split over cards"),
        ("{split: {cards: 2, by: tensor}, engine: ollama}", "model 'm' is on ollama, which splits a model by its layers only"),
        ("{split: {cards: 2}, engine: llamaswap}", "whose own configuration says its `split` and tells it to nobody"),
        ("{ensure: absent, replicas: 2}", "is to be deleted on all its hosts and has `replicas`"),
        ("[1]", "model 'm' must be a mapping, this is a list"),
    ],
)
def test_workspace_a_wrong_model_is_refused(problems: Sentences, text: str, told: str) -> None:
    assert any(told in sentence for sentence in problems(MIXED, model(text))), problems(MIXED, model(text))


def test_workspace_how_replicas_follow_each_other_is_read_with_its_defaults(load: Load) -> None:
    wanted = (
        "version: 1\nmodels:\n  a: {max_unavailable: 3, order: stop-first, update: canary, verify: {min_tokens_per_second: 5}}\n  b: {}\n"
    )
    found = {one.name: one.rollout for one in load(MIXED, wanted).desired.models}
    assert found == {"a": Rollout(3, Order.STOP_FIRST, True), "b": Rollout(1, None, False)}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{max_unavailable: 0}", "'max_unavailable' of model 'm'"),
        ("{order: both}", "'order' of model 'm' cannot be 'both'"),
        ("{idle: 10m}", "model 'm' must stay loaded, and has `idle`"),
        ("{ensure: present, idle: 10m, keep_alive: 5m}", "model 'm' has both `idle` and `keep_alive`"),
        ("{ensure: present, idle: 10m, engine: vllm}", "model 'm' is on vllm, which never unloads its model"),
        ("{ensure: present, idle: 10m, engine: llamaswap}", "write it as `ttl` of that configuration"),
        ("{ensure: present, update: canary}", "model 'm' has `update`, and is not to be loaded by gpurec"),
    ],
)
def test_workspace_a_rollout_of_nothing_and_what_no_engine_does_when_idle_is_refused(problems: Sentences, text: str, told: str) -> None:
    assert any(told in sentence for sentence in problems(MIXED, f"version: 1\nmodels:\n  m: {text}\n"))


def test_workspace_a_split_is_read_with_the_engines_own_way_to_cut_where_none_is_said(load: Load) -> None:
    wanted = "version: 1\nmodels: {a: {split: {cards: 2, by: tensor}}, b: {split: {cards: 4}}}\n"
    found = {one.name: one.runs for one in load(MIXED, wanted).desired.models}
    assert found == {"a": RunOptions(split_cards=2, split_by=SplitBy.TENSOR), "b": RunOptions(split_cards=4)}


def test_workspace_a_canary_that_is_asked_nothing_is_told(load: Load) -> None:
    (warning,) = load(MIXED, "version: 1\nmodels: {m: {update: canary}}\n").warnings
    assert "a canary that is asked nothing" in warning.sentence()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "desired/x.yaml: this desired state is empty"),
        ("- a\n", "a desired state is a mapping, this is a list"),
        ("models: {}\n", "desired/x.yaml:1:1: the desired state has no `version`; write `version: 1` as its first line"),
        ("version:\nmodels: {}\n", "the desired state has no `version`"),
        ("version: 2\n", "'version' of the desired state must be 1, this is 2"),
        ("modls: {}\n", "did you mean 'models'?"),
        ("models: [m]\n", "models must be a mapping"),
        ("priority_models: m\n", "'priority_models' must be a list"),
        ("priority_models: [m, m]\n", "is twice in priority_models, first at desired/x.yaml:1:19"),
        ('models: {"a\\e": {}}\n', "cannot be a name"),
        ("models: {llama3.1: {}, 'llama3.1:latest': {}}\n", "are both 'llama3.1:latest' on ollama, the first at desired/x.yaml:1:10"),
        ("priority_models: [llama3.1]\nmodels: {'llama3.1:latest': {}}\n", "keep one of the two spellings"),
        ("models: {a: {names: {ollama: q}}, b: {names: {ollama: q}}}\n", "are both 'q:latest' on ollama"),
        ("policy: {unmanaged: kill}\n", "cannot be 'kill'"),
    ],
)
def test_workspace_a_wrong_desired_state_is_refused(problems: Sentences, text: str, told: str) -> None:
    assert any(told in sentence for sentence in problems(MIXED, text)), problems(MIXED, text)


def test_workspace_one_engine_name_on_disjoint_hosts_is_two_models(load: Load) -> None:
    text = "version: 1\nmodels: {a: {names: {ollama: q}, on: g1, engine: ollama}, b: {names: {ollama: q}, on: g2, engine: ollama}}"
    assert len(load(MIXED, text).desired.models) == 2


def test_workspace_the_files_of_a_folder_are_merged(load: Load, tmp_path: Path) -> None:
    files = {
        "desired/x/a.yaml": "version: 1\nmodels: {a: {}}\nlimits: {reserve: 1GiB}\n",
        "desired/x/b.yaml": "models: {b: {}}\nlimits: {max_vram_utilization: 90%}\n",
    }
    root = tmp_path
    load(MIXED)
    (root / "desired" / "x.yaml").unlink()
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    desired = load_workspace(root).desired
    assert [spec.name for spec in desired.models] == ["a", "b"]
    assert (desired.limits.reserve, desired.limits.max_vram_utilization) == (GIB, Fraction(9, 10))


def test_workspace_one_of_several_files_must_have_the_version(load: Load, tmp_path: Path) -> None:
    load(MIXED)
    for name, text in (("a", "models: {a: {}}\n"), ("b", "version: 1\n"), ("c", "models: {c: {}}\n")):
        (tmp_path / f"{name}.yaml").write_text(text)
    assert load_workspace(tmp_path, desired=[Path("a.yaml"), Path("b.yaml")]).desired.models[0].name == "a"
    with pytest.raises(WorkspaceError, match=r"^a\.yaml:1:1: the desired state has no `version`; write `version: 1` as its first line$"):
        load_workspace(tmp_path, desired=[Path("a.yaml"), Path("c.yaml")])


def test_workspace_a_key_in_two_files_names_both_places(load: Load, tmp_path: Path) -> None:
    load(MIXED)
    folder = tmp_path / "desired" / "x"
    folder.mkdir()
    (tmp_path / "desired" / "x.yaml").unlink()
    (folder / "a.yaml").write_text("version: 1\nmodels:\n  m: {}\nlimits: {reserve: 1GiB}\n")
    (folder / "b.yaml").write_text("version: 2\nmodels:\n  m: {}\nlimits: {reserve: 2GiB}\npriority_models: []\n")
    with pytest.raises(WorkspaceError) as raised:
        load_workspace(tmp_path)
    assert [str(problem.sentence()).split(";")[0] for problem in raised.value.problems] == [
        "desired/x/b.yaml:1:10: 'version' must be 1, this is 2",
        "desired/x/b.yaml:3:3: key 'm' of models is defined twice, first at desired/x/a.yaml:3:3",
        "desired/x/b.yaml:4:10: key 'reserve' of limits is defined twice, first at desired/x/a.yaml:4:10",
    ]


def test_workspace_a_context_via_that_does_nothing_is_warned_about(load: Load) -> None:
    warnings = load(MIXED, model("{engine: llamacpp, context: 8, context_via: tag}")).warnings
    assert ["context_via matters for Ollama only" in warning.what for warning in warnings] == [True]


@pytest.mark.parametrize(
    ("guards", "expected"),
    [
        ("{max_unload: 3, max_evictions: 0}", Guards(3, 0)),
        ("{max_unload: 10%, allow_empty: true}", Guards(Fraction(1, 10), None, True)),
        ("{max_delete: 2}", Guards(max_delete=2)),
        ("{}", Guards()),
    ],
)
def test_workspace_guards_are_numbers_or_percentages(load: Load, guards: str, expected: Guards) -> None:
    assert load(MIXED, f"version: 1\npolicy: {{guards: {guards}}}\n").desired.policy.guards == expected


@pytest.mark.parametrize("most", ["0.5", "-1", "'10'", "true", "200%"])
def test_workspace_a_guard_that_is_neither_is_refused(problems: Sentences, most: str) -> None:
    (sentence,) = problems(MIXED, f"version: 1\npolicy: {{guards: {{max_unload: {most}}}}}\n")
    assert "'max_unload'" in sentence


def test_workspace_policies_of_guards_are_read(load: Load) -> None:
    text = (
        "version: 1\npolicy: {drain: 60s, lost_after: 30m, thermal: {warning: 75, critical: 90, hysteresis: 3}, "
        "memory_pressure: {high: 70%, critical: 0.85}}\n"
    )
    policy = load(MIXED, text).desired.policy
    assert (policy.drain, policy.lost_after) == (60.0, 1800.0)
    assert policy.thermal == Thermal(75.0, None, 90.0, 3.0)
    assert policy.memory_pressure == MemoryPressure(None, Fraction(7, 10), Fraction(85, 100))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{thermal: {warning: 90, throttling: 80}}", "throttling is not above warning"),
        ("{thermal: {warning: 90, critical: 90}}", "critical is not above warning"),
        ("{memory_pressure: {high: 85}}", "write 85% or 0.85"),
        ("{thermal: {warm: 1}}", "warning"),
        ("{drain: soon}", "is not a duration"),
    ],
)
def test_workspace_policies_that_contradict_themselves_are_refused(problems: Sentences, text: str, told: str) -> None:
    found = problems(MIXED, f"version: 1\npolicy: {text}\n")
    assert any(told in sentence for sentence in found), found
