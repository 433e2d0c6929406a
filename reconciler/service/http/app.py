"""The routes. Reading answers from the last look; nothing is asked of a node for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from reconciler.fleet import GpurecError, GuardRefused, LockHeld, StalePlan, StateError
from reconciler.operations.apply_result import ApplyResult
from reconciler.operations.event_document import error_event, result_event
from reconciler.operations.exit_status import Command, exit_status, of_apply
from reconciler.operations.proposal import Proposal
from reconciler.operations.settings import WorkspaceSettings
from reconciler.service.http import answers, shapes
from reconciler.service.http.access import Tokens
from reconciler.service.http.agents import Agents
from reconciler.service.http.bodies import json_object, number_of
from reconciler.service.http.broadcast import Broadcast, Full
from reconciler.service.http.measures import LONGEST_NAME, MOST_CONTEXT, MOST_HOURS, Measures
from reconciler.service.http.metrics import CONTENT_TYPE, Metrics
from reconciler.service.http.operations import Answer, Operation, Parameter, Schema, document, routes
from reconciler.service.http.pages.frame import message
from reconciler.service.http.pages.handlers import Pages
from reconciler.service.http.payments import PaymentHandlers
from reconciler.service.http.rate import Rate
from reconciler.service.watch import BACK_OFF, Watch
from reconciler.views import plan_document

MOST_RUNS = 200


class Api:
    """The handlers over one loop."""

    def __init__(self, watch: Watch, metrics: Metrics, broadcast: Broadcast) -> None:
        self._watch = watch
        self._metrics = metrics
        self._broadcast = broadcast
        self._running: set[asyncio.Task[None]] = set()
        self._planning: asyncio.Task[object] | None = None
        self._rebalances = Rate("has plans made")

    def _seen(self) -> Proposal:
        if self._watch.last is None:
            raise HTTPException(503, "the fleet was not looked at yet", {"Retry-After": "5"})
        return self._watch.last

    def of_last(self, document: Callable[[Proposal], object]) -> Answer:
        async def answer(request: Request) -> Response:
            return JSONResponse(await asyncio.to_thread(document, self._seen()))

        return answer

    def about(self, text: Callable[[Proposal, str], str]) -> Answer:
        async def answer(request: Request) -> Response:
            try:
                found = await asyncio.to_thread(text, self._seen(), request.path_params["what"])
                return Response(found, media_type="application/json")
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
        last = number_of(request, "last", 20, 1, MOST_RUNS)
        runs = await asyncio.to_thread(answers.runs, self._seen(), last)
        return JSONResponse({"runs": [asdict(run) for run in runs]})

    async def events(self, request: Request) -> Response:
        try:
            stream = self._broadcast.stream()
        except Full:
            raise HTTPException(503, "as many readers as may be are here already", {"Retry-After": "30"}) from None
        return StreamingResponse(stream, media_type="text/event-stream")

    async def rebalance(self, request: Request) -> Response:
        """A plan of now; nothing is carried out. Who asks while one is being made gets that one, so that no number of callers has nodes
        asked more than once at a time."""
        self._rebalances.count(request.scope["caller"].name)
        if self._planning is None or self._planning.done():
            self._planning = asyncio.ensure_future(self._planned())
        return JSONResponse(await asyncio.shield(self._planning))

    async def _planned(self) -> object:
        return plan_document((await self._watch.planned()).plan)

    async def apply(self, request: Request) -> Response:
        """Carries out just the plan of a digest. Answers once it has begun; how it goes on is told by `/v1/events`, and by history."""
        digest = (await json_object(request, {"digest"}))["digest"]
        if not isinstance(digest, str):
            raise HTTPException(400, "digest is the text sha256:… of a plan")
        await self.approved(digest, request.scope["caller"].name)
        return JSONResponse({"digest": digest, "status": "started"}, 202)

    async def approved(self, digest: str, who: str) -> None:
        """Has just that plan carried out; returns once it has begun. Raises StalePlan, LockHeld, GuardRefused."""
        proposal, run = await self._watch.approved(digest, f"serve: approved by {who}")
        task = asyncio.ensure_future(self._followed(proposal, run))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _followed(self, proposal: Proposal, run: asyncio.Task[ApplyResult]) -> None:
        try:
            result = await run
        except GpurecError as error:
            self._broadcast.send(error_event(error))
            return
        except Exception as error:  # noqa: BLE001 - the last net of a run that nobody waits for: a fault of our own is told too
            self._broadcast.send(error_event(GpurecError.of(f"gpurec itself failed: {type(error).__name__}: {error}")))
            return
        self._broadcast.send(result_event(result, exit_status(Command.APPLY, of_apply(proposal.plan, result))))


def _sentence(error: Exception) -> str:
    return error.problems[0].sentence() if isinstance(error, GpurecError) else type(error).__name__


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.detail == _NO_ROUTE:
        error.detail = "there is nothing at this path; /openapi.json says what can be asked"
    if _from_a_browser(request):
        page = message(_TITLES.get(error.status_code, "Not now"), error.detail, "/", error.status_code)
        page.headers.update(error.headers or {})
        return page
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _refused(request: Request, error: Exception) -> Response:
    """An error of an operation: 409 where the world moved or somebody else is at it, 403 where a guard refuses, else 500."""
    status = 409 if isinstance(error, StalePlan | LockHeld) else 403 if isinstance(error, GuardRefused) else 500
    if _from_a_browser(request):
        return message("This cannot be shown", _sentence(error), "/", status)
    return JSONResponse({"error": _sentence(error)}, status)


_NO_ROUTE = "Not Found"
"""What Starlette says of a path that no route has."""
_TITLES = {404: "No such page", 405: "Not here"}


def _from_a_browser(request: Request) -> bool:
    """Whether a person reads the answer: somebody who opened a page, and nothing of the API."""
    return (
        request.method == "GET" and "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(("/v1/", "/api/"))
    )


def app_of(watch: Watch, settings: WorkspaceSettings, metrics: Metrics, broadcast: Broadcast, tokens: Callable[[], Tokens]) -> Starlette:
    """The application, without its access layer."""
    api = Api(watch, metrics, broadcast)
    every = table(api, Measures(watch), Agents(watch, settings), PaymentHandlers(watch, settings, tokens), Pages(watch, api.approved))
    return Starlette(routes=routes(every), exception_handlers={HTTPException: _http_error, GpurecError: _refused})


def table(api: Api, measures: Measures, agents: Agents, payments: PaymentHandlers, pages: Pages) -> tuple[Operation, ...]:
    """Everything that can be asked."""

    async def openapi(request: Request) -> Response:
        return JSONResponse(document(found, shapes.shared()))

    hours = Parameter("hours", {"type": "integer", "minimum": 1, "maximum": MOST_HOURS, "default": 24}, "how far ahead")
    last = Parameter("last", {"type": "integer", "minimum": 1, "maximum": MOST_RUNS, "default": 20}, "so many, the newest first")
    agent_type = Parameter("agent_type", {"type": "string"}, "only what agents of this type use")
    context = Parameter("min_context_tokens", {"type": "integer", "minimum": 0, "maximum": MOST_CONTEXT, "default": 0}, "of one request")
    name = Parameter("model_name", {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME}, "a resident, or its address", True)
    of = api.of_last
    found = (
        *_pages(pages),
        Operation("GET", ("/openapi.json",), openapi, "This document.", {"type": "object"}),
        Operation("GET", ("/healthz",), api.healthz, "Whether the process is alive.", shapes.ALIVE),
        Operation("GET", ("/readyz", "/health"), api.readyz, "Whether the last look is young enough.", shapes.READY, statuses=(200, 503)),
        Operation("GET", ("/metrics",), api.metrics, "For Prometheus.", None, media="text/plain"),
        Operation("GET", ("/v1/status", "/status"), of(answers.status), "How the fleet stands.", shapes.STATUS),
        Operation("GET", ("/v1/plan",), of(answers.plan), "What the next apply would do.", shapes.PLAN),
        Operation("GET", ("/v1/drift",), of(answers.drift), "What is not as it was last applied.", shapes.DRIFT),
        Operation("GET", ("/v1/conditions",), api.conditions, "What is not as it should be.", shapes.CONDITIONS),
        Operation("GET", ("/v1/history",), api.history, "The latest runs.", shapes.RUNS, (last,)),
        Operation("GET", ("/v1/events",), api.events, "Events from now on.", None, media="text/event-stream"),
        Operation("GET", ("/v1/explain/{what:path}",), api.about(answers.explanation), "Why a resource is there.", shapes.EXPLANATION),
        Operation("GET", ("/v1/route/{what:path}",), api.about(answers.route), "Where to send a request.", shapes.ROUTE),
        Operation("GET", ("/v1/allocations", "/gpu/allocations"), of(answers.allocations), "What is where.", shapes.ALLOCATIONS),
        *_below_gpu("GET", "status", api.gpu_status, "Cards and their models.", shapes.GPU_STATUS),
        *_below_gpu("GET", "models", of(answers.models), "Known models, their needs and places.", shapes.KNOWN_MODELS),
        *_below_gpu("GET", "memory-forecast", measures.memory_forecast, "How full cards will be.", shapes.FORECAST, (hours,)),
        *_below_gpu("GET", "models-optimal", measures.models_optimal, "Models, best first.", shapes.OPTIMAL, (agent_type, context)),
        *_below_gpu("POST", "rebalance", api.rebalance, "A plan of now; nothing is carried out.", shapes.PLAN),
        *_below_gpu("POST", "benchmark-model", measures.benchmark_model, "How fast a resident is.", shapes.BENCH, (name,)),
        Operation("POST", ("/v1/apply",), api.apply, "Carries out just this plan.", shapes.STARTED, (), shapes.APPROVE, (202,)),
        Operation("GET", ("/agents", "/api/v1/agents"), agents.every, "Agents that were allocated.", shapes.AGENTS),
        Operation(
            "POST",
            ("/agents/allocate", "/api/v1/agents/allocate"),
            agents.allocate,
            "Wants an agent beside those of the files.",
            shapes.AGENT,
            body=shapes.ALLOCATE,
            statuses=(200, 201),
        ),
        Operation("DELETE", ("/agents/{name}", "/api/v1/agents/{name}"), agents.release, "Wants it no more.", shapes.RELEASED),
        Operation("GET", ("/payments/stats",), payments.stats, "Prices, and tickets added up.", shapes.PAYMENTS),
        Operation(
            "POST",
            ("/webhook/livepeer",),
            payments.ticket,
            "Counts a ticket once.",
            shapes.TICKETED,
            body=shapes.TICKET,
            statuses=(200, 202),
        ),
    )
    return found


def _pages(pages: Pages) -> Iterator[Operation]:
    for method, path, answer, said in (
        ("GET", "/", pages.fleet, "The fleet."),
        ("GET", "/plan", pages.plan, "The plan, and the form that has it carried out."),
        ("GET", "/drift", pages.drift, "Drift."),
        ("GET", "/history", pages.history, "Runs."),
        ("GET", "/history/{run:int}", pages.run, "A run with its steps."),
        ("GET", "/card/{node}/{gpu}", pages.card, "The last day of a card."),
        ("GET", "/why/{what:path}", pages.why, "Why a resource is where it is."),
        ("GET", "/login", pages.login_form, "Exchanges a token for a cookie that reads."),
        ("POST", "/approve", pages.approve, "The form of /plan."),
        ("POST", "/login", pages.login, "The form of /login."),
    ):
        yield Operation(method, (path,), answer, said, None, media="text/html", page=True)


def _below_gpu(method: str, name: str, answer: Answer, said: str, shape: Schema, query: tuple[Parameter, ...] = ()) -> Iterator[Operation]:
    yield Operation(method, (f"/v1/gpu/{name}", f"/api/v1/gpu/{name}"), answer, said, shape, query)
