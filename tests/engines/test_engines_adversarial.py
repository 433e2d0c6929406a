"""Servers that mean harm or are broken: each ends within its time and its bytes, with one sentence, and harms nobody else's answer."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Sequence

import pytest
from servers import PROMISED, Talk, always, answer, serving

from reconciler.engines import LoadRequest, Transport, open_engine
from reconciler.fleet import EngineError, EngineFacts, EngineId, EngineKind, EngineSpec, Fleet, NodeFacts, NodeSpec
from reconciler.probes import probe_fleet


async def honest(path: str, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(PROMISED[path]))


def spec(url: str, name: str = "e", timeout: float = 5.0, **more: float) -> EngineSpec:
    return EngineSpec(EngineId("n", name), EngineKind.OLLAMA, url, timeout=timeout, **more)  # type: ignore[arg-type]


def look(talk: Talk, timeout: float = 5.0) -> EngineFacts:
    async def run() -> EngineFacts:
        async with serving(talk) as server, Transport(backoff=0.001) as transport:
            return await open_engine(spec(server.url, timeout=timeout), transport).observe()

    return asyncio.run(run())


def dripping(data: bytes, pause: float) -> Talk:
    """One byte at a time, for longer than anybody should wait."""

    async def talk(_: str, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(pause)

    return talk


SLOW_HEADERS = b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 1000
SLOW_BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b" " * 1000
ENDLESS_EARLY = b"HTTP/1.1 102 Processing\r\n\r\n" * 1000


@pytest.mark.parametrize("data", [SLOW_HEADERS, SLOW_BODY, ENDLESS_EARLY], ids=["headers", "body", "informational"])
def test_an_answer_that_drips_ends_at_the_deadline(data: bytes) -> None:
    started = time.monotonic()
    facts = look(dripping(data, 0.02), timeout=0.5)
    assert facts.reason_code == "timeout"
    assert time.monotonic() - started < 5.0  # all of it would take 20 s and more


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (gzip.compress(b" " * 50_000_000), "not JSON"),
        (b'{"models": "\xff\xfe"}', "not JSON"),
        (b"[" * 500_000, "not JSON"),
        (b'{"version": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, "not JSON"),
        (b'{"models": NaN}', "models"),
        (b'{"models": 1e999}', "models"),
        (b'{"models": [], "models": {}}', "models"),
        (b"", "not JSON"),
        (b"null", "another shape"),
        (b'{"version": "\\ud800"}', "not JSON"),
    ],
    ids=["gzip bomb", "utf-8", "deep list", "deep object", "NaN", "infinity", "twice", "empty", "null", "lone surrogate"],
)
def test_a_body_that_is_not_what_was_asked_for_is_one_sentence(body: bytes, says: str) -> None:
    facts = look(always(answer(body, "Content-Encoding: gzip" if body[:2] == b"\x1f\x8b" else "X: y")))
    assert facts.reason_code == "not_its_protocol"
    assert says in str(facts.reason)
    assert len(str(facts.reason)) < 1000


@pytest.mark.parametrize(
    "field",
    ["NaN", "1e400", "-5", "99999999999999999999999999", '"12"', "1.5"],
    ids=["NaN", "inf", "negative", "beyond 64 bits", "text", "half"],
)
def test_a_size_that_is_none_is_never_taken_for_one(field: str) -> None:
    async def talk(path: str, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = PROMISED[path]
        writer.write(answer(f'{{"models":[{{"name":"m:1","size":{field}}}]}}'.encode() if path == "/api/tags" else body))

    facts = look(talk)
    sizes = [model.size_bytes for model in facts.installed or ()]
    assert not facts.reachable or all(size is None for size in sizes), facts


@pytest.mark.parametrize(("size", "vram"), [(10, 4_000_000_000), (10**40, 10**40), (-5, -9)])
def test_figures_of_a_resident_that_contradict_themselves_are_unknown(size: int, vram: int) -> None:
    async def talk(path: str, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running = f'{{"models":[{{"name":"m:1","model":"m:1","size":{size},"size_vram":{vram}}}]}}'.encode()
        writer.write(answer(running if path == "/api/ps" else PROMISED[path]))

    (resident,) = look(talk).residents or ()
    assert (resident.size_bytes, resident.vram_bytes, resident.gpu_fraction) == (None, None, None)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: no name\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x00" * 64 + b"\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n",
    ],
)
def test_what_is_no_http_is_one_sentence(head: bytes) -> None:
    facts = look(always(head), timeout=1.0)
    assert not facts.reachable
    assert facts.reason_code == "not_its_protocol" or (facts.reason_code == "timeout" and head.startswith((b"SSH", b"HTTP/9")))
    assert "\n" not in str(facts.reason)


def test_a_redirect_in_a_ring_is_asked_once_and_not_followed() -> None:
    async def run() -> tuple[EngineFacts, Sequence[str]]:
        async def talk(path: str, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer(b"", f"Location: {path}", status="302 Found"))

        async with serving(talk) as server, Transport() as transport:
            return await open_engine(spec(server.url), transport).observe(), server.asked

    facts, asked = asyncio.run(run())
    assert facts.reason_code == "redirected"
    assert asked == ["GET /api/tags"]


def test_a_node_of_several_engines_that_drip_ends_with_the_deadline_of_one() -> None:
    async def run() -> tuple[float, NodeFacts]:
        async with serving(dripping(SLOW_BODY, 0.02)) as slow, serving(honest) as good, Transport() as transport:
            engines = (*(spec(slow.url, f"slow{number}", timeout=0.5) for number in range(20)), spec(good.url, "good"))
            fleet = Fleet("f", {"n": NodeSpec("n", "n", engines, ())})
            start = asyncio.get_running_loop().time()
            facts = await probe_fleet(fleet, {}, transport=transport, at="2026-01-01T00:00:00Z")
            return asyncio.get_running_loop().time() - start, facts.nodes["n"]

    seconds, node = asyncio.run(run())
    assert seconds < 5.0  # one after the other they would take 10 s
    assert {name for name, engine in node.engines.items() if engine.reachable} == {"good"}
    assert {engine.reason_code for engine in node.engines.values()} == {None, "timeout"}


def failing_first(count: int, status: str = "500 Broken") -> Talk:
    """The first so many requests get a status of failure (or, with none, a closed connection), the rest an honest answer."""
    seen = 0

    async def talk(path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen += 1
        if seen > count:
            writer.write(answer(PROMISED.get(path, b"{}")))
        elif status:
            writer.write(answer(b"{}", status=status))
        else:
            raise ConnectionError

    return talk


@pytest.mark.parametrize("status", ["500 Broken", "503 Busy", ""])
@pytest.mark.parametrize(("failures", "reachable"), [(1, True), (2, True), (3, False)])
def test_a_look_is_repeated_twice_when_the_server_fails(failures: int, reachable: bool, status: str) -> None:
    assert look(failing_first(failures, status)).reachable is reachable


@pytest.mark.parametrize("status", ["500 Broken", "503 Busy", ""])
def test_a_load_an_unload_and_a_pull_are_sent_once_whatever_comes_back(status: str) -> None:
    async def run() -> Sequence[str]:
        async with serving(failing_first(99, status)) as server, Transport(backoff=0.001) as transport:
            engine = open_engine(spec(server.url), transport)
            with pytest.raises(EngineError):
                await engine.load(LoadRequest("m:1", -1, embedding=False))
            with pytest.raises(EngineError):
                await engine.unload("m:1")
            with pytest.raises(EngineError):
                async for _ in engine.pull("m:1"):
                    pass
            return server.asked

    assert asyncio.run(run()) == ["POST /api/generate", "POST /api/generate", "POST /api/pull"]


def test_a_post_that_only_reads_is_repeated_like_a_look() -> None:
    async def run() -> Sequence[str]:
        async with serving(failing_first(1)) as server, Transport(backoff=0.001) as transport:
            await open_engine(spec(server.url), transport).load(LoadRequest("m:1", -1))
            return server.asked

    assert asyncio.run(run()) == ["POST /api/show", "POST /api/show", "POST /api/generate"]


def test_pauses_double_and_the_jitter_takes_up_to_half_of_them() -> None:
    drawn = iter([0.0, 1.0, 0.5])
    transport = Transport(backoff=0.1, jitter=lambda: next(drawn))
    assert [round(transport.pause(attempt), 6) for attempt in range(3)] == [0.1, 0.1, 0.3]
    many = {Transport(backoff=0.1).pause(0) for _ in range(20)}
    assert len(many) == 20
    assert all(0.05 <= pause <= 0.1 for pause in many)


def test_retries_end_with_the_deadline_too() -> None:
    async def run() -> tuple[EngineFacts, Sequence[str]]:
        async with serving(failing_first(99)) as server, Transport(backoff=30.0) as transport:
            return await open_engine(spec(server.url, timeout=1.0), transport).observe(), server.asked

    facts, asked = asyncio.run(run())
    assert facts.reason_code == "http_5xx"
    assert asked == ["GET /api/tags"]


def test_a_connection_is_used_again_and_not_when_the_server_closed_it() -> None:
    connections = 0

    async def run() -> None:
        nonlocal connections

        async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            left = 3 if connections == 1 else 1
            while left:
                path = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ")[1]
                writer.write(answer(PROMISED[path]))
                left -= 1
            writer.close()

        running = await asyncio.start_server(count, "127.0.0.1", 0)
        async with running, Transport() as transport:
            url = f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"
            engine = open_engine(spec(url), transport)
            assert (await engine.observe()).reachable
            assert connections == 1
            assert (await engine.observe()).reachable
            assert connections == 4

    asyncio.run(run())


def test_an_address_of_ip_version_6_keeps_its_brackets_and_the_path_of_the_url_is_sent() -> None:
    heads: list[list[str]] = []

    async def run() -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            heads.append([lines[0], *(line for line in lines if line.lower().startswith("host:"))])
            writer.write(answer(b"{}", status="404 Not Found"))

        running = await asyncio.start_server(serve, "::1", 0)
        port: int = running.sockets[0].getsockname()[1]
        async with running, Transport() as transport:
            await open_engine(spec(f"http://[::1]:{port}/behind/a proxy/"), transport).observe()
        return port

    try:
        port = asyncio.run(run())
    except OSError as error:
        pytest.skip(f"this machine has no IPv6 loopback: {error}")
    assert heads == [["GET /behind/a%20proxy/api/tags HTTP/1.1", f"Host: [::1]:{port}"]]
