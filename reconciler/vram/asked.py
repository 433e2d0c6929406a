"""How somebody asks a model to be run in place of how its engine would: what `gpurec check MODEL` takes as options."""

from __future__ import annotations

from dataclasses import replace

from reconciler.value_class import value_class
from reconciler.vram.builds import Backend
from reconciler.vram.ollama import OllamaServer
from reconciler.vram.settings import RunSettings
from reconciler.vram.tensors import TensorType


@value_class
class Asked:
    """None: as the engine runs it. `parallel` slots have streams of their own; `build` is llama.cpp's; `drafted` tokens at a time come
    from the file's own head."""

    parallel: int | None = None
    key_type: TensorType | None = None
    value_type: TensorType | None = None
    flash_attention: bool | None = None
    ubatch: int | None = None
    build: int | None = None
    drafted: int | None = None
    backend: Backend | None = None

    def of_server(self, server: OllamaServer) -> OllamaServer:
        """The server that would be so, for what it decides by itself from the rest (its batch)."""
        return replace(
            server,
            parallel=server.parallel if self.parallel is None else self.parallel,
            cache=server.cache if self.key_type is None else self.key_type.name,
            flash_attention=server.flash_attention if self.flash_attention is None else self.flash_attention,
            build=server.build if self.build is None else self.build,
        )

    def over(self, settings: RunSettings) -> RunSettings:
        """The settings with everything that was asked for, also where this engine would not do so."""
        return replace(
            settings,
            parallel=settings.parallel if self.parallel is None else self.parallel,
            key_type=self.key_type or settings.key_type,
            value_type=self.value_type or settings.value_type,
            flash_attention=settings.flash_attention if self.flash_attention is None else self.flash_attention,
            ubatch=self.ubatch or settings.ubatch,
            build=settings.build if self.build is None else self.build,
            drafted=settings.drafted if self.drafted is None else self.drafted,
            backend=settings.backend if self.backend is None else self.backend,
        )


AS_THE_ENGINE = Asked()
