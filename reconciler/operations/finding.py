"""Find: which engines listen on the usual ports of some hosts. Asks for a version and a list of names, loads nothing, sends no key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx

from reconciler.fleet import MIB, EngineKind
from reconciler.value_class import value_class

PORTS = (11434, 8080, 8000)
"""Where Ollama, llama.cpp or llama-swap, and vLLM listen when nobody says otherwise."""
_OWNERS = {
    "library": EngineKind.OLLAMA,
    "llamacpp": EngineKind.LLAMACPP,
    "llama-swap": EngineKind.LLAMASWAP,
    "vllm": EngineKind.VLLM,
}
_SECONDS = 2.0
_AT_ONCE = 64
"""Ports that are asked at a time: below what httpx connects at once, so that none waits for its turn past its own two seconds."""


@value_class
class FoundEngine:
    """An engine that answered at `host`:`port` over plain http."""

    host: str
    port: int
    kind: EngineKind

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


async def find_engines(hosts: Sequence[str], ports: Sequence[int] = PORTS) -> tuple[FoundEngine, ...]:
    """The engines on these ports, in order; what does not answer within two seconds a question, or as no engine does, is none."""
    turns = asyncio.Semaphore(_AT_ONCE)
    async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False, headers={"User-Agent": "gpurec"}) as client:

        async def find(host: str, port: int) -> FoundEngine | None:
            async with turns:
                return await _find(client, host, port)

        found = await asyncio.gather(*(find(host, port) for host in hosts for port in ports))
    return tuple(one for one in found if one is not None)


async def _find(client: httpx.AsyncClient, host: str, port: int) -> FoundEngine | None:
    where = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    version = await _json(client, f"{where}/api/version")
    if isinstance(version, dict) and isinstance(version.get("version"), str):
        return FoundEngine(host, port, EngineKind.OLLAMA)
    listed = await _json(client, f"{where}/v1/models")
    rows = listed.get("data") if isinstance(listed, dict) else None
    owners = {row.get("owned_by") for row in rows if isinstance(row, dict)} if isinstance(rows, list) else set()
    kind = next((kind for owner, kind in _OWNERS.items() if owner in owners), None)
    return FoundEngine(host, port, kind) if kind is not None else None


async def _json(client: httpx.AsyncClient, url: str) -> Any:
    try:
        async with client.stream("GET", url) as answer:
            if answer.status_code != 200:
                return None
            content = bytearray()
            async for piece in answer.aiter_bytes():
                content += piece
                if len(content) > MIB:
                    return None
        import json

        return json.loads(content)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RecursionError):
        return None
