"""Looking at many Docker Engines: 100 daemons with 50 containers each, against the same requests by bare httpx in the same process."""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import httpx

from reconciler.containers import open_container_host
from reconciler.fleet import ContainerSpec, DockerSpec, NodeSpec, looked_for
from reconciler.sim.clock import Clock
from reconciler.sim.docker import DockerDaemon, Image, Library

DAEMONS, CONTAINERS = 100, 50
BOUND = 3.0
"""Times the CPU of the bare requests and their JSON."""


def specs(number: int) -> tuple[ContainerSpec, ...]:
    env = {f"NAME_{one}": "value" for one in range(10)}
    return tuple(
        ContainerSpec(f"gpurec-{one}", "local/engine:1", "bench", f"engine.e{one}@node{number}", env=env, networks=("none",))
        for one in range(CONTAINERS)
    )


def serve(folder: str, ready: Connection) -> None:
    """The daemons, in a process of their own until it is ended."""

    async def run() -> None:
        for number in range(DAEMONS):
            DockerDaemon(Library([Image("local/engine:1", ("sleep", "100000"))]), Clock(1.0)).open(f"{folder}/{number}")
        ready.send(True)
        await asyncio.Event().wait()

    asyncio.run(run())


async def made(folder: Path) -> None:
    for number in range(DAEMONS):
        host = open_container_host(NodeSpec(f"node{number}", "127.0.0.1"), DockerSpec(f"unix://{folder}/{number}"))
        for spec in specs(number):
            await host.start(await host.create(spec))
        await host.aclose()


async def observed(folder: Path) -> None:
    async def one(number: int) -> None:
        host = open_container_host(NodeSpec(f"node{number}", "127.0.0.1"), DockerSpec(f"unix://{folder}/{number}"))
        found = await host.observe(looked_for("bench", specs(number)))
        assert len(found.containers or ()) == CONTAINERS, found.reason
        await host.aclose()

    await asyncio.gather(*map(one, range(DAEMONS)))


async def asked_bare(folder: Path) -> None:
    at_work = asyncio.Semaphore(32)

    async def one(number: int) -> None:
        transport = httpx.AsyncHTTPTransport(uds=f"{folder}/{number}")
        async with httpx.AsyncClient(transport=transport, base_url="http://docker", timeout=60) as client:
            for path in ("/version", "/info"):
                (await client.get(path)).json()
            listed = (await client.get("/containers/json", params={"all": "true"})).json()
            (await client.get("/images/local/engine:1/json")).json()
            slots = asyncio.Semaphore(4)

            async def inspect(key: str) -> None:
                async with slots, at_work:
                    (await client.get(f"/containers/{key}/json")).json()

            await asyncio.gather(*(inspect(entry["Id"]) for entry in listed))

    await asyncio.gather(*map(one, range(DAEMONS)))


def main() -> bool:
    with tempfile.TemporaryDirectory(prefix="gb-", dir="/tmp") as name:
        folder = Path(name)
        mine, theirs = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(name, theirs), daemon=True)
        server.start()
        mine.recv()
        try:
            asyncio.run(made(folder))
            best: dict[str, tuple[float, float]] = {}
            for _ in range(3):
                for what, run in (("observe", observed), ("bare", asked_bare)):
                    wall, cpu = time.perf_counter(), time.process_time()
                    asyncio.run(run(folder))
                    took = (time.perf_counter() - wall, time.process_time() - cpu)
                    best[what] = min(best.get(what, took), took, key=lambda pair: pair[1])
        finally:
            server.terminate()
            server.join()
    (wall, cpu), (bare_wall, bare_cpu) = best["observe"], best["bare"]
    print(f"daemons: {DAEMONS} with {CONTAINERS} containers each, observed in {wall:.2f} s, {cpu:.2f} s of CPU")
    print(
        f"daemons: the same requests by bare httpx {bare_wall:.2f} s, {bare_cpu:.2f} s of CPU: {cpu / bare_cpu:.2f} times (bound {BOUND})"
    )
    return cpu <= BOUND * bare_cpu
