"""One card in software, listening on loopback, or at ADDRESS: `proxy.py PORT BYTES LEDGER RPC_SERVER SHIM [ADDRESS]`.

ggml-rpc-server serves one client at a time, so a second resident model would wait for ever. Here each connection gets a server of its own,
and card.c, preloaded into all of them, makes them share one card: LEDGER is its folder of who holds how many bytes. What the servers say
goes to stderr. Standard library only: it runs under whatever Python the tests run under.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "127.0.0.1"
CHUNK = 1 << 20
START_SECONDS = 20.0


@dataclass(frozen=True)
class Card:
    """What every server of the card is started with."""

    size: int
    ledger: Path
    rpc_server: Path
    shim: Path

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"SOFTGPU_BYTES": str(self.size), "SOFTGPU_DIR": str(self.ledger), "LD_PRELOAD": str(self.shim)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def rpc_server(card: Card) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a fresh ggml-rpc-server; the server is killed, and so its memory given back, when the block ends."""
    port = free_port()
    child = await asyncio.create_subprocess_exec(
        str(card.rpc_server), "-H", LOOPBACK, "-p", str(port), env=card.environment, stdin=asyncio.subprocess.DEVNULL, stdout=sys.stderr
    )
    try:
        async with asyncio.timeout(START_SECONDS):
            reader, writer = await connect(port, child)
        try:
            yield reader, writer
        finally:
            writer.close()
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        with suppress(FileNotFoundError):
            (card.ledger / str(child.pid)).unlink()


async def connect(port: int, child: asyncio.subprocess.Process) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connects as soon as the server listens; ConnectionError when it died instead."""
    while child.returncode is None:
        try:
            return await asyncio.open_connection(LOOPBACK, port, limit=CHUNK)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
    raise ConnectionError(f"ggml-rpc-server ended with {child.returncode} before it listened on port {port}")


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copies until the source ends or either side breaks off."""
    with suppress(ConnectionError):
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()


async def serve(card: Card, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One client, until it or its server goes."""
    try:
        async with rpc_server(card) as (from_server, to_server):
            ways = {asyncio.create_task(pump(reader, to_server)), asyncio.create_task(pump(from_server, writer))}
            _, left = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in left:
                way.cancel()
    except (ConnectionError, TimeoutError) as error:
        print(f"softgpu: {error}", file=sys.stderr, flush=True)
    finally:
        writer.close()


async def main(port: int, card: Card, address: str = LOOPBACK) -> None:
    """Lends the card until SIGTERM."""
    card.ledger.mkdir(parents=True, exist_ok=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    clients: set[asyncio.Task[None]] = set()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        clients.add(task)
        try:
            await serve(card, reader, writer)
        finally:
            clients.discard(task)

    server = await asyncio.start_server(client, address, port, limit=CHUNK)
    await stop.wait()
    server.close()
    for task in clients:
        task.cancel()
    await asyncio.gather(*clients, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Card(int(sys.argv[2]), *(Path(argument).resolve() for argument in sys.argv[3:6])), *sys.argv[6:]))
