"""This machine's own tools, as programs on PATH: what they say is read, and what they do wrong is bounded and told."""

from __future__ import annotations

import asyncio
import json
import stat
import time

import pytest

from reconciler.engines import Transport
from reconciler.fleet import GIB, MIB, CardSpec, NodeSpec, ProbeSpec
from reconciler.probes import here, sources
from reconciler.probes.here import tool_here
from reconciler.probes.local import Local
from reconciler.probes.protocol import ProbeError
from reconciler.probes.sources import CardSources

AT = "2026-01-01T00:00:00Z"


def node(timeout=10.0, gpus=None):
    return NodeSpec("a", "localhost", gpus=gpus, probe=ProbeSpec(timeout=timeout))


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Makes programs, each a script of sh, that are the only ones on PATH."""
    monkeypatch.setattr(here, "_FOLDERS", ())
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/nowhere")

    def make(name, script):
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return make


def answering(**answers):
    """A script that answers by its first argument, and refuses what it was not told."""
    cases = "\n".join(f"{name}) printf '%s' '{json.dumps(answer)}';;" for name, answer in answers.items())
    return f'case "$1" in\n{cases}\n*) echo "unknown $*" >&2; exit 2;;\nesac'


def look(of, platform="linux"):
    return asyncio.run(Local(platform).look(of, AT))


def of(value, unit):
    return {"value": value, "unit": unit}


AMD = answering(
    metric=[{"gpu": 0, "mem_usage": {"total_vram": of(16384, "MB"), "used_vram": of(300, "MB")}, "temperature": {"edge": of(41, "C")}}],
    list=[{"gpu": 0, "uuid": "6eff-1"}],
    static=[{"gpu": 0, "asic": {"market_name": "Radeon RX 7800 XT", "target_graphics_version": "gfx1101"}}],
)


def test_a_key_that_a_tool_says_is_taken_out(tools):
    tools("amd-smi", answering(list=[{"gpu": 0, "uuid": "a-key-of-some-length"}]))

    def clean(said):
        return said.replace(b"a-key-of-some-length", b"(the key)")

    ran = asyncio.run(Local("linux", clean)._run(["amd-smi", "list"], node()))
    assert ran.out == b'[{"gpu": 0, "uuid": "(the key)"}]'


def test_amd_smi_of_this_machine_tells_its_cards(tools):
    tools("amd-smi", AMD)
    (card,) = look(node()).cards
    assert (card.name, card.total_bytes, card.used_bytes, card.source) == ("Radeon RX 7800 XT", 16 * GIB, 300 * MIB, "local")
    assert (card.temperature, card.bfloat16, card.assumed) == (41.0, True, False)


def test_rocm_smi_is_asked_where_there_is_no_amd_smi(tools):
    card = {"VRAM Total Memory (B)": str(8 * GIB), "VRAM Total Used Memory (B)": "1048576", "Card series": "Radeon VII"}
    tools("rocm-smi", f"printf '%s' '{json.dumps({'card0': card})}'")
    (found,) = look(node()).cards
    assert (found.name, found.total_bytes, found.used_bytes) == ("Radeon VII", 8 * GIB, MIB)


def test_on_a_mac_system_profiler_tells_the_chip_and_sysctl_the_memory(tools):
    display = {"SPDisplaysDataType": [{"sppci_model": "Apple M2 Max", "spdisplays_vendor": "sppci_vendor_Apple"}]}
    tools("system_profiler", f"printf '%s' '{json.dumps(display)}'")
    tools("sysctl", "echo hw.memsize: 68719476736; echo iogpu.wired_limit_mb: 0")
    tools("ioreg", 'echo \'"PerformanceStatistics" = {"In use system memory"=1073741824,"Device Utilization %"=7}\'')
    assert tool_here("darwin") is not None
    seen = look(node(), "darwin")
    (card,) = seen.cards
    assert (card.name, card.unified, card.used_bytes, card.utilisation, seen.ram_bytes) == ("Apple M2 Max", True, GIB, 0.07, 64 * GIB)


def test_a_tool_that_fails_is_told_and_is_not_a_machine_without_cards(tools):
    tools("amd-smi", "echo 'AMDSMI_STATUS_NOT_INIT: driver not loaded' >&2; exit 1")
    with pytest.raises(ProbeError, match="amd-smi: AMDSMI_STATUS_NOT_INIT: driver not loaded") as caught:
        look(node())
    assert caught.value.code == "smi_failed"


def test_a_tool_that_hangs_costs_the_deadline_and_no_more(tools):
    tools("amd-smi", "exec /bin/sleep 60")
    began = time.monotonic()
    with pytest.raises(ProbeError, match=r"did not answer within 0\.3 s") as caught:
        look(node(timeout=0.3))
    assert caught.value.code == "timeout"
    assert time.monotonic() - began < 10


def test_a_tool_that_never_stops_talking_is_cut_off(tools):
    tools("rocm-smi", "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done")
    with pytest.raises(ProbeError, match="answered more than 8 MiB"):
        look(node())


def test_auto_asks_this_machine_s_own_tools_once_for_all_its_nodes(tools, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "nvml_is_here", lambda: False)
    tools("amd-smi", f"echo x >>{tmp_path}/asked\n{AMD}")

    async def ask():
        async with Transport() as transport:
            cards = CardSources(transport, AT)
            return await asyncio.gather(cards.look(node()), cards.look(node()))

    first, second = asyncio.run(ask())
    assert [look.probe.via for look in (first, second)] == ["local", "local"]
    assert first.cards == second.cards
    assert (tmp_path / "asked").read_text().count("x") == 5


def test_what_is_declared_stands_where_a_tool_fails(tools, monkeypatch):
    monkeypatch.setattr(sources, "nvml_is_here", lambda: False)
    tools("amd-smi", "exit 1")

    async def ask():
        async with Transport() as transport:
            return await CardSources(transport, AT).look(node(gpus=(CardSpec(0, vram=8 * GIB),)))

    found = asyncio.run(ask())
    assert (found.cards[0].total_bytes, found.cards[0].assumed, found.probe.code) == (8 * GIB, True, "smi_failed")


def test_the_tool_of_this_machine_is_looked_for_once_however_many_nodes_it_is(tools, monkeypatch):
    tools("amd-smi", AMD)
    looked = []
    which = here.shutil.which
    monkeypatch.setattr(here.shutil, "which", lambda name, path=None: looked.append(name) or which(name, path=path))
    assert {sources.way_of(NodeSpec(f"n{number}", f"127.0.1.{number}")) for number in range(50)} <= {"local", "nvml"}
    assert len(looked) <= 1
