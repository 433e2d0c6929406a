"""The handlers of the pages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from reconciler.fleet import Frame, GpurecError, GuardRefused, LockHeld, Role, StalePlan, StateError
from reconciler.operations.past import read_past
from reconciler.operations.proposal import Proposal
from reconciler.service.conditions import Conditions
from reconciler.service.http import answers
from reconciler.service.http.bodies import raw_body
from reconciler.service.http.pages.card import DAY, card_body
from reconciler.service.http.pages.fleet import conditions_section, fleet_body
from reconciler.service.http.pages.frame import framed, message
from reconciler.service.http.pages.login import login_page
from reconciler.service.http.pages.plan import drift_body, plan_body
from reconciler.service.http.pages.runs import run_body, runs_body
from reconciler.service.http.pages.why import why_body
from reconciler.service.watch import Watch
from reconciler.state import JournalRow, RunRecord
from reconciler.views.html.elements import Content, tag

MOST_WORDS, MOST_PAGES, MOST_DIGITS = 200, 10_000, 9
RUNS = 50
Approve = Callable[[str, str], Awaitable[None]]


class Pages:
    """Over one loop. `approve` carries out the plan of a digest for somebody of that name, and returns once it has begun."""

    def __init__(self, watch: Watch, approve: Approve) -> None:
        self._watch, self._approve = watch, approve
        self._shown: tuple[Proposal, Conditions, Response] | None = None

    async def fleet(self, request: Request) -> Response:
        seen = self._watch.last
        if seen is None:
            unseen = [tag("h1", "gpurec"), tag("p", "The fleet was not looked at yet."), conditions_section(self._watch.holding)]
            return framed("not looked at yet", "/", *unseen, live=True)
        holding, plain = self._watch.holding, not request.scope["query_string"]
        if plain and self._shown is not None and self._shown[0] is seen and self._shown[1] is holding:
            return self._shown[2]  # of one look, however many read it
        words = request.query_params.get("q", "")[:MOST_WORDS]
        asked = request.query_params.get("page", "1")
        number = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < MOST_DIGITS else 1
        body = await asyncio.to_thread(fleet_body, seen, holding, words, max(1, min(number, MOST_PAGES)))
        shown = framed(f"fleet {seen.plan.fleet}", "/", body, live=True)
        if plain:
            self._shown = seen, holding, shown
        return shown

    async def plan(self, request: Request) -> Response:
        return await self._of_last("plan", "/plan", plan_body)

    async def drift(self, request: Request) -> Response:
        return await self._of_last("drift", "/drift", drift_body)

    async def history(self, request: Request) -> Response:
        return await self._of_last("history", "/history", lambda seen: runs_body(answers.runs(seen, RUNS)))

    async def run(self, request: Request) -> Response:
        number, seen = request.path_params["run"], self._seen()
        run, journal = await asyncio.to_thread(_run, seen, number) if number < 10**MOST_DIGITS else (None, ())
        if run is None:
            return message("No such run", f"There was no run {number}.", "/history", 404)
        return framed(f"run {number}", "/history", run_body(run, journal), live=run.result == "running")

    async def card(self, request: Request) -> Response:
        name, seen = f"{request.path_params['node']}/{request.path_params['gpu']}", self._seen()
        if name not in {f"{one.node}/{one.gpu}" for one in seen.plan.gpus}:
            return message("No such card", f"No node has the card {name}.", "/", 404)
        try:
            frames: Sequence[Frame] = (await asyncio.to_thread(read_past, seen.state, DAY, card=name)).frames
        except StateError:
            raise
        except GpurecError:  # nothing was kept of it
            frames = ()
        return framed(f"card {name}", "/", card_body(seen, name, frames))

    async def why(self, request: Request) -> Response:
        try:
            text = await asyncio.to_thread(answers.explanation, self._seen(), request.path_params["what"])
        except StateError:
            raise
        except GpurecError as error:
            return message("Not known", error.problems[0].sentence(), "/", 404)
        return framed("why", "/", why_body(text))

    async def approve(self, request: Request) -> Response:
        """The token comes in the body: nothing that a browser sends by itself counts, so no other page can have anything done."""
        form = await _form(request)
        caller = request.scope["judge"](form.get("token", ""), Role.APPLY)
        if isinstance(caller, tuple):
            return message("Not approved", caller[1], "/plan", caller[0])
        try:
            await self._approve(form.get("digest", ""), caller.name)
        except (StalePlan, LockHeld) as error:
            return message("Not carried out", error.problems[0].sentence(), "/plan", 409)
        except GuardRefused as error:
            return message("Not carried out", error.problems[0].sentence(), "/plan", 403)
        return RedirectResponse("/history", 303)

    async def login(self, request: Request) -> Response:
        form = await _form(request)
        caller = request.scope["judge"](form.get("token", ""), Role.READ)
        if isinstance(caller, tuple):
            return login_page(*caller)
        answer = RedirectResponse("/", 303)
        answer.headers["Set-Cookie"] = request.scope["session"](form["token"])
        return answer

    async def login_form(self, request: Request) -> Response:
        return login_page(200)

    def _seen(self) -> Proposal:
        if self._watch.last is None:
            raise HTTPException(503, "the fleet was not looked at yet", {"Retry-After": "5"})
        return self._watch.last

    async def _of_last(self, title: str, at: str, body: Callable[[Proposal], Content]) -> Response:
        seen = self._seen()
        return framed(title, at, await asyncio.to_thread(body, seen), live=True)


def _run(seen: Proposal, number: int) -> tuple[RunRecord | None, Sequence[JournalRow]]:
    with closing(seen.state.reader()) as state:
        run = state.run(number)
        return run, state.journal(number) if run is not None else ()


async def _form(request: Request) -> dict[str, str]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise HTTPException(415, "this is the form of a page")
    try:
        found = parse_qs((await raw_body(request)).decode("ascii"), max_num_fields=10, strict_parsing=False)
    except ValueError:
        raise HTTPException(400, "this is no form") from None
    return {key: values[0] for key, values in found.items()}
