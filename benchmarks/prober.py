"""One turn of probing in a process of its own.

`prober.py ours|aiohttp PORT ENDPOINTS TIMEOUT` prints wall and CPU seconds, the largest memory in bytes, and how many were not reached.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time

from server import address

PATHS = ("/api/version", "/api/tags", "/api/ps")


async def bare(port: int, endpoints: int) -> tuple[float, int]:
    """What aiohttp alone needs for the same requests."""
    import aiohttp

    start = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=128)) as session:

        async def ask(host: str) -> None:
            for path in PATHS:
                async with session.get(f"http://{host}:{port}{path}") as answer:
                    await answer.json()

        await asyncio.gather(*(ask(address(number)) for number in range(endpoints)))
    return time.perf_counter() - start, 0


async def ours(port: int, endpoints: int, patience: float) -> tuple[float, int]:
    """What probing the same engines as a fleet needs, and how many were not reached."""
    from reconciler.cli.running import uncollected
    from reconciler.engines import Transport
    from reconciler.fleet import EngineId, EngineKind, EngineSpec, Fleet, NodeSpec
    from reconciler.probes import probe_fleet

    nodes = {}
    for number in range(endpoints):
        name = f"node{number:05d}"
        spec = EngineSpec(EngineId(name, "ollama"), EngineKind.OLLAMA, f"http://{address(number)}:{port}", timeout=patience)
        nodes[name] = NodeSpec(name, address(number), (spec,), ())
    start = time.perf_counter()
    with uncollected():  # as every command probes
        async with Transport() as transport:
            facts = await probe_fleet(Fleet("bench", nodes), {}, transport=transport, at="2026-01-01T00:00:00Z")
    seconds = time.perf_counter() - start
    return seconds, sum(not node.engines["ollama"].reachable for node in facts.nodes.values())


def main(who: str, port: int, endpoints: int, patience: float) -> None:
    """Prints one line of JSON."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    before = time.process_time()
    seconds, lost = asyncio.run(bare(port, endpoints) if who == "aiohttp" else ours(port, endpoints, patience))
    cpu = time.process_time() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "cpu": cpu, "memory": memory, "lost": lost}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
