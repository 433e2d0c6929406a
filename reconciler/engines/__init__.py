"""One adapter a kind of model server, behind one small protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reconciler.engines.last_net import Netted
from reconciler.engines.llamacpp import LlamaCpp
from reconciler.engines.llamaswap import LlamaSwap
from reconciler.engines.ollama import Ollama
from reconciler.engines.protocol import Engine, LoadRequest, PullProgress
from reconciler.engines.transport import Transport, remembered
from reconciler.engines.vllm import Vllm
from reconciler.fleet import EngineKind, EngineSpec

__all__ = ["Engine", "LoadRequest", "PullProgress", "Transport", "open_engine", "remembered"]


def open_engine(spec: EngineSpec, transport: Transport) -> Engine:
    """The adapter for an engine, in the last net. Raises EngineError when its url or CA file is bad."""
    return Netted(_ADAPTERS[spec.kind](spec, transport))


_ADAPTERS: Mapping[EngineKind, Callable[[EngineSpec, Transport], Engine]] = {
    EngineKind.OLLAMA: Ollama,
    EngineKind.LLAMACPP: LlamaCpp,
    EngineKind.VLLM: Vllm,
    EngineKind.LLAMASWAP: LlamaSwap,
}
