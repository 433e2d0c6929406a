"""One adapter a kind of model server, behind one small protocol."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from reconciler.fleet import EngineKind, EngineSpec
from reconciler.lazy import lazily

if TYPE_CHECKING:
    from reconciler.engines.protocol import Engine, LoadRequest, PullProgress
    from reconciler.engines.transport import Transport, remembered

__all__ = ["Engine", "LoadRequest", "PullProgress", "Transport", "open_engine", "remembered"]

__getattr__ = lazily(__name__, {"protocol": ("Engine", "LoadRequest", "PullProgress"), "transport": ("Transport", "remembered")})

_ADAPTERS = {
    EngineKind.OLLAMA: ("ollama", "Ollama"),
    EngineKind.LLAMACPP: ("llamacpp", "LlamaCpp"),
    EngineKind.VLLM: ("vllm", "Vllm"),
    EngineKind.LLAMASWAP: ("llamaswap", "LlamaSwap"),
    EngineKind.OPENAI: ("looked_at", "OpenAi"),
    EngineKind.SERVICE: ("looked_at", "ServiceEngine"),
}
"""The module and the class of each kind."""


def open_engine(spec: EngineSpec, transport: Transport) -> Engine:
    """The adapter for an engine, in the last net. Raises EngineError when its url or CA file is bad."""
    from reconciler.engines.last_net import Netted

    module, name = _ADAPTERS[spec.kind]
    adapter: Engine = getattr(import_module(f"{__name__}.{module}"), name)(spec, transport)
    return Netted(adapter)
