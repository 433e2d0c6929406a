"""Agents that are allocated and released over HTTP: wanted beside those of the files from the next plan on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from reconciler.fleet import AllocatedAgent, GpurecError, LockHeld, StateError
from reconciler.operations import clock
from reconciler.operations.allocating import allocate, allocated, release
from reconciler.operations.settings import WorkspaceSettings
from reconciler.service.http.bodies import json_object, text_of
from reconciler.service.http.rate import Rate
from reconciler.service.http.shapes import is_plain
from reconciler.service.watch import Watch
from reconciler.workspace import NameTaken, UnknownType, Workspace

LOCK_PATIENCE = 10
"""Seconds after which to ask again while a run holds the state."""
_OPTIONAL = frozenset({"model", "config", "requires_gpu"})


class Agents:
    """The handlers over one loop."""

    def __init__(self, watch: Watch, settings: WorkspaceSettings) -> None:
        self._watch, self._settings = watch, settings
        self._rate = Rate("changes agents")

    async def every(self, request: Request) -> Response:
        found = await asyncio.to_thread(allocated, self._settings, self._files())
        return JSONResponse({"agents": [_document(one) for one in found]})

    async def allocate(self, request: Request) -> Response:
        """201 for a new one, 200 for one that is there just so."""
        agent = _agent(await json_object(request, {"name", "type"}, _OPTIONAL), request.scope["caller"].name)
        files = self._files()
        self._rate.count(agent.who)
        try:
            there = await asyncio.to_thread(allocate, self._settings, files, agent)
        except NameTaken as error:
            raise HTTPException(409, _sentence(error)) from None
        except UnknownType as error:
            raise HTTPException(404, _sentence(error)) from None
        except LockHeld as error:
            raise _held(error) from None
        except StateError:
            raise
        except GpurecError as error:
            raise HTTPException(400, _sentence(error)) from None
        self._watch.look_soon()
        return JSONResponse(_document(there or agent), 201 if there is None else 200)

    async def release(self, request: Request) -> Response:
        name, who = request.path_params["name"], request.scope["caller"].name
        files = self._files()
        self._rate.count(who)
        try:
            there = await asyncio.to_thread(release, self._settings, files, name, who)
        except LockHeld as error:
            raise _held(error) from None
        if not there:
            raise HTTPException(404, "no agent of that name was allocated; one of the files leaves with them")
        self._watch.look_soon()
        return JSONResponse({"id": name, "status": "released"})

    def _files(self) -> Workspace:
        if self._watch.workspace is None:
            raise HTTPException(503, "the files were not read yet", {"Retry-After": "5"})
        return self._watch.workspace


def _agent(found: Mapping[str, object], who: str) -> AllocatedAgent:
    sent = dict(found)
    config, gpu = sent.get("config"), sent.get("requires_gpu")
    if config is not None and not isinstance(config, dict):
        raise HTTPException(400, "config is an object")
    if gpu is not None and not isinstance(gpu, bool):
        raise HTTPException(400, "requires_gpu is true or false")
    model = None if sent.get("model") is None else _plain(sent, "model")
    text = None if config is None else json.dumps(config, sort_keys=True)
    return AllocatedAgent(text_of(sent, "name"), _plain(sent, "type"), model, text, gpu, who, clock.now())


def _plain(sent: dict[str, object], key: str) -> str:
    found = text_of(sent, key)
    if not is_plain(found):
        raise HTTPException(400, f"{key} has letters, digits and signs of ASCII")
    return found


def _document(one: AllocatedAgent) -> Mapping[str, object]:
    return {
        "id": one.name,
        "name": one.name,
        "type": one.type,
        "model": one.model,
        "config": None if one.config is None else json.loads(one.config),
        "requires_gpu": one.requires_gpu,
        "by": one.who,
        "at": one.at,
    }


def _held(error: LockHeld) -> HTTPException:
    return HTTPException(409, _sentence(error), {"Retry-After": str(LOCK_PATIENCE)})


def _sentence(error: GpurecError) -> str:
    return error.problems[0].sentence()
