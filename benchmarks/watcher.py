"""One process that watches a fleet of idle engines, for `watching.py`: its pauses take no time, and its clock goes on by the interval.

`watcher.py HOSTS PORT LOOKS INTERVAL` prints JSON: bytes of memory after the tenth look and after the last, its growth a day by least
squares over the looks after the first half, and CPU seconds of a look. `watcher.py --wire` prints how many bytes a node and look takes on
the wire beyond the bodies of the answers.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from server import ANSWERS, address

WARM = 10


def memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def workspace(root: Path, hosts: int, port: int) -> None:
    """A fleet whose engines answer at once and have nothing."""
    card = "gpus: [{index: 0, vram: 24GiB}]"
    lines = (
        f"    n{number}: {{probe: {{via: declared}}, {card}, engines: {{ollama: {{url: 'http://{address(number)}:{port}'}}}}}}"
        for number in range(hosts)
    )
    for folder in ("inventories", "desired", "state"):
        (root / folder).mkdir()
    (root / "inventories" / "lab.yaml").write_text("all:\n  hosts:\n" + "\n".join(lines) + "\n")
    (root / "desired" / "lab.yaml").write_text("version: 1\nmodels: {}\n")


async def watch(root: Path, looks: int, interval: float, after: list[tuple[int, float]]) -> None:
    from reconciler.operations import clock
    from reconciler.operations.settings import WorkspaceSettings
    from reconciler.service.watch import Signals, Watch, WatchOptions

    signals, begun, past = Signals(), clock.moment(), 0.0
    clock.moment = lambda: begun + timedelta(seconds=past)
    clock.now = lambda: clock.moment().strftime("%Y-%m-%dT%H:%M:%SZ")

    async def pause(_: float) -> None:
        nonlocal past
        past += interval
        after.append((memory(), time.process_time()))
        if len(after) >= looks:
            signals.request_stop()

    await Watch(WorkspaceSettings(root), WatchOptions(interval), lambda event: None, signals, pause=pause).run()


class Counted(asyncio.Protocol):
    """An engine that counts what is on the wire."""

    beyond = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.left = transport, b""

    def data_received(self, data: bytes) -> None:
        Counted.beyond += len(data)
        self.left += data
        while (end := self.left.find(b"\r\n\r\n")) >= 0:
            head, self.left = self.left[:end], self.left[end + 4 :]
            body = ANSWERS.get(head.split(b" ", 2)[1], b"{}")
            answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            Counted.beyond += len(answer)
            self.transport.write(answer + body)


async def wire(root: Path) -> dict[str, float]:
    servers = [await asyncio.get_running_loop().create_server(Counted, address(0), 0)]
    port = servers[0].sockets[0].getsockname()[1]
    servers += [await asyncio.get_running_loop().create_server(Counted, address(number), port) for number in (1, 2)]
    workspace(root, 3, port)
    looks = 20
    await watch(root, looks, 300.0, [])
    return {"wire_bytes": Counted.beyond / looks / 3}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if sys.argv[1] == "--wire":
            print(json.dumps(asyncio.run(wire(root))))
            return
        hosts, port, looks, interval = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
        workspace(root, hosts, port)
        after: list[tuple[int, float]] = []
        asyncio.run(watch(root, looks, interval, after))
    half = [(place * interval / 86400, held) for place, (held, _) in enumerate(after)][len(after) // 2 :]
    days, bytes_ = [one for one, _ in half], [two for _, two in half]
    mean_d, mean_b = sum(days) / len(days), sum(bytes_) / len(bytes_)
    spread = sum((day - mean_d) ** 2 for day in days)
    slope = sum((day - mean_d) * (held - mean_b) for day, held in half) / spread if spread else 0.0
    first = min(WARM, len(after)) - 1
    cpu = (after[-1][1] - after[first][1]) / max(1, len(after) - 1 - first)
    print(json.dumps({"memory": after[first][0], "last": after[-1][0], "slope": slope, "cpu": cpu}))


if __name__ == "__main__":
    main()
