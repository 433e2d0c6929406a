"""The cards of a fleet out of one Prometheus, beside asking each exporter: `python benchmarks scraping`.

Both are played by one process with the same samples; every turn is a process of its own. Run as a program it is one of them:
`scraping.py serve NODES`, or `scraping.py ask prometheus|dcgm PORT NODES`.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from urllib.parse import unquote

CARDS = 8
SIZES = (100, 1_000, 10_000)
EXPORTERS_UP_TO = 1_000
GOAL = 1.0
VALUES = {"FB_USED": 1000, "FB_FREE": 44437, "FB_RESERVED": 631, "GPU_TEMP": 51, "POWER_USAGE": 87.5, "GPU_UTIL": 40, "XID_ERRORS": 0}
AT = "2026-01-01T00:00:00Z"


@dataclass(frozen=True)
class Turn:
    """Wall and CPU seconds, the largest memory in bytes, and cards that were seen."""

    seconds: float
    cpu: float
    memory: int
    cards: int


def main() -> bool:
    """Prints both at every size. The bound is CPU: no more than asking the exporters of as many nodes takes."""
    print(f"Cards of nodes with {CARDS} each, out of one Prometheus and by their exporters")
    held = True
    for nodes in SIZES:
        turns = {way: turn(way, nodes) for way in ("prometheus", "dcgm") if way == "prometheus" or nodes <= EXPORTERS_UP_TO}
        for way, one in turns.items():
            assert one.cards == nodes * CARDS, (way, one.cards)
            print(f"  {nodes:6,} nodes by {way:10}: {one.seconds:6.2f} s, {one.cpu:6.2f} s of CPU, {one.memory / 2**20:4.0f} MiB")
        if "dcgm" in turns:
            ratio = turns["prometheus"].cpu / turns["dcgm"].cpu
            held &= ratio <= GOAL
            print(f"         {ratio:.2f} times the CPU (bound {GOAL})")
    return held


def turn(way: str, nodes: int) -> Turn:
    with subprocess.Popen(
        [sys.executable, __file__, "serve", str(nodes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        port = server.stdout.readline().split()[1]
        try:
            return Turn(**json.loads(subprocess.check_output([sys.executable, __file__, "ask", way, port, str(nodes)], text=True)))
        finally:
            server.stdin.close()


def labels(node: int, gpu: int) -> dict[str, str]:
    return {
        "instance": f"n{node}:9400",
        "gpu": str(gpu),
        "UUID": f"GPU-{node}-{gpu}",
        "modelName": "NVIDIA L40S",
        "Hostname": f"n{node}",
        "job": "gpus",
    }


def vector(nodes: int, query: str) -> bytes:
    """The answer of Prometheus to an instant query."""
    name = query.removeprefix("timestamp(").removesuffix(")").removeprefix("DCGM_FI_DEV_")
    now = time.time()
    value = str(now - 15) if query.startswith("timestamp(") else str(VALUES.get(name))
    found = (
        [{"metric": labels(node, gpu), "value": [now, value]} for node in range(nodes) for gpu in range(CARDS)] if name in VALUES else []
    )
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": found}}).encode()


def page(node: int) -> bytes:
    """What dcgm-exporter of one node says."""
    lines = []
    for name, value in VALUES.items():
        for gpu in range(CARDS):
            said = ",".join(f'{label}="{text}"' for label, text in labels(node, gpu).items())
            lines.append(f"DCGM_FI_DEV_{name}{{{said}}} {value}\n")
    return "".join(lines).encode()


async def serve(nodes: int) -> None:
    answers: dict[str, bytes] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            path = head.split(b" ", 2)[1].decode()
            if path not in answers:
                query = unquote(path.partition("query=")[2])
                answers[path] = vector(nodes, query) if query else page(int(path.rpartition("/")[2]))
            body = answers[path]
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()

    async def until_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(until_gone, "127.0.0.1", 0, backlog=1024)
    for name in VALUES:  # what a real one has in its index too, before it is asked
        for query in (f"DCGM_FI_DEV_{name}", f"timestamp(DCGM_FI_DEV_{name})"):
            answers[f"/api/v1/query?query={query.replace('(', '%28').replace(')', '%29')}"] = vector(nodes, query)
    print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def ask(way: str, port: int, nodes: int) -> Turn:
    from reconciler.cli.running import uncollected
    from reconciler.engines import Transport
    from reconciler.fleet import Fleet, NodeSpec, ProbeSpec
    from reconciler.probes import probe_fleet

    def probe(node: int) -> ProbeSpec:
        if way == "dcgm":
            return ProbeSpec(via="dcgm", url=f"http://127.0.0.1:{port}/metrics/{node}", timeout=120)
        return ProbeSpec(
            via="prometheus", url=f"http://127.0.0.1:{port}", match=(("instance", f"n{node}:9400"),), timeout=120, max_age=3600
        )

    fleet = Fleet("bench", {f"n{node}": NodeSpec(f"n{node}", "127.0.0.1", probe=probe(node)) for node in range(nodes)})
    start, cpu = time.perf_counter(), time.process_time()
    with uncollected():  # as every command probes
        async with Transport() as transport:
            facts = await probe_fleet(fleet, {}, transport=transport, at=AT)
    seen = sum(len(node.cards or ()) for node in facts.nodes.values())
    return Turn(time.perf_counter() - start, time.process_time() - cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, seen)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(int(sys.argv[2])))
    else:
        print(json.dumps(asdict(asyncio.run(ask(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))))
