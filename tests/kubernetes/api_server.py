"""A simulated API server: lists of nodes, page by page, for whoever has the token or the certificate."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN, STRANGER = "a-token", "b-token"
"""Of somebody who may list nodes, and of somebody who may not."""


@dataclass
class ApiServer:
    """`nodes` are documents; `asked` the queries of every request; `wrong` is answered instead, where it is set."""

    nodes: list[dict[str, Any]]
    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    wrong: tuple[int, bytes] | None = None
    by_certificate: bool = False

    def answer(self, path: str, authorization: str | None) -> tuple[int, bytes]:
        target = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(target.query).items()}
        self.asked.append(query)
        if self.wrong is not None:
            return self.wrong
        if authorization == f"Bearer {STRANGER}":
            return 403, status('nodes is forbidden: User "stranger" cannot list resource "nodes" in API group "" at the cluster scope')
        if not self.by_certificate and authorization != f"Bearer {TOKEN}":
            return 401, status("Unauthorized")
        if target.path != "/api/v1/nodes":
            return 404, status("the server could not find the requested resource")
        begin, limit = int(query.get("continue", "0")), int(query["limit"])
        end = begin + limit
        meta = {"continue": str(end)} if end < len(self.nodes) else {}
        return 200, json.dumps({"kind": "NodeList", "metadata": meta, "items": self.nodes[begin:end]}).encode()


def status(message: str) -> bytes:
    return json.dumps({"kind": "Status", "status": "Failure", "message": message}).encode()


@contextmanager
def serving(nodes: list[dict[str, Any]], tls: ssl.SSLContext | None = None) -> Iterator[ApiServer]:
    server = ApiServer(nodes, by_certificate=tls is not None)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = server.answer(self.path, self.headers.get("Authorization"))
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        http.socket = tls.wrap_socket(http.socket, server_side=True)
    server.url = f"{'https' if tls is not None else 'http'}://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
