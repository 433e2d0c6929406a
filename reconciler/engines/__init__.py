"""One adapter a kind of model server, behind one small protocol."""

from __future__ import annotations

from reconciler.engines.llamacpp import LlamaCpp
from reconciler.engines.llamaswap import LlamaSwap
from reconciler.engines.ollama import Ollama
from reconciler.engines.protocol import Engine, LoadRequest, PullProgress
from reconciler.engines.transport import Transport, remembered
from reconciler.engines.vllm import Vllm
from reconciler.fleet import EngineKind, EngineSpec

__all__ = ["Engine", "LoadRequest", "PullProgress", "Transport", "open_engine", "remembered"]


def open_engine(spec: EngineSpec, transport: Transport) -> Engine:
    """The adapter for an engine. Raises EngineError when its url or CA file is bad."""
    match spec.kind:
        case EngineKind.OLLAMA:
            return Ollama(spec, transport)
        case EngineKind.LLAMACPP:
            return LlamaCpp(spec, transport)
        case EngineKind.VLLM:
            return Vllm(spec, transport)
        case EngineKind.LLAMASWAP:
            return LlamaSwap(spec, transport)
