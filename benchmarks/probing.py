"""Probing a thousand endpoints, three requests each, ours against bare aiohttp in the same run and against the same servers."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server import address

from reconciler.engines import Transport
from reconciler.fleet import EngineId, EngineKind, EngineSpec, Fleet, NodeSpec
from reconciler.probes import probe_fleet

ENDPOINTS = 1000
PATHS = ("/api/version", "/api/tags", "/api/ps")
GOAL = 3.5


@contextmanager
def engines(count: int) -> Iterator[int]:
    """Serves `count` engines in a process of its own; gives their port."""
    command = [sys.executable, str(Path(__file__).parent / "server.py"), str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield int(process.stdout.readline().split()[1])
        process.stdin.close()


async def bare(port: int) -> float:
    """Seconds that aiohttp alone needs."""
    import aiohttp

    start = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=512)) as session:

        async def ask(host: str) -> None:
            for path in PATHS:
                async with session.get(f"http://{host}:{port}{path}") as answer:
                    await answer.json()

        await asyncio.gather(*(ask(address(number)) for number in range(ENDPOINTS)))
    return time.perf_counter() - start


async def ours(port: int) -> float:
    """Seconds that probing the same engines as a fleet needs."""
    nodes = {}
    for number in range(ENDPOINTS):
        name = f"node{number:05d}"
        at = EngineId(name, "ollama")
        spec = EngineSpec(at, EngineKind.OLLAMA, f"http://{address(number)}:{port}", timeout=60.0)
        nodes[name] = NodeSpec(name, address(number), (spec,), ())
    start = time.perf_counter()
    async with Transport() as transport:
        facts = await probe_fleet(Fleet("bench", nodes), {}, transport=transport, at="2026-01-01T00:00:00Z")
    seconds = time.perf_counter() - start
    lost = [node.engines["ollama"].reason for node in facts.nodes.values() if not node.engines["ollama"].reachable]
    if lost:
        raise SystemExit(f"{len(lost)} of {ENDPOINTS} endpoints were not reached: {lost[0]}")
    return seconds


def main() -> bool:
    """Prints the ratio of medians over three turns each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    with engines(ENDPOINTS) as port:
        turns = [(asyncio.run(ours(port)), asyncio.run(bare(port))) for _ in range(3)]
    mine, theirs = sorted(a for a, _ in turns)[1], sorted(b for _, b in turns)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    print(
        f"\nprobing {ENDPOINTS} endpoints, 3 requests each: {mine:.2f} s, "
        f"bare aiohttp {theirs:.2f} s: ratio {mine / theirs:.2f} (goal {GOAL})"
    )
    return mine / theirs <= GOAL
