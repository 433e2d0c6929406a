"""The clock of an engine's machine, from the `Date` of its answers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from reconciler.engines import Transport
from reconciler.engines.clock import skew, told_by
from reconciler.fleet import EngineId, EngineKind, EngineSpec
from reconciler.probes import probe_engine

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("told", "off"),
    [(100.0, 0.0), (99.0, 0.0), (98.0, -1.0), (103.0, 0.0), (104.0, 1.0), (None, None)],
)
def test_a_clock_of_whole_seconds_is_off_by_no_more_than_can_be_known(told, off):
    assert skew(told, 100.0, 103.0) == off


@pytest.mark.parametrize(
    "date",
    [None, b"", b"soon", b"Thu, 99 Jan 2026 12:00:00 GMT", b"Thu, 01 Jan 99999999999 12:00:00 GMT", b"\xff\xfe", b"Thu, 01 " * 99],
)
def test_what_is_no_date_tells_nothing(date):
    assert told_by(date) is None


@pytest.mark.parametrize(("date", "off"), [("Thu, 01 Jan 2026 13:00:00 GMT", 3600.0), ("Thu, 01 Jan 2026 12:00:00 GMT", 0.0), (None, None)])
def test_probing_keeps_by_how_much_the_clock_of_an_engine_is_off(date, off):
    async def answer(reader, writer):
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                body = b'{"version":"0.34.0","models":[]}'
                said = f"Date: {date}\r\n".encode() if date else b""
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b" % (said, len(body), body)
                )
        except asyncio.IncompleteReadError:
            writer.close()

    async def look():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        spec = EngineSpec(EngineId("n", "e"), EngineKind.OLLAMA, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=5.0)
        async with server, Transport(clock=lambda: NOW) as transport:
            return await probe_engine(spec, transport)

    facts = asyncio.run(look())
    assert facts.reachable
    assert facts.clock_skew == off
