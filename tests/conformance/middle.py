"""A proxy between adapter and server that breaks what goes through it: silence and cut connections, the same for simulated and real."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Self

import httpx

NOT_FORWARDED = frozenset({"host", "connection", "content-length", "accept-encoding"})
NOT_RETURNED = frozenset({"connection", "transfer-encoding", "content-length", "content-encoding"})
Struck = Callable[[str, str], bool]
"""(method, path) of a request, and whether something happens to it."""


class Middle:
    """`async with Middle(url) as middle`: listens at `middle.url`. `hold` swallows a request, `cut` breaks its answer off."""

    def __init__(self, target: str, *, hold: Struck = lambda method, path: False, cut: Struck = lambda method, path: False) -> None:
        self._target, self.hold, self.cut = target, hold, cut
        self.url = ""
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._client = httpx.AsyncClient(base_url=self._target, trust_env=False, timeout=120.0)
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        for connection in tuple(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._client.aclose()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, httpx.TransportError):
                await self._pass_on(reader, writer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int({key.lower(): value for key, value in headers.items()}.get("content-length", 0)))
        if self.hold(method, path):
            await reader.read()
            return
        kept = {key: value for key, value in headers.items() if key.lower() not in NOT_FORWARDED}
        async with self._client.stream(method, path, content=body, headers=kept) as answer:
            returned = [f"{key}: {value}" for key, value in answer.headers.items() if key.lower() not in NOT_RETURNED]
            if self.cut(method, path):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
                await writer.drain()
                return
            writer.write("\r\n".join([f"HTTP/1.1 {answer.status_code} OK", *returned, "Connection: close", "", ""]).encode("latin-1"))
            async for chunk in answer.aiter_raw():
                writer.write(chunk)
                await writer.drain()
