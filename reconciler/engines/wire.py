"""The connections to one server, by httpcore: as many as there are requests at once, the idle ones kept for a short while.

httpcore is the part of httpx that speaks HTTP. httpx's client above it (cookies, redirects, proxies, decoding, which all have to be put off
here) and its pool (one list for all hosts) are two thirds of what a small request costs; see docs/decisions/0003.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from urllib.parse import SplitResult, quote, urlsplit

import httpcore

# llama-server (cpp-httplib) drops an idle connection after 5 s: ours go first, so that no request runs into a closing one.
_IDLE_SECONDS = 2.0
_MOST_IDLE = 4
_SAFE = "/%:?#[]@!$&'()*+,;=~"
_PORTS = {"http": 80, "https": 443}


def server_url(text: str) -> SplitResult:
    """Where a server is: scheme, host in ASCII, port and path, and nothing else of a url. ValueError says why a text is none."""
    parts = urlsplit(text)
    host = parts.hostname
    if parts.scheme not in _PORTS or not host:
        raise ValueError("it begins with neither http:// nor https://, or names no host")
    if not host.isascii():
        from idna import encode  # hardly any server has such a name

        host = encode(host, uts46=True).decode()
    where = f"[{host}]" if ":" in host else host
    return SplitResult(parts.scheme, where if parts.port is None else f"{where}:{parts.port}", parts.path, "", "")


class Exchange:
    """A request that was sent and whose answer has begun: its status and headers are there, its body is read by `chunks`. Close it."""

    __slots__ = ("_connection", "_response", "_wire", "headers", "status")

    def __init__(self, response: httpcore.Response, connection: httpcore.AsyncHTTPConnection, wire: ServerWire) -> None:
        self._response, self._connection, self._wire = response, connection, wire
        self.status: int = response.status
        self.headers: list[tuple[bytes, bytes]] = response.headers

    def header(self, name: bytes) -> bytes | None:
        """The first header of that name (in lower case)."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, never decompressed."""
        return self._response.aiter_stream()

    async def aclose(self) -> None:
        """Ends the exchange; the connection is kept where the whole answer was read."""
        await self._response.aclose()
        self._wire.take_back(self._connection)


class ServerWire:
    """HTTP/1.1 to the server of one url. Raises httpcore's errors."""

    def __init__(self, url: SplitResult, context: ssl.SSLContext, network: httpcore.AsyncNetworkBackend) -> None:
        usual = _PORTS[url.scheme]
        host, port = url.hostname or "", url.port or usual
        self._origin = httpcore.Origin(url.scheme.encode(), host.encode(), port)
        self._base = quote(url.path, safe=_SAFE).rstrip("/").encode()
        shown = f"[{host}]" if ":" in host else host
        self._host = (shown if port == usual else f"{shown}:{port}").encode()
        self._context = context
        self._network = network
        self._idle: list[httpcore.AsyncHTTPConnection] = []
        self._busy: set[httpcore.AsyncHTTPConnection] = set()

    async def send(self, method: str, path: str, headers: list[tuple[bytes, bytes]], content: bytes | None) -> Exchange:
        """Sends a request for `path` below the url; returns when the head of its answer is there."""
        sized = [(b"Host", self._host), *headers]
        if content is not None:
            sized.append((b"Content-Length", b"%d" % len(content)))
        origin = self._origin
        target = httpcore.URL(
            scheme=origin.scheme, host=origin.host, port=origin.port, target=self._base + quote(path, safe=_SAFE).encode()
        )
        connection = await self._free()
        self._busy.add(connection)
        try:
            response = await connection.handle_async_request(httpcore.Request(method, target, headers=sized, content=content))
        except BaseException:
            self._busy.discard(connection)
            await connection.aclose()
            raise
        return Exchange(response, connection, self)

    def take_back(self, connection: httpcore.AsyncHTTPConnection) -> None:
        self._busy.discard(connection)
        if connection.is_idle() and len(self._idle) < _MOST_IDLE:
            self._idle.append(connection)

    async def aclose(self) -> None:
        for connection in (*self._idle, *self._busy):
            await connection.aclose()
        self._idle.clear()
        self._busy.clear()

    async def _free(self) -> httpcore.AsyncHTTPConnection:
        """The connection that was used last, if it is still good, else a new one."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.has_expired():
                return connection
            await connection.aclose()
        return httpcore.AsyncHTTPConnection(self._origin, self._context, keepalive_expiry=_IDLE_SECONDS, network_backend=self._network)
