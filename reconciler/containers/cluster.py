"""The API server of a cluster, as what runs containers asks it: lists page by page, documents applied by the server, each bounded.

Kubernetes API concepts: "Retrieving large results sets in chunks", "Server-Side Apply", "Server-side field validation". Errors are `Status`
documents with a `message`.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Collection, Mapping
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import httpx
from pydantic import TypeAdapter

from reconciler.containers.protocol import ContainerError
from reconciler.containers.wire import LARGE, SMALL, DaemonAnswer, Wire, failed
from reconciler.engines.keys import Keys
from reconciler.fleet import ClusterSpec, GpurecError
from reconciler.kubernetes import ClusterAccess, access_of

LOOK, ACT = 10.0, 60.0
"""Seconds that a question, and a change, may take."""
PAGE, MOST_PAGES = 500, 200
_AT_ONCE = 8
"""Requests that are under way to one API server; what waits for its turn does not use up its time."""
_BUSY = frozenset({429, 500, 502, 503, 504})
_PAUSES = (0.3, 1.0, 2.0)
"""Seconds before each further try where the API server is busy or has no leader just then: every request of ours may be sent twice."""
_APPLY = "application/apply-patch+yaml"
_LIMITS = httpx.Limits(max_connections=_AT_ONCE, max_keepalive_connections=4, keepalive_expiry=2.0)
_MAY = "docs/kubernetes.md has the Role that it needs"
Read = TypeVar("Read")
Query = Mapping[str, str]


class Cluster:
    """One API server. `keys` learns the token that is sent, and every secret; nodes of one cluster share one."""

    def __init__(self, spec: ClusterSpec, keys: Keys, environ: Mapping[str, str] = os.environ) -> None:
        self.spec = spec
        self.keys = keys
        self._environ = environ
        self._opening = asyncio.Lock()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._wire: Wire | None = None
        self._access: ClusterAccess | None = None
        self._retired: list[Wire] = []
        self._unknown = False
        self.users = 0

    async def namespace(self) -> str:
        """The one that was declared, else that of the context."""
        await self._opened()
        assert self._access is not None
        return self.spec.namespace if self.spec.namespace is not None else self._access.namespace

    async def get(self, path: str, query: Query | None = None, *, limit: int = SMALL, raw: bool = False) -> DaemonAnswer | None:
        """A document, or what a subresource says; None where there is none. `raw`: with the secrets in it, for who compares them."""
        answer = await self._ask("GET", path, LOOK, query, limit=limit, raw=raw)
        if answer.status == 404:
            return None
        return self._accepted(answer, (200,))

    async def list(self, path: str, query: Query, adapter: TypeAdapter[Read], *, raw: bool = False) -> Read:
        """All items that a selector finds, page by page. A list that grew too old on the way is begun anew, once."""
        for last in (False, True):
            items: list[Any] = []
            more = ""
            for _ in range(MOST_PAGES):
                page = {**query, "limit": str(PAGE)} | ({"continue": more} if more else {})
                answer = await self._ask("GET", path, LOOK, page, limit=LARGE, raw=raw)
                if answer.status == 410 and not last:
                    break
                document = _document(self._accepted(answer, (200,)))
                items += document["items"] if isinstance(document.get("items"), list) else []
                meta = document.get("metadata")
                more = str(meta.get("continue") or "") if isinstance(meta, dict) else ""
                if not more:
                    return DaemonAnswer(200, json.dumps(items).encode(), answer.shown).read(adapter)
        raise failed("too_large", self._shown, f"gave over {MOST_PAGES} pages of {path}")

    async def apply(self, path: str, body: Mapping[str, Any], manager: str, *, force: bool = False) -> DaemonAnswer:
        """Applies a document under a field manager's name; what it does not know is refused, and so, without `force`, is a field that
        somebody else has set otherwise. Raises ContainerError `conflict`, `daemon_error`, `refused`."""
        query = {"fieldManager": manager, "fieldValidation": "Strict"} | ({"force": "true"} if force else {})
        return self._accepted(await self._ask("PATCH", path, ACT, query, body=body, kind=_APPLY), (200, 201))

    async def delete(self, path: str, uid: str, grace: float | None = None) -> None:
        """Removes an object with what belongs to it. One that is gone, or is another by now, is as asked. `grace` are the seconds that a
        pod is given to end, at least one: with none the API server forgets it while it runs."""
        options: dict[str, Any] = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        if grace is not None:
            options["gracePeriodSeconds"] = max(1, math.ceil(grace))
        answer = await self._ask("DELETE", path, ACT, None, body=options)
        if answer.status not in (404, 409):
            self._accepted(answer, (200, 202))

    async def aclose(self) -> None:
        """One user less; the last one ends the connections."""
        self.users -= 1
        if self.users <= 0:
            ended, self._wire, self._retired = [self._wire, *self._retired], None, []
            for wire in ended:
                if wire is not None:
                    await wire.aclose()

    @property
    def _shown(self) -> str:
        return str(self.spec)

    async def _ask(
        self,
        method: str,
        path: str,
        within: float,
        query: Query | None,
        *,
        body: object = None,
        kind: str = "application/json",
        limit: int = SMALL,
        raw: bool = False,
    ) -> DaemonAnswer:
        headers = {"Content-Type": kind} if body is not None else {}
        pauses, renewed = iter(_PAUSES), False
        while True:
            wire = await self._opened()
            async with self._turns:
                answer = await wire.ask_any(method, path, within=within, params=query, body=body, headers=headers, limit=limit, raw=raw)
            if answer.status == 401 and not renewed and not self._unknown:
                renewed = True
                await self._retire(wire)
                continue
            self._unknown = answer.status == 401
            if answer.status not in _BUSY or (pause := next(pauses, None)) is None:
                return answer
            await asyncio.sleep(pause)

    async def _retire(self, wire: Wire) -> None:
        """Credentials that were taken a while ago may have run out since (a program's last minutes): the next request takes them anew."""
        async with self._opening:
            if self._wire is wire:
                self._retired.append(wire)
                self._wire = None

    async def _opened(self) -> Wire:
        async with self._opening:
            if self._wire is None:
                try:
                    access = await access_of(self.spec.context, self._environ)
                except GpurecError as error:
                    raise ContainerError(error.problems[0], "kubernetes") from None
                headers = {"Authorization": f"Bearer {access.token}"} if access.token is not None else {}
                self.keys.add(access.token or "")
                verify = access.context if access.context is not None else False  # an http:// URL: nothing to verify
                client = httpx.AsyncClient(
                    transport=httpx.AsyncHTTPTransport(verify=verify, limits=_LIMITS, trust_env=False),
                    base_url=access.server,
                    headers=headers,
                    trust_env=False,
                )
                hint = "kubectl get nodes with the same context says more"
                self._wire, self._access = Wire(client, f"{self._shown} ({access.server})", self.keys, hint), access
            return self._wire

    def _accepted(self, answer: DaemonAnswer, statuses: Collection[int]) -> DaemonAnswer:
        if answer.status in statuses:
            return answer
        said = answer.message
        if answer.status == 401:
            raise failed("refused", answer.shown, f"does not know us: {said}", "the credential of this context is not, or no longer, valid")
        if answer.status == 403:
            raise failed("refused", answer.shown, f"refused: {said}", _MAY)
        if answer.status == 409:
            what = f"somebody else has set what we would set otherwise: {said}"
            raise failed("conflict", answer.shown, what, "kubectl get NAME -o yaml --show-managed-fields shows whose it is")
        if answer.status == 404 and "namespaces" in said:
            raise failed("no_namespace", answer.shown, said, "make it: kubectl create namespace NAME")
        raise failed("daemon_error", answer.shown, f"answered {answer.status}: {said}")


def _document(answer: DaemonAnswer) -> Mapping[str, Any]:
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise failed("not_its_protocol", answer.shown, "answers, and is no Kubernetes API server", "check `server` in the kubeconfig")
    return document


_SHARED: WeakValueDictionary[tuple[int, ClusterSpec], Cluster] = WeakValueDictionary()


def shared_cluster(spec: ClusterSpec) -> Cluster:
    """The cluster that all nodes of one event loop share, so that its credentials are asked for once."""
    key = (id(asyncio.get_running_loop()), spec)
    found = _SHARED.get(key)
    if found is None or found.users <= 0:
        found = _SHARED[key] = Cluster(spec, Keys())
    found.users += 1
    return found
