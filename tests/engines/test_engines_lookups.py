"""Names are looked up within the deadline of who asks, whatever the resolver does."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpcore
import pytest

from reconciler.engines import Transport, open_engine
from reconciler.engines.lookups import Lookups, Resolved
from reconciler.fleet import EngineId, EngineKind, EngineSpec


@pytest.fixture
def resolver(monkeypatch):
    """A resolver that answers `hangs.example` only when the test has ended, and others from `known`; it remembers what it was asked."""
    over, asked, known = threading.Event(), [], {}

    def answer(host, port, *_, **__):
        asked.append(host)
        if host == "hangs.example":
            over.wait(60)
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host]]

    monkeypatch.setattr("reconciler.engines.lookups.socket.getaddrinfo", answer)
    yield asked, known
    over.set()


@contextmanager
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def observed(url, timeout=0.3):
    async def ask():
        async with Transport() as transport:
            return await open_engine(EngineSpec(EngineId("a", "ollama"), EngineKind.OLLAMA, url, timeout=timeout), transport).observe()

    return asyncio.run(ask())


def test_a_resolver_that_hangs_costs_the_deadline_and_the_run_ends(resolver):
    began = time.monotonic()
    facts = observed("http://hangs.example:11434")
    assert (facts.reachable, facts.reason_code) == (False, "timeout")
    assert time.monotonic() - began < 5


def test_a_process_ends_though_a_lookup_hangs():
    program = (
        "import asyncio, socket, time\n"
        "socket.getaddrinfo = lambda *a, **k: time.sleep(60)\n"
        "from reconciler.engines.lookups import Lookups\n"
        "async def ask():\n"
        "    await asyncio.wait_for(Lookups().addresses('a.example', 1), 0.1)\n"
        "try: asyncio.run(ask())\n"
        "except TimeoutError: print('gave up')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout == "gave up\n"


def test_a_name_that_is_not_known_is_told_as_such(resolver):
    facts = observed("http://nobody.example:11434", timeout=5.0)
    assert facts.reason_code == "no_such_host"
    assert "Name or service not known" in facts.reason


def test_a_name_that_several_ask_for_is_looked_up_once(resolver):
    asked, known = resolver
    known["a.example"] = ["192.0.2.1", "192.0.2.1", "192.0.2.2"]

    async def ask():
        lookups = Lookups()
        return await asyncio.gather(lookups.addresses("a.example", 1), lookups.addresses("a.example", 1))

    assert asyncio.run(ask()) == [["192.0.2.1", "192.0.2.2"]] * 2
    assert asked == ["a.example"]


def test_one_who_gives_up_takes_the_answer_from_nobody_else(resolver):
    _, known = resolver
    known["a.example"] = ["192.0.2.1"]

    async def ask():
        lookups = Lookups()
        first = asyncio.ensure_future(lookups.addresses("a.example", 1))
        second = asyncio.ensure_future(lookups.addresses("a.example", 1))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(ask()) == ["192.0.2.1"]


def test_names_that_hang_take_places_and_the_rest_waits_for_its_own_deadline_only(resolver):
    async def ask():
        lookups = Lookups(at_once=1)
        hanging = asyncio.ensure_future(lookups.addresses("hangs.example", 1))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lookups.addresses("b.example", 1), 0.05)
        hanging.cancel()

    asyncio.run(ask())


def test_an_address_is_looked_up_by_nobody(resolver):
    asked, _ = resolver

    async def connect(port):
        stream = await Resolved(Lookups()).connect_tcp("127.0.0.1", port, 5.0)
        await stream.aclose()

    with listening() as port:
        asyncio.run(connect(port))
    assert asked == []


def test_the_next_address_is_tried_where_the_first_takes_no_connection(resolver):
    _, known = resolver
    known["two.example"] = ["127.0.0.2", "127.0.0.1"]

    async def connect(port):
        stream = await Resolved(Lookups()).connect_tcp("two.example", port, 5.0)
        await stream.aclose()

    with listening() as port:
        asyncio.run(connect(port))


def test_where_no_address_takes_a_connection_that_is_the_error(resolver):
    _, known = resolver
    known["two.example"] = ["127.0.0.2", "127.0.0.3"]
    with listening() as port, pytest.raises(httpcore.ConnectError):
        asyncio.run(Resolved(Lookups()).connect_tcp("two.example", port, 5.0))
