"""The routes. Reading answers from the last look; nothing is asked of a node for it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from reconciler.fleet import GpurecError, GuardRefused, LockHeld, StalePlan, StateError
from reconciler.operations.apply_result import ApplyResult
from reconciler.operations.event_document import error_event, result_event
from reconciler.operations.exit_status import Command, exit_status, of_apply
from reconciler.operations.proposal import Proposal
from reconciler.service.http import answers
from reconciler.service.http.broadcast import Broadcast, Full
from reconciler.service.http.measures import Measures
from reconciler.service.http.metrics import CONTENT_TYPE, Metrics
from reconciler.service.http.page import PAGE_POLICY, page_of
from reconciler.service.watch import BACK_OFF, Watch
from reconciler.views import plan_document

MOST_RUNS = 200
Answer = Callable[[Request], Awaitable[Response]]


class Api:
    """The handlers over one loop."""

    def __init__(self, watch: Watch, metrics: Metrics, broadcast: Broadcast) -> None:
        self._watch = watch
        self._metrics = metrics
        self._broadcast = broadcast
        self._running: set[asyncio.Task[None]] = set()
        self._measures = Measures(watch)

    def routes(self) -> list[Route]:
        read: dict[str, Answer] = {
            "/": self.page,
            "/healthz": self.healthz,
            "/readyz": self.readyz,
            "/health": self.readyz,
            "/metrics": self.metrics,
            "/status": self.of_last(answers.status),
            "/v1/status": self.of_last(answers.status),
            "/v1/plan": self.of_last(answers.plan),
            "/v1/drift": self.of_last(answers.drift),
            "/v1/conditions": self.conditions,
            "/v1/history": self.history,
            "/v1/events": self.events,
            "/v1/explain/{what:path}": self.about(answers.explanation),
            "/v1/route/{what:path}": self.about(answers.route),
            "/v1/allocations": self.of_last(answers.allocations),
            "/gpu/allocations": self.of_last(answers.allocations),
            "/v1/gpu/status": self.gpu_status,
            "/api/v1/gpu/status": self.gpu_status,
            "/v1/gpu/memory-forecast": self._measures.memory_forecast,
            "/api/v1/gpu/memory-forecast": self._measures.memory_forecast,
            "/v1/gpu/models-optimal": self._measures.models_optimal,
            "/api/v1/gpu/models-optimal": self._measures.models_optimal,
        }
        write: dict[str, Answer] = {
            "/v1/apply": self.apply,
            "/v1/gpu/rebalance": self.rebalance,
            "/api/v1/gpu/rebalance": self.rebalance,
            "/v1/gpu/benchmark-model": self._measures.benchmark_model,
            "/api/v1/gpu/benchmark-model": self._measures.benchmark_model,
        }
        return [
            *(Route(path, answer, methods=["GET"]) for path, answer in read.items()),
            *(Route(path, answer, methods=["POST"]) for path, answer in write.items()),
        ]

    def _seen(self) -> Proposal:
        if self._watch.last is None:
            raise HTTPException(503, "the fleet was not looked at yet", {"Retry-After": "5"})
        return self._watch.last

    def of_last(self, document: Callable[[Proposal], object]) -> Answer:
        async def answer(request: Request) -> Response:
            return JSONResponse(document(self._seen()))

        return answer

    def about(self, text: Callable[[Proposal, str], str]) -> Answer:
        async def answer(request: Request) -> Response:
            try:
                return Response(text(self._seen(), request.path_params["what"]), media_type="application/json")
            except StateError:  # then nothing can be said of what is known
                raise
            except GpurecError as error:
                raise HTTPException(404, _sentence(error)) from None

        return answer

    async def gpu_status(self, request: Request) -> Response:
        return JSONResponse(answers.gpu_status(self._seen(), self._watch.records))

    async def healthz(self, request: Request) -> Response:
        """The process is alive, and its loop turns."""
        return JSONResponse({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        """Whether the last look is young enough to be believed: two intervals and a minute."""
        at, error = self._watch.last_at, self._watch.last_error
        age = None if at is None else time.monotonic() - at
        ready = age is not None and age <= 2 * self._watch.interval + BACK_OFF
        said = None if error is None else _sentence(error)
        body = {"status": "ready" if ready else "not ready", "last_look_seconds_ago": None if age is None else round(age, 1), "error": said}
        return JSONResponse(body, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        return Response(self._metrics.text(), media_type=CONTENT_TYPE)

    async def conditions(self, request: Request) -> Response:
        return JSONResponse({"conditions": answers.conditions(self._watch.holding)})

    async def history(self, request: Request) -> Response:
        text = request.query_params.get("last", "20")
        last = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
        if not 1 <= last <= MOST_RUNS:
            raise HTTPException(400, f"last is a number from 1 to {MOST_RUNS}")
        return JSONResponse({"runs": [asdict(run) for run in answers.runs(self._seen(), last)]})

    async def events(self, request: Request) -> Response:
        try:
            stream = self._broadcast.stream()
        except Full:
            raise HTTPException(503, "as many readers as may be are here already", {"Retry-After": "30"}) from None
        return StreamingResponse(stream, media_type="text/event-stream")

    async def page(self, request: Request) -> Response:
        text = page_of(self._watch.last, self._watch.holding, answers.runs(self._watch.last, 10) if self._watch.last is not None else ())
        return HTMLResponse(text, headers={"Content-Security-Policy": PAGE_POLICY})

    async def rebalance(self, request: Request) -> Response:
        """A plan of now; nothing is carried out."""
        return JSONResponse(plan_document((await self._watch.planned()).plan))

    async def apply(self, request: Request) -> Response:
        """Carries out just the plan of a digest. Answers once it has begun; how it goes on is told by `/v1/events`, and by history."""
        digest = (await _object(request, {"digest"}))["digest"]
        if not isinstance(digest, str):
            raise HTTPException(400, "digest is the text sha256:… of a plan")
        proposal, run = await self._watch.approved(digest, f"serve: approved by {request.scope['caller'].name}")
        task = asyncio.ensure_future(self._followed(proposal, run))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return JSONResponse({"digest": digest, "status": "started"}, 202)

    async def _followed(self, proposal: Proposal, run: asyncio.Task[ApplyResult]) -> None:
        try:
            result = await run
        except GpurecError as error:
            self._broadcast.send(error_event(error))
            return
        self._broadcast.send(result_event(result, exit_status(Command.APPLY, of_apply(proposal.plan, result))))


async def _object(request: Request, keys: set[str]) -> dict[str, object]:
    """The body as a JSON object with just these keys."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "send JSON, with Content-Type: application/json")
    try:
        found = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise HTTPException(400, "this is no JSON") from None
    except ClientDisconnect:
        raise HTTPException(413, "the body is too large") from None
    if not isinstance(found, dict) or set(found) != keys:
        raise HTTPException(400, f"send an object with {' and '.join(sorted(keys))}, and nothing else")
    return found


def _sentence(error: Exception) -> str:
    return error.problems[0].sentence() if isinstance(error, GpurecError) else type(error).__name__


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _refused(request: Request, error: Exception) -> Response:
    """An error of an operation: 409 where the world moved or somebody else is at it, 403 where a guard refuses, else 500."""
    status = 409 if isinstance(error, StalePlan | LockHeld) else 403 if isinstance(error, GuardRefused) else 500
    return JSONResponse({"error": _sentence(error)}, status)


def app_of(api: Api) -> Starlette:
    """The application, without its access layer."""
    return Starlette(routes=api.routes(), exception_handlers={HTTPException: _http_error, GpurecError: _refused})
