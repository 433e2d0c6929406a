"""Thousands of idle engines in one process: the least that answers an Ollama probe, on one port of many loopback addresses.

`server.py COUNT [DEAD]` prints `ready PORT` and serves until its standard input ends; every DEAD-th takes connections and never answers.
Addresses are 127.1.0.1, 127.1.0.2 and so on.
"""

from __future__ import annotations

import asyncio
import resource
import sys

ANSWERS = {
    b"/api/version": b'{"version":"0.34.0"}',
    b"/api/tags": b'{"models":[]}',
    b"/api/ps": b'{"models":[]}',
}


def address(number: int) -> str:
    """The address of the n-th engine, counted from 0."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


class Engine(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.left = transport, b""

    def data_received(self, data: bytes) -> None:
        self.left += data
        while (end := self.left.find(b"\r\n\r\n")) >= 0:
            head, self.left = self.left[:end], self.left[end + 4 :]
            body = ANSWERS.get(head.split(b" ", 2)[1], b"{}")
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


class Dead(asyncio.Protocol):
    """Hears everything and says nothing."""


async def serve(count: int, dead_every: int = 0) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = asyncio.get_running_loop()
    first = await loop.create_server(Engine, address(0), 0, backlog=256)
    port = first.sockets[0].getsockname()[1]
    for number in range(1, count):
        dead = dead_every and number % dead_every == dead_every - 1
        await loop.create_server(Dead if dead else Engine, address(number), port, backlog=256)
    print(f"ready {port}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(*(int(argument) for argument in sys.argv[1:])))
