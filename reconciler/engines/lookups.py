"""Names to addresses within a deadline: a resolver that hangs costs the node that asked, and neither the others nor the end of the process.

The C library's getaddrinfo cannot be cut short. asyncio runs it in a pool of a few threads that the process waits for when it ends; here
each name is looked up by a thread that nobody waits for.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress

import httpcore

AT_ONCE = 256
"""Names that are looked up at the same time, those that hang among them."""
_NEXT_ADDRESS = 0.25
"""Seconds until the next address of a name is tried beside the last one (RFC 8305, section 5)."""
_SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class Lookups:
    """The lookups of one run: a name that several ask for at the same time is looked up once."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._running: dict[tuple[str, int], asyncio.Task[list[str]]] = {}

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a name, the best first. Raises OSError where it has none. Cancel it at a deadline: the thread goes on alone."""
        key = (host, port)
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.ensure_future(self._look_up(host, port))
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    def _forget(self, key: tuple[str, int], task: asyncio.Task[list[str]]) -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            task.exception()  # everybody who asked may have given up

    async def _look_up(self, host: str, port: int) -> list[str]:
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()

        def settle(answer: list[str] | OSError) -> None:
            self._places.release()
            if not found.done():
                found.set_exception(answer) if isinstance(answer, OSError) else found.set_result(answer)

        def work() -> None:
            answer: list[str] | OSError
            try:
                told = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                answer = list(dict.fromkeys(str(one[4][0]) for one in told))
            except (OSError, UnicodeError) as error:
                answer = error if isinstance(error, OSError) else OSError(str(error))
            with suppress(RuntimeError):  # the run is over
                loop.call_soon_threadsafe(settle, answer)

        threading.Thread(target=work, name=f"look up {host}", daemon=True).start()
        return await found


class Resolved(httpcore.AsyncNetworkBackend):
    """httpcore's own backend, given addresses instead of names."""

    def __init__(self, lookups: Lookups, inner: httpcore.AsyncNetworkBackend | None = None) -> None:
        self._lookups = lookups
        self._inner = inner if inner is not None else httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[_SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first address that takes one; raises httpcore's errors."""
        try:
            addresses = [host] if _is_address(host) else await self._lookups.addresses(host, port)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error

        async def connect(address: str) -> httpcore.AsyncNetworkStream:
            return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)

        if len(addresses) == 1:
            return await connect(addresses[0])
        return await _first([connect(address) for address in addresses])

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


async def _first(connecting: Sequence[Coroutine[None, None, httpcore.AsyncNetworkStream]]) -> httpcore.AsyncNetworkStream:
    """The first connection that is there, each tried a moment after the one before it; the last error where none is."""
    waiting = list(connecting)
    tried: set[asyncio.Task[httpcore.AsyncNetworkStream]] = set()
    failure: Exception | None = None
    try:
        while waiting or tried:
            if waiting:
                tried.add(asyncio.ensure_future(waiting.pop(0)))
            done, tried = await asyncio.wait(tried, timeout=_NEXT_ADDRESS if waiting else None, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is None:
                    return task.result()
                if not isinstance(error, Exception):
                    raise error
                failure = error
        raise failure or httpcore.ConnectError("its name has no address")
    finally:
        for one in waiting:
            one.close()
        for task in tried:
            task.cancel()
        for late in await asyncio.gather(*tried, return_exceptions=True):
            if isinstance(late, httpcore.AsyncNetworkStream):
                await late.aclose()
