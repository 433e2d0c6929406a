"""Lists of an API server, page by page. Source: kubernetes.io, "Kubernetes API Concepts", "Retrieving large results sets in chunks"."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import httpx

from reconciler.fleet import MIB, GpurecError
from reconciler.kubernetes.access import ClusterAccess
from reconciler.kubernetes.errors import KubernetesError

PAGE = 500
MOST_PAGES = 200
MOST_BYTES = 256 * MIB
_SECONDS = httpx.Timeout(30.0, connect=5.0)
_SAID = 300


async def list_nodes(access: ClusterAccess) -> Sequence[Mapping[str, Any]]:
    """Every node of the cluster, as the API server has it. Raises KubernetesError."""
    return await _list(access, "/api/v1/nodes")


async def _list(access: ClusterAccess, path: str) -> Sequence[Mapping[str, Any]]:
    headers = {"Accept": "application/json", "User-Agent": "gpurec"}
    if access.token is not None:
        headers["Authorization"] = f"Bearer {access.token}"
    found: list[Mapping[str, Any]] = []
    async with httpx.AsyncClient(
        verify=access.context if access.context is not None else True, timeout=_SECONDS, trust_env=False, headers=headers
    ) as http:
        more = ""
        for _ in range(MOST_PAGES):
            page = await _get(http, access, path, {"limit": str(PAGE)} | ({"continue": more} if more else {}))
            items, meta = page.get("items"), page.get("metadata")
            if not isinstance(items, list) or not all(isinstance(one, dict) for one in items):
                raise _strange(access)
            found += items
            more = str(meta.get("continue") or "") if isinstance(meta, dict) else ""
            if not more:
                return found
    raise KubernetesError.of(f"the API server gave over {MOST_PAGES} pages of {path}", access.where, "is this a cluster?")


async def _get(http: httpx.AsyncClient, access: ClusterAccess, path: str, query: Mapping[str, str]) -> Mapping[str, Any]:
    try:
        async with http.stream("GET", access.server + path, params=dict(query)) as answer:
            content = bytearray()
            async for piece in answer.aiter_bytes():
                content += piece
                if len(content) > MOST_BYTES:
                    raise KubernetesError.of(f"the API server answered more than {MOST_BYTES // MIB} MiB", access.where)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:  # OSError: TLS that ends after its handshake
        what = f"the API server cannot be asked: {str(error)[:_SAID] or type(error).__name__}"
        raise KubernetesError.of(what, access.where, "kubectl get nodes with the same context says more") from None
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if answer.status_code != 200:
        raise _refused(answer.status_code, document, access)
    if not isinstance(document, dict):
        raise _strange(access)
    return cast("Mapping[str, Any]", document)


def _refused(status: int, document: object, access: ClusterAccess) -> GpurecError:
    """A Status of the API server says in words what it refuses."""
    said = str(document.get("message") or "") if isinstance(document, dict) else ""
    hint = {
        401: "the credential of this context is not, or no longer, valid",
        403: "this user needs a ClusterRole that may list nodes (`verbs: [list]`, `resources: [nodes]`)",
        410: "the list was too old to go on; run again",
    }.get(status, "kubectl get nodes with the same context says more")
    words = " ".join(said.split())[:_SAID]
    return KubernetesError.of(f"the API server answered {status}" + (f": {words}" if words else ""), access.where, hint)


def _strange(access: ClusterAccess) -> GpurecError:
    return KubernetesError.of(
        "this answers, and is no Kubernetes API server", access.where, "check `server` of the cluster in the kubeconfig"
    )
