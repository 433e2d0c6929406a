"""A small HTTP/1.1 server on loopback: keep-alive, JSON and streamed answers, everything bounded.

A client that goes away ends the handling of its request, as Go's `net/http` does with a request's context: this is how a load is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import h11

from reconciler.sim.errors import PortTaken

LOOPBACK = "127.0.0.1"
LARGEST_BODY = 4 * 2**20
MOST_DISCARDED = 64 * 2**20
LARGEST_HEAD = 32 * 2**10
MOST_CONNECTIONS = 512
IDLE_SECONDS = 75.0
_READ = 64 * 2**10

JsonValue = object
Chunks = AsyncGenerator[bytes, None]


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request. `path` without the query, header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def document(self) -> dict[str, object] | None:
        """The body as a JSON object; None when it is something else."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: whole, or made chunk by chunk. `cut`: the connection closes in the middle; `drop`: it closes without a word."""

    status: int = 200
    content_type: str = "application/json; charset=utf-8"
    body: bytes | Chunks = b""
    headers: tuple[tuple[str, str], ...] = ()
    cut: bool = False
    drop: bool = False


def json_response(document: JsonValue, status: int = 200) -> Response:
    return Response(status, body=json.dumps(document, separators=(",", ":")).encode())


def text_response(text: str, status: int = 200, content_type: str = "text/plain; charset=utf-8") -> Response:
    return Response(status, content_type, text.encode())


def ndjson_response(documents: AsyncGenerator[JsonValue, None]) -> Response:
    """One JSON document a line, each sent when it is there."""
    return Response(content_type="application/x-ndjson", body=_lines(documents))


async def _lines(documents: AsyncGenerator[JsonValue, None]) -> Chunks:
    async with aclosing(documents):
        async for document in documents:
            yield json.dumps(document, separators=(",", ":")).encode() + b"\n"


Handler = Callable[[Request], Awaitable[Response]]


class HttpServer:
    """One port. `bind` takes it, `open` listens, `close` refuses and drops every connection but keeps the port for a later `open`."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._welcoming: set[asyncio.Task[None]] = set()
        self._at: int | str = 0

    @property
    def port(self) -> int:
        """0 where it listens on a socket file."""
        return self._at if isinstance(self._at, int) else 0

    @property
    def is_open(self) -> bool:
        return self._loop is not None

    def bind(self, at: int | str) -> None:
        """Takes a port of loopback, 0 for any, or a path for a socket file; refuses connections until `open`. Raises PortTaken."""
        family, address = (socket.AF_UNIX, at) if isinstance(at, str) else (socket.AF_INET, (LOOPBACK, at))
        taken = socket.socket(family, socket.SOCK_STREAM)
        try:
            if isinstance(at, str):
                Path(at).unlink(missing_ok=True)
            else:
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(address)
        except OSError as error:
            taken.close()
            shown = at if isinstance(at, str) else f"{LOOPBACK}:{at}"
            raise PortTaken(f"{shown} cannot be used: {error.strerror}; end what listens there or give another port") from None
        taken.setblocking(False)
        self._socket, self._at = taken, at if isinstance(at, str) else taken.getsockname()[1]

    def open(self) -> None:
        """Listens. From here on connections are accepted."""
        if self.is_open:
            return
        if self._socket is None:
            self.bind(self._at)
        if self._socket is None:
            raise PortTaken("the port was never bound")
        try:
            self._socket.listen(128)
        except OSError as error:
            raise PortTaken(f"{self._at} cannot be listened on: {error.strerror}; end what listens there") from None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._accept, self._socket)

    def close(self, *, keep_port: bool = True) -> None:
        """Refuses connections and drops those that are there."""
        if self._socket is not None:
            if self._loop is not None:
                self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
        self._loop = self._socket = None
        for connection, writer in tuple(self._connections.items()):
            connection.cancel()
            _hang_up(writer)
        if keep_port:
            with contextlib.suppress(PortTaken):  # told by the next `open`
                self.bind(self._at)

    async def aclose(self) -> None:
        """Ends for good."""
        connections = tuple(self._connections)
        self.close(keep_port=False)
        await asyncio.gather(*connections, return_exceptions=True)

    def _accept(self, listening: socket.socket) -> None:
        """Done by hand, since an `asyncio.Server` opens only after turns of the loop in which the port may be closed again."""
        try:
            accepted, _ = listening.accept()
        except OSError:
            return  # the client is gone already
        accepted.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._welcome(accepted))
        self._welcoming.add(task)
        task.add_done_callback(self._welcoming.discard)

    async def _welcome(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_READ, loop=loop)
        # Go's servers, and so Ollama, set this too; without it every answer with a body waits 40 ms for the client's delayed ACK.
        with contextlib.suppress(OSError):  # the client is gone already
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.connect_accepted_socket(lambda: asyncio.StreamReaderProtocol(reader, self._connected, loop=loop), accepted)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= MOST_CONNECTIONS or not self.is_open:
            writer.transport.abort()
            return
        self._connections[task] = writer
        try:
            await _Connection(reader, writer, self._handler).run()
        except (ConnectionError, TimeoutError, h11.RemoteProtocolError):
            pass  # the other side broke off: there is nobody left to tell
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._connections.pop(task, None)
            writer.close()


def _hang_up(writer: asyncio.StreamWriter) -> None:
    """Tells the client now, not in the next turn of the loop: who asks after a `kill` must not meet the dead connection."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
        self._reader, self._writer, self._handler = reader, writer, handler
        self._wire = h11.Connection(h11.SERVER, max_incomplete_event_size=LARGEST_HEAD)

    async def run(self) -> None:
        while True:
            request = await self._request()
            if request is None or not await self._exchange(request):
                return
            if not self._can_go_on():
                return
            self._wire.start_next_cycle()

    def _can_go_on(self) -> bool:
        return self._wire.our_state is h11.DONE and self._wire.their_state is h11.DONE

    async def _request(self) -> Request | None:
        """The next request; None when the connection ends before one."""
        head: h11.Request | None = None
        body, arrived = bytearray(), 0
        while True:
            event = self._wire.next_event()
            if event is h11.NEED_DATA:
                if self._wire.they_are_waiting_for_100_continue:
                    await self._send(h11.InformationalResponse(status_code=100, headers=[]))
                self._wire.receive_data(await asyncio.wait_for(self._reader.read(_READ), IDLE_SECONDS))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                arrived += len(event.data)
                if arrived <= LARGEST_BODY:
                    body += event.data
                elif arrived > MOST_DISCARDED:
                    return None
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                if arrived > LARGEST_BODY:
                    await self._answer(text_response("request body too large", 413), head_only=False)
                    if not self._can_go_on():
                        return None
                    self._wire.start_next_cycle()
                    head, body, arrived = None, bytearray(), 0
                    continue
                return _as_request(head, bytes(body))
            else:
                return None

    async def _exchange(self, request: Request) -> bool:
        """Answers one request while watching for the client to go away. False when the connection is to be closed."""
        work = asyncio.ensure_future(self._handle(request))
        watch: asyncio.Task[bytes] | None = None
        try:
            while not work.done():
                watch = watch or asyncio.ensure_future(self._reader.read(_READ))
                await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
                if watch.done():
                    more, watch = watch.result(), None
                    if not more and not work.done():
                        return False
                    self._wire.receive_data(more)
                    if len(self._wire.trailing_data[0]) > LARGEST_BODY:
                        return False
            return work.result()
        finally:
            for task in (work, watch):
                if task is not None and not task.done():
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                        await task
                elif task is not None and not task.cancelled():
                    task.exception()  # looked at: a client that broke off is no news

    async def _handle(self, request: Request) -> bool:
        response = await self._handler(request)
        if response.drop:
            self._writer.transport.abort()
            return False
        return await self._answer(response, head_only=request.method == "HEAD")

    async def _answer(self, response: Response, *, head_only: bool) -> bool:
        whole = response.body if isinstance(response.body, bytes) else None
        headers = [("Content-Type", response.content_type), *response.headers]
        headers.append(("Content-Length", str(len(whole))) if whole is not None else ("Transfer-Encoding", "chunked"))
        await self._send(h11.Response(status_code=response.status, headers=headers))
        if head_only:
            await self._send(h11.EndOfMessage())
        elif whole is not None:
            await self._send(h11.Data(data=whole[: len(whole) // 2] if response.cut else whole))
        elif not isinstance(response.body, bytes):
            async with aclosing(response.body) as chunks:
                async for chunk in chunks:
                    await self._send(h11.Data(data=chunk))
                    if response.cut:
                        break
        if response.cut:
            return False
        if not head_only:
            await self._send(h11.EndOfMessage())
        return True

    async def _send(self, event: h11.Event) -> None:
        data = self._wire.send(event)
        if data:
            self._writer.write(data)
            await self._writer.drain()


def _as_request(head: h11.Request, body: bytes) -> Request:
    target = urlsplit(head.target.decode("latin-1"))
    headers = {name.decode("latin-1").lower(): text.decode("latin-1") for name, text in head.headers}
    return Request(head.method.decode("latin-1").upper(), unquote(target.path), dict(parse_qsl(target.query)), headers, body)
