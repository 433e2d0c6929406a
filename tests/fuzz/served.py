"""A server without a network: what a client asks is answered from memory, byte by byte what the fuzzer wants."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Iterable
from functools import cache
from typing import Any, TypeVar

import httpcore

from reconciler.engines import Transport

T = TypeVar("T")
Answers = Callable[[str], bytes]
"""The whole answer to a request, head and body, by its method and path."""


@cache
def loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


class Stream(httpcore.AsyncNetworkStream):
    def __init__(self, answers: Answers) -> None:
        self._answers, self._asked, self._left = answers, b"", b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._asked += buffer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._asked:
            method, path, *_ = self._asked.split(b" ", 2)
            self._asked, self._left = b"", self._answers(f"{method.decode()} {path.decode()}")
        piece, self._left = self._left[:max_bytes], self._left[max_bytes:]
        return piece

    async def aclose(self) -> None:
        self._left = b""

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return self

    def get_extra_info(self, info: str) -> Any:
        return None


class Network(httpcore.AsyncNetworkBackend):
    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return Stream(self._answers)

    async def sleep(self, seconds: float) -> None:
        return


def answered(body: bytes, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body


def ask(answers: Answers, talk: Callable[[Transport], Coroutine[Any, Any, T]]) -> T:
    """One conversation with a server that answers so."""

    async def whole() -> T:
        transport = Transport(environ={}, backoff=0.0)
        transport.network = Network(answers)  # type: ignore[assignment]
        async with transport:
            return await talk(transport)

    return loop().run_until_complete(whole())
