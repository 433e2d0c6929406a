"""llama-swap (internal/server, README): a proxy that starts a server for each model when it is asked for, and stops others for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

from reconciler.sim.cards import Card
from reconciler.sim.engine import Engine, Ground
from reconciler.sim.http import Request, Response, json_response, text_response
from reconciler.sim.llamacpp.answers import CREATED, inference
from reconciler.sim.llamacpp.process import LoadDied, ModelProcess
from reconciler.sim.llamaswap.groups import stopped_by
from reconciler.sim.spec import SimEngine, SimModel

State = Literal["stopped", "starting", "ready", "stopping"]
_INFERENCE = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"})
_CONCURRENCY = 10


@dataclass(slots=True, eq=False)
class Upstream:
    """A model and its process, when it has one. `changed` is set whenever its state changes."""

    model: SimModel
    state: State = "stopped"
    process: ModelProcess | None = None
    loading: asyncio.Task[None] | None = None
    in_flight: int = 0
    used: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def become(self, state: State) -> None:
        self.state = state
        self.changed.set()
        self.changed = asyncio.Event()


class LlamaSwapEngine(Engine):
    """`llama-swap --config FILE`."""

    def __init__(self, node: str, spec: SimEngine, cards: Sequence[Card], ram: Card, ground: Ground) -> None:
        super().__init__(node, spec, cards, ram, ground)
        self._upstreams: dict[str, Upstream] = {}
        self._swapping = asyncio.Lock()

    def _boot(self) -> None:
        self._swapping = asyncio.Lock()
        self._upstreams = {model.name: Upstream(model) for model in sorted(self.spec.installed, key=lambda model: model.name)}

    def _forget(self) -> None:
        for upstream in self._upstreams.values():
            if upstream.process is not None:
                upstream.process.free()
        self._upstreams = {}

    def _residents(self) -> dict[str, int]:
        return {
            name: upstream.process.bytes_on_cards
            for name, upstream in self._upstreams.items()
            if upstream.state == "ready" and upstream.process is not None
        }

    async def _answer(self, request: Request) -> Response:
        if self.spec.api_key is not None and not _has_key(request, self.spec.api_key) and request.path != "/health":
            refused = (("WWW-Authenticate", 'Basic realm="llama-swap"'),)
            return Response(401, body=b'{"error":"unauthorized: invalid or missing API key"}', headers=refused)
        match request.method, request.path:
            case "GET", "/health":
                return text_response("OK")
            case "GET", "/api/version":
                return json_response({"version": self.spec.version or "0bdb372-sim", "commit": "0bdb372", "build_date": "2026-08-22"})
            case "GET", "/v1/models":
                return json_response({"object": "list", "data": [_entry(upstream) for upstream in self._upstreams.values()]})
            case "GET", "/running":
                running = [self._line(upstream) for upstream in self._upstreams.values() if upstream.state != "stopped"]
                return json_response({"running": running})
            case "GET", "/unload":
                await self._stop_all()
                return text_response("OK")
            case "POST", "/api/models/unload":
                await self._stop_all()
                return json_response({"msg": "ok"})
            case "POST", path if path.startswith("/api/models/unload/"):
                return await self._unload(unquote(path.removeprefix("/api/models/unload/")))
            case _, path if path.startswith("/upstream/"):
                return await self._forward(path.removeprefix("/upstream/"))
            case "POST", path if path in _INFERENCE:
                body = request.document() or {}
                return await self._infer(str(body.get("model", "")), path)
        return text_response("404 page not found", 404)

    def _line(self, upstream: Upstream) -> dict[str, object]:
        name = upstream.model.name
        return {
            "model": name,
            "state": upstream.state,
            "cmd": f"llama-server -m /models/{name}.gguf --port 5801",
            "proxy": "http://localhost:5801",
            "ttl": int(self.spec.ttl),
            "name": "",
            "description": "",
        }

    async def _unload(self, name: str) -> Response:
        upstream = self._upstreams.get(name)
        if upstream is None:
            return text_response("model not found", 404)
        await self._stop(upstream)
        return text_response("OK")

    async def _forward(self, rest: str) -> Response:
        """The longest leading part of the path that is a model's name."""
        name = max((name for name in self._upstreams if rest == name or rest.startswith(name + "/")), key=len, default=None)
        if name is None:
            return text_response("model not found", 404)
        path = rest.removeprefix(name)
        return await self._infer(name, path, health=path == "/health")

    async def _infer(self, name: str, path: str, *, health: bool = False) -> Response:
        upstream = self._upstreams.get(name)
        if upstream is None:
            return json_response({"error": f"could not find suitable handler for {name}"}, 404)
        if upstream.in_flight >= _CONCURRENCY:
            return text_response("Too many requests", 429)
        upstream.in_flight += 1
        try:
            async with self._swapping:
                await self._make_ready(upstream)
            while upstream.state == "starting":
                await upstream.changed.wait()
            if upstream.state != "ready":
                return text_response(f"unable to start process: upstream command exited prematurely: {name}", 502)
            upstream.used += 1
            if not health:
                await self.clock.sleep(self.spec.answer_seconds)
        finally:
            upstream.in_flight -= 1
        self._let_expire(upstream)
        whole = upstream.process is not None and upstream.process.whole
        return json_response({"status": "ok"}) if health else inference(path, upstream.model, whole)

    async def _make_ready(self, upstream: Upstream) -> None:
        while upstream.state == "stopping":
            await upstream.changed.wait()
        if upstream.state != "stopped":
            return
        running = [name for name, other in self._upstreams.items() if other.state != "stopped"]
        for name in stopped_by(upstream.model.name, running, self.spec.groups):
            await self._stop(self._upstreams[name])
        upstream.become("starting")
        upstream.process = ModelProcess(self, upstream.model)
        upstream.loading = self.spawn(self._run(upstream, upstream.process))

    async def _run(self, upstream: Upstream, process: ModelProcess) -> None:
        """A start goes on when the client that asked for it has gone."""
        try:
            await process.load()
        except LoadDied:
            upstream.become("stopped")
        except asyncio.CancelledError:
            upstream.become("stopped")
            raise
        else:
            upstream.become("ready")
            self._let_expire(upstream)

    async def _stop_all(self) -> None:
        for upstream in self._upstreams.values():
            await self._stop(upstream)

    async def _stop(self, upstream: Upstream) -> None:
        """Ends when the process has; its memory is back with it."""
        if upstream.state == "starting" and upstream.loading is not None:
            upstream.loading.cancel()
            await asyncio.gather(upstream.loading, return_exceptions=True)
        elif upstream.state == "stopping":
            while upstream.state == "stopping":
                await upstream.changed.wait()
        elif upstream.state == "ready" and upstream.process is not None:
            upstream.become("stopping")
            await self.clock.sleep(self.spec.release_seconds)
            upstream.process.free()
            upstream.become("stopped")

    def _let_expire(self, upstream: Upstream) -> None:
        """With a time to live, an idle model stops that long after its last request."""
        if self.spec.ttl <= 0:
            return
        used = upstream.used

        def expire() -> None:
            if upstream.used == used and not upstream.in_flight and upstream.state == "ready" and self.alive:
                self.spawn(self._stop(upstream))

        self.clock.later(self.spec.ttl, expire)

    def _failure(self, status: int, text: str) -> Response:
        return json_response({"error": text}, status)


def _entry(upstream: Upstream) -> dict[str, object]:
    return {
        "id": upstream.model.name,
        "object": "model",
        "created": CREATED,
        "owned_by": "llama-swap",
        "name": "",
        "description": "",
        "status": {"value": "loaded" if upstream.state == "ready" else "unloaded"},
    }


def _has_key(request: Request, key: str) -> bool:
    given = request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
    return given == key
