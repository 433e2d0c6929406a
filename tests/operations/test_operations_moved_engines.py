"""Engines of gpurec's own that the files give another address: asked there, and where the last apply left them."""

from __future__ import annotations

import asyncio

from reconciler.fleet import (
    Applied,
    AppliedResource,
    Desired,
    EngineContainer,
    EngineId,
    EngineKind,
    EngineSpec,
    Fleet,
    NodeSpec,
    OwnedEngine,
)
from reconciler.operations.observation import probe

COUNT = 3


def test_all_engines_at_new_addresses_are_asked_at_once_and_not_one_after_the_other() -> None:
    """At the new addresses somebody listens who says nothing before all have come."""
    most = 0

    async def look() -> None:
        here, all_are_here = 0, asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal here, most
            here += 1
            most = max(most, here)
            if here == COUNT:
                all_are_here.set()
            await reader.readuntil(b"\r\n\r\n")
            ends = [asyncio.ensure_future(all_are_here.wait()), asyncio.ensure_future(reader.read())]  # or who asks gives up
            _, left_over = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for one in left_over:
                one.cancel()
            here -= 1
            writer.close()

        async def gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        new, old = await asyncio.start_server(silent, "127.0.0.1", 0), await asyncio.start_server(gone, "127.0.0.1", 0)
        async with new, old:
            at, left = (f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in (new, old))
            owned = OwnedEngine(EngineContainer("ollama/ollama:0.34.0"), 1)
            engines = tuple(
                EngineSpec(EngineId("box", f"e{number}"), EngineKind.OLLAMA, at, timeout=5.0, owned=owned) for number in range(COUNT)
            )
            rows = {f"engine.box/{one.id.engine}": AppliedResource(f"engine.box/{one.id.engine}", {"url": left}) for one in engines}
            of = Fleet("lab", {"box": NodeSpec("box", "127.0.0.1", engines, ())})
            facts = await probe(of, Desired(), Applied("l", 1, {}, resources=rows))
            assert not any(one.reachable for one in facts.nodes["box"].engines.values())

    asyncio.run(look())
    assert most == COUNT
