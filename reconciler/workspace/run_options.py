"""Keys of a model that the start of its engine decides: how it is run, and what no engine, or not the one that is asked for, can do."""

from __future__ import annotations

from reconciler.fleet import EngineKind, KvCache, RunOptions, SplitBy
from reconciler.workspace.forms import Form, choice, duration, flag, integer
from reconciler.workspace.problems import Problems
from reconciler.workspace.table import Field, Table, Values

MOST_PARALLEL = 1024
MOST_CARDS = 64

PARALLEL = Field(
    "parallel",
    integer(1, MOST_PARALLEL),
    says="How many requests it serves at a time, each with a `context` of its own; unset: the engine's own.",
    meant="num_parallel n_parallel np slots max_num_seqs concurrency",
)
KV_CACHE = Field(
    "kv_cache",
    choice(KvCache),
    says="Type of its KV cache; unset: the engine's own.",
    meant="kv_cache_type cache_type kv_cache_dtype cache_type_k",
)
SPLIT_CARDS = Field("cards", integer(2, MOST_CARDS), says="Over how many cards.", required=True, meant="count number gpus n")
SPLIT_BY = Field(
    "by",
    choice(SplitBy),
    says="Some of the layers to each card, or a part of every layer; unset: the engine's own way.",
    meant="mode split_mode",
)
SPLIT = Table("split", (SPLIT_CARDS, SPLIT_BY))


SPLIT_FIELD = Field(
    "split",
    Form(SPLIT.read, SPLIT.schema()),
    says="One replica over all cards of an engine that has just so many; unset: one card where it fits.",
    meant="tensor_parallel tensor_parallel_size tensor_split split_mode pipeline_parallel_size",
)
FLASH_ATTENTION = Field(
    "flash_attention", flag, says="Whether it runs with flash attention; unset: the engine's own.", meant="flash_attn fa"
)
IDLE = Field(
    "idle",
    duration,
    says="With `ensure: present`: after so long without a request its engine unloads it.",
    meant="ttl idle_timeout unload_after",
)

RUN_FIELDS = (PARALLEL, KV_CACHE, FLASH_ATTENTION, IDLE, SPLIT_FIELD)


def runs_of(values: Values) -> RunOptions:
    """What a model's keys say of it."""
    split = values.get(SPLIT_FIELD)
    return RunOptions(
        values.get(PARALLEL),
        values.get(KV_CACHE),
        values.get(FLASH_ATTENTION),
        _seconds(values.get(IDLE)),
        None if split is None else split.get(SPLIT_CARDS),
        None if split is None else split.get(SPLIT_BY),
    )


def _seconds(duration: float | None) -> int | None:
    return None if duration is None else max(1, int(duration))


def check_runs(
    name: str, values: Values, kind: EngineKind | None, problems: Problems, *, present: bool, keeps_alive: bool, on_cpu: bool
) -> None:
    """What no engine, or not the one that is asked for (`kind`), can do. `present`: it is only to be installed; `keeps_alive`: its keys say
    for how long it stays loaded."""
    cache, flash, split = values.get(KV_CACHE), values.get(FLASH_ATTENTION), values.get(SPLIT_FIELD)
    if cache not in (None, KvCache.F16) and flash is False:
        what = f"{name}: a {cache} cache needs flash attention, in llama.cpp and in Ollama"
        problems.error(what, values.nodes[FLASH_ATTENTION.key], "write `flash_attention: true`, or `kv_cache: f16`")
    if kind is EngineKind.VLLM and cache not in (None, KvCache.F16):
        hint = "write `kv_cache: f16`, or `options: {kv-cache-dtype: fp8}`"
        problems.error(f"{name} is on vllm, which has no {cache} cache", values.nodes[KV_CACHE.key], hint)
    if kind is EngineKind.VLLM and flash is not None:
        what = f"{name} is on vllm, which chooses its kind of attention itself"
        problems.error(what, values.nodes[FLASH_ATTENTION.key], "remove it, or write `options: {attention-backend: NAME}`")
    if IDLE in values and not present:
        problems.error(f"{name} must stay loaded, and has `idle`", values.nodes[IDLE.key], "write ensure: present, or remove it")
    if IDLE in values and keeps_alive:
        problems.error(f"{name} has both `idle` and `keep_alive`", values.nodes[IDLE.key], "remove `keep_alive`")
    if kind is EngineKind.VLLM and IDLE in values:
        problems.error(f"{name} is on vllm, which never unloads its model", values.nodes[IDLE.key], "remove it")
    if split is not None and on_cpu:
        problems.error(f"{name} belongs on the CPU, and is to be split over cards", values.nodes[SPLIT_FIELD.key], "remove one of the two")
    if split is not None and kind is EngineKind.OLLAMA and split.get(SPLIT_BY) is SplitBy.TENSOR:
        what = f"{name} is on ollama, which splits a model by its layers only"
        problems.error(what, split.nodes[SPLIT_BY.key], "write `by: layer`, or another engine")
    if kind is EngineKind.LLAMASWAP:
        for field in RUN_FIELDS:
            if field in values:
                what = f"{name} is on llamaswap, whose own configuration says its `{field.key}` and tells it to nobody"
                hint = f"write it {'as `ttl`' if field is IDLE else 'into the `cmd`'} of that configuration"
                problems.error(what, values.nodes[field.key], hint)
