"""Ollama's routes (server/routes.go GenerateRoutes) over a library, a scheduler and a puller."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from reconciler.sim.cards import Card
from reconciler.sim.engine import Engine, Ground
from reconciler.sim.http import Request, Response, json_response, ndjson_response, text_response
from reconciler.sim.ollama.library import Installed, Library, details, go_time, show
from reconciler.sim.ollama.names import BadDuration, canonical, keep_alive_seconds
from reconciler.sim.ollama.options import BadOption, baked_parameters, default_context, runner_options
from reconciler.sim.ollama.pulls import Lines, Puller
from reconciler.sim.ollama.runners import Runner
from reconciler.sim.ollama.scheduler import LoadFailed, QueueFull, Scheduler
from reconciler.sim.spec import SimEngine

Document = dict[str, object]
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")
_ANSWER = "This answer is simulated."


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class OllamaEngine(Engine):
    """`ollama serve`. Its library and what arrived of broken-off pulls outlive restarts."""

    def __init__(self, node: str, spec: SimEngine, cards: Sequence[Card], ram: Card, ground: Ground) -> None:
        super().__init__(node, spec, cards, ram, ground)
        self._puller = Puller(spec.registry, Library(spec.installed), self.clock, self.faults, spec.pull_seconds)
        self._scheduler: Scheduler | None = None
        self._context = spec.default_context or default_context(sum(card.total or 0 for card in cards))
        self._routes = self._make_routes()
        self.clock.on_advance(lambda: self._scheduler.sweep() if self._scheduler is not None else None)

    @property
    def library(self) -> Library:
        """What is installed; servers that have one volume have one library."""
        return self._puller.library

    @library.setter
    def library(self, shared: Library) -> None:
        self._puller.library = shared

    def _boot(self) -> None:
        self._scheduler = Scheduler(self.spec, self.cards, self.ram, self.clock, self.faults, self.load_duration)

    def _forget(self) -> None:
        if self._scheduler is not None:
            self._scheduler.end()
            self._scheduler = None

    def _residents(self) -> dict[str, int]:
        return {runner.entry.name: runner.size_vram for runner in self._running().residents()} if self._scheduler is not None else {}

    def _running(self) -> Scheduler:
        if self._scheduler is None:
            raise Refused(503, "server is shutting down")
        return self._scheduler

    def _failure(self, status: int, text: str) -> Response:
        return json_response({"error": text}, status)

    async def _answer(self, request: Request) -> Response:
        if not _is_local(request.headers.get("host", "")):
            return Response(403, body=b"")
        methods = self._routes.get(request.path)
        if methods is None:
            return text_response("404 page not found", 404)
        route = methods.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            return text_response("405 method not allowed", 405)
        try:
            self._running().sweep()
            return await route(request)
        except Refused as refused:
            return self._failure(refused.status, refused.text)
        except QueueFull as full:
            return self._failure(503, str(full))
        except LoadFailed as failed:
            return self._failure(500, str(failed))

    def _make_routes(self) -> dict[str, dict[str, Callable[[Request], Awaitable[Response]]]]:
        return {
            "/": {"GET": self._home},
            "/api/version": {"GET": self._version},
            "/api/status": {"GET": self._status},
            "/api/tags": {"GET": self._tags},
            "/api/ps": {"GET": self._ps},
            "/api/show": {"POST": self._show},
            "/api/generate": {"POST": self._generate},
            "/api/chat": {"POST": self._chat},
            "/api/embed": {"POST": self._embed},
            "/api/pull": {"POST": self._pull},
            "/api/create": {"POST": self._create},
            "/api/copy": {"POST": self._copy},
            "/api/delete": {"DELETE": self._delete},
            "/v1/models": {"GET": self._openai_models},
            "/v1/chat/completions": {"POST": self._openai_chat},
        }

    async def _home(self, _: Request) -> Response:
        return text_response("Ollama is running")

    async def _version(self, _: Request) -> Response:
        return json_response({"version": self.spec.version or "0.34.0"})

    async def _status(self, _: Request) -> Response:
        return json_response({"cloud": {"disabled": True, "source": "env"}})

    async def _tags(self, _: Request) -> Response:
        return json_response(self.library.tags())

    async def _ps(self, _: Request) -> Response:
        return json_response({"models": [_ps_line(runner) for runner in self._running().residents()]})

    async def _show(self, request: Request) -> Response:
        body = _body(request)
        return json_response(show(self._find(_model_name(body)), body.get("verbose") is True))

    async def _generate(self, request: Request) -> Response:
        body = _body(request)
        prompt = body.get("prompt")
        return await self._infer(body, "generate", empty=not prompt, words=lambda text: {"response": text})

    async def _chat(self, request: Request) -> Response:
        body = _body(request)
        return await self._infer(
            body, "chat", empty=not body.get("messages"), words=lambda text: {"message": {"role": "assistant", "content": text}}
        )

    async def _infer(self, body: Document, verb: str, *, empty: bool, words: Callable[[str], Document]) -> Response:
        """/api/generate and /api/chat: without a prompt they load, or unload with a keep-alive of 0 (which is looked at first)."""
        name = _model_name(body)
        entry = self._find(name)
        keep = _keep_alive(body)

        def line(text: str, **more: object) -> Document:
            return {"model": name, "created_at": go_time(self.clock.now()), **words(text), **more}

        if empty and keep == 0:
            self._running().expire(entry.blob)
            return json_response(line("", done=True, done_reason="unload"))
        if entry.model.embedding:
            raise Refused(400, f'"{name}" does not support {verb}')
        scheduler = self._running()
        runner = await self._hold(scheduler, entry, body.get("options"), keep)
        if empty:
            scheduler.let_go(runner)
            return json_response(line("", done=True, done_reason="load"))
        try:
            await self.clock.sleep(self.spec.answer_seconds)
        finally:
            scheduler.let_go(runner)
        speed = entry.model.speed(0 < runner.size == runner.size_vram)
        last = {"done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 4, "eval_duration": int(4e9 / speed)}
        if body.get("stream") is False:
            return json_response(line(_ANSWER, **last))
        return ndjson_response(_each([line(_ANSWER, done=False), line("", **last)]))

    async def _embed(self, request: Request) -> Response:
        body = _body(request)
        name = _model_name(body)
        entry, scheduler = self._find(name), self._running()
        runner = await self._hold(scheduler, entry, body.get("options"), _keep_alive(body))
        given = body.get("input")
        texts = given if isinstance(given, list) else [given] if given else []
        try:
            if texts:
                await self.clock.sleep(self.spec.answer_seconds)
        finally:
            scheduler.let_go(runner)
        vector = [1.0] + [0.0] * (entry.model.embedding_length - 1)
        return json_response({"model": name, "embeddings": [vector for _ in texts]})

    async def _hold(self, scheduler: Scheduler, entry: Installed, options: object, keep: float | None) -> Runner:
        try:
            wanted = runner_options(entry.model, options, self._context)
        except BadOption as error:
            raise Refused(400, str(error)) from None
        return await scheduler.hold(entry, wanted, keep)

    async def _pull(self, request: Request) -> Response:
        body = _body(request)
        name = _model_name(body)
        if canonical(name) is None:
            raise Refused(400, "invalid model name")
        return await _streamed(self._puller.pull(name), body)

    async def _create(self, request: Request) -> Response:
        body = _body(request)
        name, base = _model_name(body), body.get("from")
        if canonical(name) is None:
            raise Refused(400, "invalid model name")
        if not isinstance(base, str) or not base:
            raise Refused(400, "neither 'from' or 'files' was specified")
        parameters = baked_parameters(body.get("parameters"))
        if parameters is None:
            raise Refused(400, "parameters must be an object of numbers, strings and booleans")
        return await _streamed(self._puller.create(name, base, parameters), body)

    async def _copy(self, request: Request) -> Response:
        body = _body(request)
        source, destination = body.get("source"), body.get("destination")
        if not isinstance(source, str) or canonical(source) is None:
            raise Refused(400, f'source "{source}" is invalid')
        if not isinstance(destination, str) or canonical(destination) is None:
            raise Refused(400, f'destination "{destination}" is invalid')
        entry = self.library.find(source)
        if entry is None:
            raise Refused(404, f'model "{source}" not found')
        self.library.copy(entry, destination)
        return Response()

    async def _delete(self, request: Request) -> Response:
        name = _model_name(_body(request))
        if canonical(name) is None:
            raise Refused(400, f'name "{name}" is invalid')
        if not self.library.remove(name):
            raise Refused(404, f"model '{name}' not found")
        return Response()

    async def _openai_models(self, _: Request) -> Response:
        listed = self.library.tags()["models"]
        names = [entry["name"] for entry in listed] if isinstance(listed, list) else []
        return json_response(
            {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "library"} for name in names]}
        )

    async def _openai_chat(self, request: Request) -> Response:
        """Carries neither options nor keep-alive: a model that was loaded with options is reloaded to the defaults."""
        body = _body(request)
        name = _model_name(body)
        entry, scheduler = self._find(name), self._running()
        if entry.model.embedding:
            raise Refused(400, f'"{name}" does not support chat')
        runner = await self._hold(scheduler, entry, None, None)
        try:
            await self.clock.sleep(self.spec.answer_seconds)
        finally:
            scheduler.let_go(runner)
        choice = {"index": 0, "message": {"role": "assistant", "content": _ANSWER}, "finish_reason": "stop"}
        return json_response({"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": name, "choices": [choice]})

    def _find(self, name: str) -> Installed:
        entry = self.library.find(name)
        if entry is None:
            raise Refused(404, f"model '{name}' not found")
        return entry


async def _streamed(lines: Lines, body: Document) -> Response:
    """The lines as they come; with `stream: false` only the last, and an error as 500."""
    if body.get("stream") is not False:
        return ndjson_response(lines)
    last: object = None
    async for last in lines:
        if isinstance(last, dict) and "error" in last:
            return json_response(last, 500)
    return json_response(last)


async def _each(lines: Sequence[Document]) -> AsyncGenerator[object, None]:
    for line in lines:
        yield line


def _ps_line(runner: Runner) -> Document:
    return {
        "name": runner.entry.name,
        "model": runner.entry.name,
        "size": runner.size,
        "digest": runner.entry.digest,
        "details": details(runner.entry),
        "expires_at": go_time(runner.expires_at),
        "size_vram": runner.size_vram,
        "context_length": runner.options.num_ctx,
    }


def _body(request: Request) -> Document:
    if not request.body:
        raise Refused(400, "missing request body")
    body = request.document()
    if body is None:
        raise Refused(400, "invalid character in request body")
    return body


def _model_name(body: Document) -> str:
    name = body.get("model") or body.get("name")
    if not isinstance(name, str) or not name:
        raise Refused(400, "model is required")
    return name


def _keep_alive(body: Document) -> float | None:
    given = body.get("keep_alive")
    if given is None:
        return None
    try:
        return keep_alive_seconds(given)
    except BadDuration as error:
        raise Refused(400, str(error)) from None


def _is_local(host: str) -> bool:
    """The Host check of a server on a loopback address (server/routes.go allowedHostsMiddleware)."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name == "localhost" or name.lower().endswith(_LOCAL_SUFFIXES):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_private
