"""Asking ten thousand nodes is bounded in what runs at once, and what is not used is not imported."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from reconciler.engines import Transport
from reconciler.fleet import CardFacts, Fleet, NodeSpec, ProbeSpec
from reconciler.probes import probe_fleet
from reconciler.probes.protocol import Seen
from reconciler.probes.sources import AT_ONCE, CardSources


class Crowd:
    """A way to ask that counts how many are asked at once."""

    name = "ssh"

    def __init__(self):
        self.now, self.most, self.all = 0, 0, 0

    async def look(self, node, at):
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now, self.all = self.now - 1, self.all + 1
        return Seen((CardFacts(0, source="ssh"),))


def test_ten_thousand_nodes_are_asked_so_many_at_a_time(monkeypatch):
    crowd = Crowd()
    monkeypatch.setattr(CardSources, "_open", lambda self, way: crowd)
    nodes = {f"n{nr}": NodeSpec(f"n{nr}", f"n{nr}.example", probe=ProbeSpec("ssh", "ops")) for nr in range(10_000)}

    async def ask():
        async with Transport() as transport:
            return await probe_fleet(Fleet("t", nodes), {}, transport=transport, at="2026-01-01T00:00:00Z")

    facts = asyncio.run(ask())
    assert (crowd.all, len(facts.nodes)) == (10_000, 10_000)
    assert 1 < crowd.most <= AT_ONCE


def test_help_imports_no_way_to_ask_and_probing_only_the_one_it_takes():
    code = "import sys, reconciler.cli.main; print([n for n in sys.modules if 'probes' in n or n in ('pynvml', 'asyncio', 'pydantic')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    late = ("pynvml", *(f"reconciler.probes.{name}" for name in ("ssh", "nvml", "local", "scrape", "shell")))
    code = f"import sys, reconciler.probes; print([n for n in sys.modules if n in {late!r}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
