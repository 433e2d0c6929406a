"""How a model is to be run where the start of its engine decides it: the type of its cache, how many requests at a time, flash attention,
over how many cards.

What each engine calls it: llama-server's tools/server/README.md, `vllm serve --help`, and the environment of Ollama's server
(envconfig/config.go), which is that of all its models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType

from reconciler.fleet.inventory import EngineSpec, Fleet, NodeSpec
from reconciler.fleet.names import EngineKind
from reconciler.fleet.owned import EngineContainer, EngineUnit, OwnedEngine
from reconciler.fleet.secret_refs import Scalar
from reconciler.fleet.units import UnitError, parse_duration
from reconciler.value_class import value_class

KV_CACHE, PARALLEL, FLASH_ATTENTION, IDLE = "kv_cache", "parallel", "flash_attention", "idle"
SPLIT_CARDS, SPLIT_BY = "split.cards", "split.by"
OLLAMA_VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        KV_CACHE: "OLLAMA_KV_CACHE_TYPE",
        PARALLEL: "OLLAMA_NUM_PARALLEL",
        FLASH_ATTENTION: "OLLAMA_FLASH_ATTENTION",
        IDLE: "OLLAMA_KEEP_ALIVE",
        SPLIT_BY: "OLLAMA_SCHED_SPREAD",
    }
)
_USUAL_IDLE = 300
"""Seconds after which Ollama unloads what no request came for, where nothing says it (envconfig/config.go KeepAlive)."""
_OFF = frozenset({"0", "f", "false"})
_NOT_SPLIT = "none"
_LLAMACPP_FLAGS = {"1": True, "on": True, "true": True, "enabled": True, "0": False, "off": False, "false": False, "disabled": False}
_SIXTEEN_BITS = frozenset({"auto", "float16", "bfloat16", "half"})


class KvCache(StrEnum):
    """Types of the cache that llama.cpp and Ollama have by these names."""

    F16 = "f16"
    Q8_0 = "q8_0"
    Q4_0 = "q4_0"


class SplitBy(StrEnum):
    """What of a model each card has: some of its layers, or a part of every one."""

    LAYER = "layer"
    TENSOR = "tensor"


@value_class
class RunOptions:
    """None: the engine's own, or not known. `parallel` requests have a context each. `kv_cache` is the name of a type. After `idle` seconds
    without a request the engine unloads it by itself. It is on `split_cards` cards at once, each with as much of it as the others, cut by
    `split_by` (a `SplitBy`; of what an engine tells any word)."""

    parallel: int | None = None
    kv_cache: str | None = None
    flash_attention: bool | None = None
    idle: int | None = None
    split_cards: int | None = None
    split_by: str | None = None

    def items(self) -> Iterator[tuple[str, Scalar]]:
        """What is asked for, by the keys of a model."""
        for key, value in (
            (KV_CACHE, self.kv_cache),
            (PARALLEL, self.parallel),
            (FLASH_ATTENTION, self.flash_attention),
            (IDLE, self.idle),
            (SPLIT_CARDS, self.split_cards),
            (SPLIT_BY, self.split_by),
        ):
            if value is not None:
                yield key, value

    def get(self, key: str) -> Scalar | None:
        """The value of one of the keys."""
        return dict(self.items()).get(key)

    def asked_of(self, kind: EngineKind) -> RunOptions:
        """What of it the start of an engine of this kind decides: Ollama spreads all models over all of its cards, by layers, or none."""
        if kind is not EngineKind.OLLAMA or self.split_cards is None:
            return self
        return replace(self, split_cards=None, split_by=SplitBy.LAYER)

    def refused_by(self, kind: EngineKind) -> str | None:
        """What of it an engine of this kind does not have at all: one of the keys of a model."""
        if kind is EngineKind.LLAMASWAP:
            return next((key.partition(".")[0] for key, _ in self.items()), None)
        if kind is EngineKind.OLLAMA and self.split_by == SplitBy.TENSOR:
            return "split"
        if kind is not EngineKind.VLLM:
            return None
        if self.kv_cache not in (None, KvCache.F16):
            return KV_CACHE
        return next((key for key in (FLASH_ATTENTION, IDLE) if self.get(key) is not None), None)

    def arguments(self, kind: EngineKind) -> Sequence[tuple[str, ...]]:
        """The same as arguments of a server with one model, each after the names that it goes by: (name, other names …, value)."""
        groups: list[tuple[str, ...]] = []
        if kind is EngineKind.VLLM:
            if self.parallel is not None:
                groups.append(("--max-num-seqs", str(self.parallel)))
            if self.kv_cache is not None:
                groups.append(("--kv-cache-dtype", "auto"))
            if self.split_cards is not None:
                by_layer = self.split_by == SplitBy.LAYER
                names = ("--pipeline-parallel-size", "-pp") if by_layer else ("--tensor-parallel-size", "-tp")
                groups.append((*names, str(self.split_cards)))
            return groups
        if self.parallel is not None:
            groups.append(("--parallel", "-np", str(self.parallel)))
        if self.kv_cache is not None:
            groups += [("--cache-type-k", "-ctk", self.kv_cache), ("--cache-type-v", "-ctv", self.kv_cache)]
        if self.flash_attention is not None:
            groups.append(("--flash-attn", "-fa", "on" if self.flash_attention else "off"))
        if self.idle is not None:
            groups.append(("--sleep-idle-seconds", str(self.idle)))
        if self.split_cards is not None:
            # By itself it gives each card a part by what is free there at that moment.
            groups.append(("--split-mode", "-sm", self.split_by or SplitBy.LAYER))
            groups.append(("--tensor-split", "-ts", ",".join("1" * self.split_cards)))
        return groups


AS_ENGINE_RUNS = RunOptions()


def of_environment(env: Mapping[str, str]) -> RunOptions:
    """What the environment of an Ollama says, as far as it says something that can be read (envconfig/config.go)."""

    def said(key: str) -> str:
        return env.get(OLLAMA_VARIABLES[key], "").strip("\"' ")

    parallel, cache, flash = said(PARALLEL), said(KV_CACHE).lower(), said(FLASH_ATTENTION).lower()
    spread = said(SPLIT_BY).lower()
    return RunOptions(
        max(1, int(parallel[:9])) if parallel.isdecimal() else None,
        cache or None,
        flash not in _OFF if flash else None,
        _idle(said(IDLE)),
        split_by=None if not spread else _NOT_SPLIT if spread in _OFF else SplitBy.LAYER,
    )


def _idle(said: str) -> int | None:
    """Seconds as Ollama reads them: a duration, or a number of them; −1 is for ever. None: nothing that can be read."""
    if said.startswith("-"):
        return -1
    try:
        return int(parse_duration(said)) if said else None
    except (UnitError, OverflowError):
        return None


def told_by_start(engine: EngineSpec) -> RunOptions:
    """What the start of an Ollama is known to have decided: by its declared environment, and where gpurec starts it whole also by what that
    does not say. Nothing of another kind."""
    if engine.kind is not EngineKind.OLLAMA:
        return AS_ENGINE_RUNS
    told = of_environment(engine.env)
    owned = engine.owned
    if owned is None or (isinstance(owned.start, EngineUnit) and owned.start.exec is None):
        return told
    given = owned.env
    return replace(
        told,
        parallel=1 if told.parallel is None and OLLAMA_VARIABLES[PARALLEL] not in given else told.parallel,
        kv_cache="f16" if told.kv_cache is None and OLLAMA_VARIABLES[KV_CACHE] not in given else told.kv_cache,
        idle=_USUAL_IDLE if told.idle is None and OLLAMA_VARIABLES[IDLE] not in given else told.idle,
        split_by=_NOT_SPLIT if told.split_by is None and OLLAMA_VARIABLES[SPLIT_BY] not in given else told.split_by,
    )


@value_class
class FixedOption:
    """What the start of an engine decides otherwise than asked: the variable or the argument, its value and the wanted one. `found` None:
    nobody says it, and what the engine does by itself is otherwise."""

    name: str
    found: str | None
    wanted: str


_ROUTER_ARGUMENTS = ("--models-dir", "--models-preset", "--models-max")
_ROUTER_VARIABLES = ("LLAMA_ARG_MODELS_DIR", "LLAMA_ARG_MODELS_PRESET")


def is_router(owned: OwnedEngine) -> bool:
    """Whether a llama.cpp that gpurec starts serves many models, by its own command and environment."""
    return not _words_of(owned).isdisjoint(_ROUTER_ARGUMENTS) or any(name in owned.env for name in _ROUTER_VARIABLES)


def gets_preset(engine: EngineSpec) -> bool:
    """Whether gpurec writes the preset of a router: of one that it starts in a container, and that has none of its own."""
    owned = engine.owned
    if engine.kind is not EngineKind.LLAMACPP or owned is None or not isinstance(owned.start, EngineContainer) or not is_router(owned):
        return False
    return "--models-preset" not in _words_of(owned) and "LLAMA_ARG_MODELS_PRESET" not in owned.env


def _words_of(owned: OwnedEngine) -> set[str]:
    start = owned.start
    words = (*(start.command or () if isinstance(start, EngineContainer) else start.exec or ()), *owned.args)
    return {word.partition("=")[0] for word in words}


def fixed_otherwise(engine: EngineSpec, asked: RunOptions) -> FixedOption | None:
    """The first option of these that this engine is known to be started without: by its environment, or by the `args` of its files. One
    that decides on which cards a model's bytes are must be known to be as asked."""
    if asked == AS_ENGINE_RUNS:
        return None
    if engine.kind is EngineKind.OLLAMA:
        told = told_by_start(engine)
        for key, wanted in asked.asked_of(engine.kind).items():
            found = told.get(key)
            if found != wanted and (found is not None or key == SPLIT_BY):
                return FixedOption(OLLAMA_VARIABLES[key], None if found is None else _variable(key, found), _variable(key, wanted))
    elif engine.owned is not None:
        given = said_by(engine.owned.args)
        for *names, value in asked.arguments(engine.kind):
            found = next((given[name] for name in names if name in given), None)
            if found is not None and found != value:
                return FixedOption(names[0], found, value)
    return None


def said_by(args: Sequence[str]) -> Mapping[str, str]:
    """Arguments of a command line by name, each with its value: the one after `=`, else the next word (empty: none)."""
    found: dict[str, str] = {}
    for word, following in zip(args, [*args[1:], ""], strict=False):
        if word.startswith("-"):
            name, separator, value = word.partition("=")
            found[name] = value if separator else "" if following.startswith("--") else following
    return found


def _variable(key: str, value: Scalar) -> str:
    """The word of Ollama's variable for the value of a key."""
    if key == SPLIT_BY:
        return "1" if value == SplitBy.LAYER else "0"
    return str(int(value)) if isinstance(value, bool) else str(value)


def told_by_options(kind: EngineKind, options: Sequence[str] | None) -> RunOptions:
    """What the options of a resident (`name=value`) tell."""
    found = {name.strip().removeprefix("LLAMA_ARG_").replace("_", "-").lower(): value.strip() for name, _, value in _pairs(options or ())}
    if kind is EngineKind.VLLM:
        cache = found.get("cache-dtype")
        return RunOptions(kv_cache="f16" if cache in _SIXTEEN_BITS else cache)
    if kind is not EngineKind.LLAMACPP:
        return AS_ENGINE_RUNS
    keys, values, parallel = found.get("cache-type-k"), found.get("cache-type-v"), found.get("parallel", "")
    cache = keys if keys == values else f"{keys or 'f16'}/{values or 'f16'}"
    slots = int(parallel[:9]) if parallel.isdecimal() and int(parallel[:9]) else None
    parts = [part for part in re.split("[,/]+", found.get("tensor-split", "")) if part.strip("0. ")]
    flash = _LLAMACPP_FLAGS.get(found.get("flash-attn", "").lower())
    return RunOptions(slots, cache, flash, split_cards=len(parts) or None, split_by=found.get("split-mode"))


def _pairs(options: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    return (option.partition("=") for option in options)


def with_asked_environment(fleet: Fleet, asked: Iterable[tuple[Sequence[str], RunOptions]]) -> Fleet:
    """The fleet with the environment of each Ollama that gpurec starts as the models ask that may be there: `asked` has their nodes and
    what they ask. What the files say of the engine goes before, and what models ask of one engine in two ways is asked of none."""
    wishes: dict[str, set[RunOptions]] = {}
    for nodes, options in asked:
        for node in nodes if options != AS_ENGINE_RUNS else ():
            wishes.setdefault(node, set()).add(options)
    if not wishes:
        return fleet
    nodes_after = {
        name: replace(node, engines=tuple(_asked(engine, node, wishes[name]) for engine in node.engines)) if name in wishes else node
        for name, node in fleet.nodes.items()
    }
    return Fleet(fleet.name, nodes_after)


def _asked(engine: EngineSpec, node: NodeSpec, wished: Iterable[RunOptions]) -> EngineSpec:
    owned = engine.owned
    if owned is None or engine.kind is not EngineKind.OLLAMA:
        return engine
    cards = engine.gpus if engine.gpus is not None else node.gpus
    wishes: dict[str, set[Scalar]] = {}
    for options in wished:
        elsewhere = cards is not None and options.split_cards not in (None, len(cards))
        if options.refused_by(engine.kind) is None and not elsewhere:  # else the model has no place there
            for key, value in options.asked_of(engine.kind).items():
                wishes.setdefault(key, set()).add(value)
    more = {
        variable: _variable(key, value)
        for key, variable in OLLAMA_VARIABLES.items()
        if len(values := wishes.get(key, set())) == 1 and variable not in owned.env
        for value in values
    }
    return replace(engine, env={**engine.env, **more}, owned=replace(owned, env={**owned.env, **more})) if more else engine
