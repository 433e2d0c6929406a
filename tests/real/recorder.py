"""A reverse proxy in front of a real server: what was really sent, request by request, and a place to break things in the middle of one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from processes import LOOPBACK

READING_POSTS = frozenset({"/api/show"})
"""POST requests that only ask."""
NOT_FORWARDED = frozenset({"host", "connection", "transfer-encoding", "content-length", "accept-encoding"})
NOT_RETURNED = frozenset({"connection", "transfer-encoding", "content-length", "content-encoding", "date", "server"})


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body)) if self.body else {}

    @property
    def changes(self) -> bool:
        """Whether the request could change anything on the server."""
        return self.method not in ("GET", "HEAD") and self.path not in READING_POSTS


class Recorder:
    """Listens on loopback at `url`, passes everything on to `target`, and keeps what it saw in `requests`.

    `elsewhere` may name another URL for a GET of a path; the client is sent there (307) instead. With `bytes_a_second` no answer is faster.
    """

    def __init__(
        self, target: str, elsewhere: Callable[[str], str | None] = lambda path: None, *, bytes_a_second: int | None = None
    ) -> None:
        self._elsewhere = elsewhere
        self._bytes_a_second = bytes_a_second
        self.requests: list[Request] = []
        self._during: dict[str, Callable[[], None]] = {}
        self._stopped = threading.Event()
        self._client = httpx.Client(base_url=target, timeout=300.0, trust_env=False)
        self._server = ThreadingHTTPServer((LOOPBACK, 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://{LOOPBACK}:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def changes(self) -> list[Request]:
        """The requests that could change something, in order."""
        return [request for request in self.requests if request.changes]

    def forget(self) -> None:
        self.requests.clear()

    def during(self, path: str, happening: Callable[[], None]) -> None:
        """Runs `happening` once, beside the next request to `path`, which goes on to the server at the same time."""
        self._during[path] = happening

    def stop(self) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._client.close()

    def _pass_on(self, exchange: BaseHTTPRequestHandler) -> None:
        body = exchange.rfile.read(int(exchange.headers.get("Content-Length", 0)))
        request = Request(exchange.command, exchange.path.partition("?")[0], body)
        self.requests.append(request)
        happening = self._during.pop(request.path, None)
        if happening is not None:
            threading.Thread(target=happening, daemon=True).start()
        location = self._elsewhere(exchange.path) if exchange.command == "GET" else None
        if location is not None:
            exchange.send_response(HTTPStatus.TEMPORARY_REDIRECT)
            exchange.send_header("Location", location)
            exchange.send_header("Content-Length", "0")
            exchange.end_headers()
            return
        headers = {name: value for name, value in exchange.headers.items() if name.lower() not in NOT_FORWARDED}
        try:
            with self._client.stream(exchange.command, exchange.path, content=body, headers=headers) as answer:
                self._answer(exchange, answer)
        except (httpx.TransportError, ConnectionError):
            exchange.close_connection = True

    def _answer(self, exchange: BaseHTTPRequestHandler, answer: httpx.Response) -> None:
        exchange.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name not in NOT_RETURNED:
                exchange.send_header(name, value)
        if exchange.command == "HEAD":
            exchange.send_header("Content-Length", answer.headers.get("Content-Length", "0"))
            exchange.end_headers()
            return
        exchange.send_header("Transfer-Encoding", "chunked")
        exchange.end_headers()
        for chunk in answer.iter_bytes():
            if self._bytes_a_second is not None:
                self._stopped.wait(len(chunk) / self._bytes_a_second)
            exchange.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        exchange.wfile.write(b"0\r\n\r\n")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_any(self) -> None:
                recorder._pass_on(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_any  # noqa: N815  http.server's names

            def log_message(self, *_: object) -> None:
                return

        return Handler
