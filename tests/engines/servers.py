"""Servers of a few lines that answer as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

Talk = Callable[[str, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PROMISED = {"/api/version": b'{"version":"0.34.0"}', "/api/tags": b'{"models":[]}', "/api/ps": b'{"models":[]}'}


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    head = "".join(f"{line}\r\n" for line in (f"Content-Length: {len(body)}", *headers))
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


class Server:
    """Answers each request as `talk` does; keeps what was asked."""

    def __init__(self, talk: Talk) -> None:
        self._talk, self.url = talk, ""
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next((int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0)
                await reader.readexactly(length)
                self.asked.append(" ".join(head.split(" ", 2)[:2]))
                await self._talk(head.split(" ", 2)[1], reader, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client had enough
        finally:
            writer.close()


@asynccontextmanager
async def serving(talk: Talk) -> AsyncIterator[Server]:
    server = Server(talk)
    running = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        running.close()


def always(*data: bytes) -> Talk:
    """The same bytes whatever is asked; then the connection stays open."""

    async def talk(_: str, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in data:
            writer.write(part)

    return talk


def by_path(pages: Mapping[str, bytes], otherwise: bytes = b"") -> Talk:
    """Whole answers by path, without the query; 404 where there is none."""

    async def talk(path: str, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(pages.get(path.partition("?")[0], otherwise or answer(b"{}", status="404 Not Found")))

    return talk
