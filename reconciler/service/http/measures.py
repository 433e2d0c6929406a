"""What the history foretells of cards, which model is the best to ask, and how fast one is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from reconciler.fleet import EngineError, GpurecError, StateError
from reconciler.operations.bench import bench_seen
from reconciler.operations.forecasting import Judgements, forecast_cards
from reconciler.operations.proposal import Proposal
from reconciler.service.http.bodies import number_of
from reconciler.service.http.ranking import models_optimal
from reconciler.service.watch import Watch
from reconciler.views.bench_text import bench_document
from reconciler.views.forecast_text import forecast_document

MOST_HOURS, MOST_CONTEXT = 168, 10**9
LONGEST_NAME = 500


class Measures:
    """The handlers over one loop. What takes long is done once at a time, beside the event loop."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._foretelling, self._benching = asyncio.Lock(), asyncio.Lock()
        self._judgements = Judgements()
        self._foretold: tuple[Proposal, int, Mapping[str, object]] | None = None

    def _seen(self) -> Proposal:
        if self._watch.last is None:
            raise HTTPException(503, "the fleet was not looked at yet", {"Retry-After": "5"})
        return self._watch.last

    async def memory_forecast(self, request: Request) -> Response:
        """As `gpurec forecast`: 200 also where too little is known, and it says so. One look is foretold once."""
        hours, seen = number_of(request, "hours", 24, 1, MOST_HOURS), self._seen()
        async with self._foretelling:
            if self._foretold is None or self._foretold[:2] != (seen, hours):
                self._foretold = (seen, hours, await asyncio.to_thread(_foretold, seen, hours, self._judgements))
            return JSONResponse(self._foretold[2])

    async def models_optimal(self, request: Request) -> Response:
        """The models that may serve, the best first, with the reasons."""
        least = number_of(request, "min_context_tokens", 0, 0, MOST_CONTEXT)
        try:
            found = models_optimal(self._seen(), self._watch.records, request.query_params.get("agent_type"), least)
        except StateError:
            raise
        except GpurecError as error:
            raise HTTPException(404, error.problems[0].sentence()) from None
        return JSONResponse(found)

    async def benchmark_model(self, request: Request) -> Response:
        """As `gpurec bench`: a few tokens, one bench at a time."""
        model = request.query_params.get("model_name", "")
        if not 0 < len(model) <= LONGEST_NAME:
            raise HTTPException(400, "model_name is the name or the address of a model that is resident")
        if self._benching.locked():
            raise HTTPException(409, "another bench is on its way; only one is made at a time", {"Retry-After": "30"})
        async with self._benching:
            try:
                return JSONResponse(bench_document(await bench_seen(self._seen(), model)))
            except EngineError as error:
                raise HTTPException(502, error.problems[0].sentence()) from None
            except GpurecError as error:
                raise HTTPException(404, error.problems[0].sentence()) from None


def _foretold(seen: Proposal, hours: int, known: Judgements) -> Mapping[str, object]:
    found = forecast_cards(seen.state, seen.workspace.desired.policy.memory_pressure, hours, known)
    rows = [(one.card, one.at, one.total_bytes, one.levels, one.forecast) for one in found]
    return forecast_document(seen.workspace.name, hours, rows)
