"""How an Ollama server will run a model: the settings that it gives llama-server, from what is asked and what is known of the server.

Sources: Ollama 0.34.0's server/routes.go (modelOptions, Serve), server/sched.go (automaticGenerationBatch, load), llm/llama_server.go
(appendBatchArgs, LlamaServerFlashAttention), envconfig/config.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from reconciler.fleet.units import GIB
from reconciler.value_class import value_class
from reconciler.vram.geometry import Geometry
from reconciler.vram.settings import WHOLE, RunSettings
from reconciler.vram.tensors import CACHE_TYPES

_BUILDS = (((0, 34), 10_760), ((0, 33), 10_488), ((0, 32), 9_888))
"""llama.cpp's build in a release of Ollama (its file LLAMA_CPP_VERSION): that of the newest release not newer than the server."""
OLD_RUNNER = 9_000
"""Stands for releases before those: their runners reserve a full batch of output rows."""
_ONE_SLOT = frozenset(
    {"mllama", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe", "qwen3next", "lfm2", "lfm2moe", "nemotron_h", "nemotron_h_moe",
     "nemotron_h_omni"}
)  # fmt: skip
"""Families that get one slot whatever OLLAMA_NUM_PARALLEL says (server/sched.go load)."""
_EMBEDDING_BATCH = 2048
_OFF = frozenset({"0", "f", "false"})
_MOST_PARALLEL = 1024


@value_class
class OllamaServer:
    """What a server's needs depend on, apart from the model. `context` is its default, None where that is not known."""

    build: int
    context: int | None
    parallel: int = 1
    cache: str = "f16"
    flash_attention: bool = True


def ollama_server(
    version: str | None, env: Mapping[str, str], total_vram: int | None, capabilities: tuple[tuple[int, int] | None, ...]
) -> OllamaServer:
    """A server by its version, the environment as far as it is declared, the bytes of all its cards (None: not known), and their compute
    capabilities.

    What its environment says and nobody declared is taken for Ollama's default.
    """
    given = env.get("OLLAMA_CONTEXT_LENGTH", "").strip("\"' ")
    context = int(given) if given.isdecimal() and 0 < int(given) < 2**31 else None
    parallel = env.get("OLLAMA_NUM_PARALLEL", "").strip("\"' ")
    flash = env.get("OLLAMA_FLASH_ATTENTION", "").strip("\"' ").lower()
    cache = env.get("OLLAMA_KV_CACHE_TYPE", "").strip("\"' ").lower()
    supported = all(one is None or (one >= (6, 0) and one != (7, 2)) for one in capabilities)
    return OllamaServer(
        build=_build(version),
        context=context if context is not None else default_context(total_vram),
        parallel=min(_MOST_PARALLEL, max(1, int(parallel))) if parallel.isdecimal() else 1,
        cache=cache if cache in CACHE_TYPES else "f16",
        flash_attention=flash not in _OFF if flash else supported,
    )


def default_context(total_vram: int | None) -> int | None:
    """`num_ctx` where nobody says one: by the memory of all cards together, fixed when the server starts (server/routes.go Serve)."""
    if total_vram is None:
        return None
    if total_vram >= 47 * GIB:
        return 262_144
    return 32_768 if total_vram >= 23 * GIB else 4_096


def ollama_settings(
    server: OllamaServer,
    geometry: Geometry,
    context: int | None,
    batch: int | None = None,
    offloaded: int | None = None,
    embedding: bool = False,
    cards: int = 1,
) -> RunSettings | None:
    """How the server runs the model with `num_ctx` `context` (None: its default), `num_batch`, `num_gpu`; None where the context is not
    known. Of an automatic batch it is the largest: Ollama takes a smaller one where memory is short."""
    asked = context if context is not None else server.context
    if asked is None:
        return None
    used = max(4, min(asked, geometry.context))
    parallel = 1 if embedding or geometry.architecture in _ONE_SLOT else server.parallel
    kind = CACHE_TYPES[server.cache]
    if kind.quantised and not server.flash_attention:
        kind = CACHE_TYPES["f16"]
    if batch is None:
        batch = _embedding_batch(used) if embedding else _generation_batch(used * parallel, server.flash_attention)
    elif embedding:
        batch = min(batch, used * parallel)
    return RunSettings(
        context=used,
        parallel=parallel,
        key_type=kind,
        value_type=kind,
        flash_attention=server.flash_attention,
        ubatch=max(1, batch),
        build=server.build,
        split=(1,) * max(1, cards),
        offloaded=WHOLE if offloaded is None or offloaded < 0 else offloaded,
    )


def _embedding_batch(context: int) -> int:
    return min(_EMBEDDING_BATCH, context)


def _generation_batch(cells: int, flash_attention: bool) -> int:
    if not flash_attention or cells <= 4_096:
        return 512
    return 1_024 if cells <= 32_768 else 2_048


def _build(version: str | None) -> int:
    """The newest known build for a version that says nothing (a plain `go build` calls itself 0.0.0)."""
    found = re.match(r"v?(\d{1,4})\.(\d{1,4})", version or "")
    number = (int(found[1]), int(found[2])) if found is not None else (0, 0)
    if number == (0, 0):
        return _BUILDS[0][1]
    return next((build for since, build in _BUILDS if number >= since), OLD_RUNNER)
