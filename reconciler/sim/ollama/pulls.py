"""/api/pull and /api/create as streams of status lines (Ollama server/images.go PullModel, server/create.go)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping

from reconciler.sim.clock import Clock
from reconciler.sim.faults import PULL_KINDS, Faults
from reconciler.sim.ollama.library import Installed, Library, blob_digest
from reconciler.sim.ollama.names import canonical, spellings
from reconciler.sim.spec import Parameter, SimModel

_STEPS = 10
_NOT_THERE = "pull model manifest: file does not exist"

Lines = AsyncGenerator[object, None]


class Puller:
    """A server's downloads. What arrived of a blob stays when a pull is broken off, also over a restart, and is not fetched again."""

    def __init__(self, registry: Iterable[SimModel], library: Library, clock: Clock, faults: Faults, seconds: float) -> None:
        self._registry = {canonical(model.name): model for model in registry}
        self.library, self._clock, self._faults, self._seconds = library, clock, faults, seconds
        self._arrived: dict[str, int] = {}

    async def pull(self, name: str) -> Lines:
        """Progress lines; ends with `success` or an `error` line, under status 200 either way."""
        yield {"status": "pulling manifest"}
        model = self._registry.get(canonical(name))
        if model is None:
            yield {"error": _NOT_THERE}
            return
        digest = blob_digest(model)
        layer = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", "total": model.size}
        fault = self._faults.strike_model(PULL_KINDS, spellings(name))
        yield layer | ({"completed": self._arrived[digest]} if digest in self._arrived else {})
        present = self.library.find(name)
        if present is None or present.blob != digest:
            while self._arrived.get(digest, 0) < model.size:
                if fault is not None and self._arrived.get(digest, 0) * 2 >= model.size:
                    yield {"error": fault.text or "max retries exceeded: unexpected EOF"}
                    return
                await self._clock.sleep(self._seconds / _STEPS)
                self._arrived[digest] = min(model.size, self._arrived.get(digest, 0) + -(-model.size // _STEPS))
                yield layer | {"completed": self._arrived[digest]}
            self.library.add(name, model)
            self._arrived.pop(digest, None)
        else:
            yield layer | {"completed": model.size}
        for status in ("verifying sha256 digest", "writing manifest", "success"):
            yield {"status": status}

    async def create(self, name: str, base_name: str, parameters: Mapping[str, Parameter]) -> Lines:
        """A tag made from another one, which is pulled first when it is not installed."""
        base: Installed | None = self.library.find(base_name)
        if base is None:
            async for line in self.pull(base_name):
                if isinstance(line, dict) and line.get("status") == "success":
                    break
                yield line
            base = self.library.find(base_name)
            if base is None:
                return
        yield {"status": f"using existing layer sha256:{base.blob}"}
        made = self.library.derive(name, base, parameters)
        if parameters:
            yield {"status": f"creating new layer sha256:{made.digest}"}
        yield {"status": "writing manifest"}
        yield {"status": "success"}
