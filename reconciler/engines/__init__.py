"""One adapter a kind of model server, behind one small protocol."""

from __future__ import annotations

from reconciler.engines.llamacpp import LlamaCpp
from reconciler.engines.ollama import Ollama
from reconciler.engines.protocol import Engine, LoadRequest, PullProgress
from reconciler.engines.transport import Transport
from reconciler.fleet import EngineError, EngineKind, EngineSpec, Place, Problem

__all__ = ["Engine", "LoadRequest", "PullProgress", "Transport", "open_engine"]


def open_engine(spec: EngineSpec, transport: Transport) -> Engine:
    """The adapter for an engine. Raises EngineError when this version has none for its kind, or its url or CA file is bad."""
    match spec.kind:
        case EngineKind.OLLAMA:
            return Ollama(spec, transport)
        case EngineKind.LLAMACPP:
            return LlamaCpp(spec, transport)
        case _:
            what = f"engines of kind {spec.kind.value} cannot be talked to yet"
            raise EngineError(Problem(what, Place(str(spec.id)), "this version knows ollama and llamacpp"), "not_supported")
