"""The service as a stranger would try it: bytes that are no request, too large or too slow ones, and names that are not its own."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cli_lab import OPS, SMALL, Lab, served, serving

from reconciler.service.http.patience import HEADER_SECONDS
from reconciler.service.http.server import MOST_CONNECTIONS
from reconciler.sim import builtin_fleet

POLICY = """
policy:
  service:
    tokens: [{name: ops, secret: env:OPS, role: apply}]
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    root: Path = tmp_path_factory.mktemp("attacked")
    with served(builtin_fleet("demo").with_time_scale(0), root) as lab:
        lab.want(SMALL + POLICY)
        with serving(Lab(lab.fleet, root), "--interval", "1h") as client:
            yield client


def answer_to(client: httpx.Client, sent: bytes, seconds: float = 30) -> bytes:
    """All that comes back until the connection is closed, or has nothing more to say."""
    url = client.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=seconds) as one:
        one.sendall(sent)
        found = b""
        while b"\r\n\r\n" not in found:
            try:
                part = one.recv(65536)
            except ConnectionResetError:
                break
            if not part:
                break
            found += part
        return found


def status(answer: bytes) -> int | None:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else None


@pytest.mark.parametrize(
    ("sent", "allowed"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", {421}),
        (b"GET /healthz HTTP/1.1\r\n\r\n", {400, 421}),
        (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n", {400, 421}),
        (b"GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", {400, 404, 421}),
        (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 200_000 + b"\r\n\r\n", {400, 431, None}),
        (b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", {400, 414, 431, None}),
        (b"POST /v1/apply HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0", {400, 401, 429}),
        (b"POST /v1/apply HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", {400}),
        (b"POST /v1/apply HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999999999999\r\n\r\n", {400, 413}),
        (b"GET /v1/%2e%2e/healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", {404}),
        (b"POST /v1%2Fapply HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}", {401, 429}),
        (b"POST //webhook/livepeer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}", {401, 429}),
        (b"TRACE / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", {401, 405, 429}),
        (b"OPTIONS / HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://evil.example\r\n\r\n", {403}),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes=0-1,5-6\r\n\r\n", {200}),
        (b"HEAD / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", {200}),
        (b"GET /v1/history?last=%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", {400}),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400, None}),
    ],
    ids=range(18),
)
def test_what_is_no_honest_request_is_refused_and_opens_nothing(client: httpx.Client, sent: bytes, allowed: set[int | None]) -> None:
    found = answer_to(client, sent)
    assert status(found) in allowed, found[:300]
    assert b"access-control-allow" not in found.lower()
    assert b"traceback" not in found.lower()
    assert client.get("/healthz").status_code == 200


def test_a_header_of_who_forwarded_it_gives_nobody_another_address(client: httpx.Client) -> None:
    for number in range(12):
        client.post("/v1/apply", headers={"Authorization": "Bearer wrong", "X-Forwarded-For": f"10.0.0.{number}"})
    assert client.post("/v1/apply", json={"digest": "x"}, headers=OPS).status_code == 429
    assert client.get("/healthz").status_code == 200


def test_connections_on_which_nothing_comes_are_closed_and_others_are_served_again(client: httpx.Client) -> None:
    url = client.base_url
    held = []
    try:
        for _ in range(MOST_CONNECTIONS + 20):
            one = socket.create_connection((url.host, url.port or 80), timeout=30)
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127")
            held.append(one)
        deadline = time.monotonic() + 6 * HEADER_SECONDS
        while True:
            with httpx.Client(base_url=str(url), trust_env=False, timeout=30) as other:
                if other.get("/healthz").status_code == 200:
                    break
            assert time.monotonic() < deadline
        assert held[0].recv(1) == b""
    finally:
        for one in held:
            one.close()
