"""Router mode: many models behind one port (llama.cpp tools/server/server-models.cpp, README "Using multiple models")."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from reconciler.sim.cards import Card
from reconciler.sim.engine import Ground
from reconciler.sim.http import Request, Response, json_response
from reconciler.sim.llamacpp.answers import CREATED, LlamaServer, context_of, error, inference, key_refused, meta, not_found
from reconciler.sim.llamacpp.process import LoadDied, ModelProcess
from reconciler.sim.spec import SimEngine, SimModel

_INFERENCE = frozenset({"/v1/chat/completions", "/v1/completions", "/completion", "/v1/embeddings", "/embedding"})


Value = Literal["unloaded", "loading", "loaded", "sleeping"]


@dataclass(slots=True, eq=False)
class Child:
    """A model and its process, when it has one. `changed` is set whenever the status changes."""

    model: SimModel
    value: Value = "unloaded"
    failed: bool = False
    process: ModelProcess | None = None
    loading: asyncio.Task[None] | None = None
    stopping: bool = False
    in_flight: int = 0
    last_used: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def running(self) -> bool:
        return self.value != "unloaded"

    def become(self, value: Value, *, failed: bool = False) -> None:
        self.value, self.failed = value, failed
        self.changed.set()
        self.changed = asyncio.Event()


class LimitReached(Exception):
    """`--models-max` models run and none of them is idle."""


class RouterEngine(LlamaServer):
    """`llama-server` without a model. A load is answered at once and goes on behind; that it failed is only seen in the status."""

    def __init__(self, node: str, spec: SimEngine, cards: Sequence[Card], ram: Card, ground: Ground) -> None:
        super().__init__(node, spec, cards, ram, ground)
        self._children: dict[str, Child] = {}
        self._uses = itertools.count(1)

    def _boot(self) -> None:
        self._children = {model.name: Child(model) for model in sorted(self.spec.installed, key=lambda model: model.name)}

    def _forget(self) -> None:
        for child in self._children.values():
            if child.process is not None:
                child.process.free()
        self._children = {}

    def _residents(self) -> dict[str, int]:
        return {
            name: child.process.bytes_on_cards
            for name, child in self._children.items()
            if child.value == "loaded" and child.process is not None
        }

    async def _answer(self, request: Request) -> Response:
        if key_refused(request, self.spec.api_key):
            return error(401, "Invalid API Key")
        match request.method, request.path:
            case "GET", "/health" | "/v1/health":
                return json_response({"status": "ok"})
            case "GET", "/props":
                return json_response(self._props())
            case "GET", "/models" | "/v1/models":
                return json_response({"object": "list", "data": [self._entry(child) for child in self._children.values()]})
            case "POST", "/models/load":
                return await self._load(request)
            case "POST", "/models/unload":
                return self._unload(request)
            case "DELETE", "/models":
                return error(500, "model is not removable")
            case "GET", "/metrics" | "/slots":
                return self._of_a_model(request)
            case "POST", path if path in _INFERENCE:
                return await self._infer(request)
        return not_found()

    def _props(self) -> dict[str, object]:
        return {
            "role": "router",
            "max_instances": self.spec.models_max,
            "models_autoload": self.spec.autoload,
            "model_alias": "llama-server",
            "model_path": "none",
            "default_generation_settings": {"params": {}, "n_ctx": 0},
            "build_info": self.build_info,
        }

    def _entry(self, child: Child) -> dict[str, object]:
        model = child.model
        context = context_of(model, self.spec) * self.spec.num_parallel
        args = [
            "llama-server",
            "--host",
            "127.0.0.1",
            "--alias",
            model.name,
            "--ctx-size",
            str(context),
            "--model",
            f"/models/{model.name}.gguf",
        ]
        preset = f"[{model.name}]\nctx-size = {context}\nmodel = /models/{model.name}.gguf\n"
        status: dict[str, object] = {"value": child.value, "args": args, "preset": preset}
        if child.failed:
            status |= {"failed": True, "exit_code": 1}
        entry: dict[str, object] = {
            "id": model.name,
            "aliases": [],
            "tags": [],
            "object": "model",
            "owned_by": "llamacpp",
            "created": CREATED,
            "status": status,
            "architecture": {"input_modalities": ["text"], "output_modalities": ["embeddings" if model.embedding else "text"]},
            "source": "models_dir",
            "can_remove": False,
        }
        if child.value in ("loaded", "sleeping"):
            entry["meta"] = meta(model, self.spec)
        return entry

    async def _load(self, request: Request) -> Response:
        name = _named(request)
        if name is None:
            return error(400, "model name is missing from the request")
        child = self._children.get(name)
        if child is None:
            return not_found()
        if child.running:
            return error(400, "model is already running")
        try:
            await self._start(child)
        except LimitReached:
            return error(500, "model limit reached, try again later")
        return json_response({"success": True})

    def _unload(self, request: Request) -> Response:
        child = self._children.get(_named(request) or "")
        if child is None:
            return error(400, "model is not found")
        if not child.running:
            return error(400, "model is not running")
        self._stop_soon(child)
        return json_response({"success": True})

    def _of_a_model(self, request: Request) -> Response:
        name = request.query.get("model")
        if not name:
            return error(400, "model name is missing from the request")
        child = self._children.get(name)
        if child is None:
            return error(400, f"model '{name}' not found")
        if child.value != "loaded":
            return error(400, "model is not loaded")
        if request.path == "/metrics":
            return error(501, "This server does not support metrics endpoint. Start it with `--metrics`")
        return json_response(
            [{"id": 0, "n_ctx": context_of(child.model, self.spec), "speculative": False, "is_processing": child.in_flight > 0}]
        )

    async def _infer(self, request: Request) -> Response:
        name = _named(request)
        if name is None:
            return error(400, "model name is missing from the request")
        child = self._children.get(name)
        if child is None:
            return error(400, f"model '{name}' not found")
        autoload = {"true": True, "false": False}.get(request.query.get("autoload", ""), self.spec.autoload)
        if not child.running and not autoload:
            return error(400, "model is not loaded")
        if not child.running:
            try:
                await self._start(child)
            except LimitReached:
                return error(500, "model limit reached, try again later")
        if child.value == "sleeping":
            child.become("loading")
            child.loading = self.spawn(self._run(child))
        while child.value == "loading":
            await child.changed.wait()
        if child.value != "loaded":
            return error(500, f"model name={name} failed to load")
        child.last_used = next(self._uses)
        child.in_flight += 1
        try:
            await self.clock.sleep(self.spec.answer_seconds)
        finally:
            child.in_flight -= 1
            self._doze_when_idle(child)
        return inference(request.path, child.model, bool(child.process and child.process.whole))

    async def _start(self, child: Child) -> None:
        """Makes room under `--models-max` by stopping the least recently used idle model, then loads behind. Raises LimitReached."""
        child.become("loading")
        try:
            while self.spec.models_max and sum(other.running for other in self._children.values()) > self.spec.models_max:
                idle = [other for other in self._children.values() if other.value in ("loaded", "sleeping") and not other.in_flight]
                if not idle:
                    raise LimitReached
                await self._stop(min(idle, key=lambda other: (other.last_used, other.model.name)))
        except BaseException:
            child.become("unloaded")
            raise
        child.last_used = next(self._uses)
        child.loading = self.spawn(self._run(child))

    async def _run(self, child: Child) -> None:
        child.process = process = ModelProcess(self, child.model)
        try:
            await process.load()
        except LoadDied:
            child.become("unloaded", failed=True)
        except asyncio.CancelledError:
            child.become("unloaded")
            raise
        else:
            child.become("loaded")
            self._doze_when_idle(child)

    def _doze_when_idle(self, child: Child) -> None:
        """`--sleep-idle-seconds`: weights and cache are given back, the process stays, and the next inference wakes it."""
        used, process = child.last_used, child.process

        def doze() -> None:
            if child.value == "loaded" and child.last_used == used and child.process is process and not child.in_flight:
                if process is not None:
                    process.free()
                child.become("sleeping")

        if self.spec.sleep_idle > 0:
            self.clock.later(self.spec.sleep_idle, doze)

    def _stop_soon(self, child: Child) -> None:
        """A load in progress is killed; a loaded model stops once this answer is out."""
        if child.value == "loading" and child.loading is not None:
            child.loading.cancel()
        elif not child.stopping:
            child.stopping = True
            self.spawn(self._stop(child))

    async def _stop(self, child: Child) -> None:
        """Ends when the process has stopped; its memory comes back later still."""
        child.stopping = True
        await asyncio.sleep(0)
        if child.process is not None:
            child.process.free_late()
        child.stopping = False
        if child.value in ("loaded", "sleeping"):
            child.become("unloaded")


def _named(request: Request) -> str | None:
    body = request.document()
    name = body.get("model") if body is not None else None
    return name if isinstance(name, str) and name else None
