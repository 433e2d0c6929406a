"""The environment variables that each kind of engine reads, as far as there is a list of them, to find those that none has ever had.

Ollama: envconfig/config.go and discover/ of 0.34.0. Of the other kinds only what a name begins with tells that it is meant for them, and
nobody keeps a list that a new version does not outgrow.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.fleet import EngineKind

OLLAMA = frozenset(
    """
    OLLAMA_CONTEXT_LENGTH OLLAMA_DEBUG OLLAMA_DEBUG_LOG_REQUESTS OLLAMA_EDITOR OLLAMA_FLASH_ATTENTION OLLAMA_GPU_OVERHEAD OLLAMA_HOST
    OLLAMA_IGPU_ENABLE OLLAMA_KEEP_ALIVE OLLAMA_KV_CACHE_TYPE OLLAMA_LLM_LIBRARY OLLAMA_LOAD_TIMEOUT OLLAMA_MAX_LOADED_MODELS
    OLLAMA_MAX_QUEUE OLLAMA_MODELS OLLAMA_MULTIUSER_CACHE OLLAMA_NEW_ENGINE OLLAMA_NOHISTORY OLLAMA_NOPRUNE OLLAMA_NO_CLOUD
    OLLAMA_NUM_PARALLEL OLLAMA_ORIGINS OLLAMA_REMOTES OLLAMA_SCHED_SPREAD OLLAMA_VULKAN OLLAMA_AUTH
    """.split()  # noqa: SIM905 (a list of it is a line each)
)
KNOWN: Mapping[EngineKind, tuple[str, frozenset[str]]] = {EngineKind.OLLAMA: ("OLLAMA_", OLLAMA)}
"""What the names of a kind's own variables begin with, and all of them."""


def unknown_variable(kind: EngineKind, name: str) -> bool:
    """Whether a name is meant for a kind of engine and is none of its variables."""
    prefix, known = KNOWN.get(kind, ("", frozenset[str]()))
    return bool(prefix) and name.startswith(prefix) and name not in known
