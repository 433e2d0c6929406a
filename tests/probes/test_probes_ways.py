"""Which way a node is asked, what one run shares, and what a way that fails leaves."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import pytest

from reconciler.engines import Transport
from reconciler.fleet import GIB, CardFacts, CardSpec, NodeSpec, ProbeSpec
from reconciler.hosts import is_this_machine, run_bounded, this_machine
from reconciler.probes import sources
from reconciler.probes.here import process_table
from reconciler.probes.protocol import Seen, probe_error
from reconciler.probes.sources import CardSources, way_of

AT = "2026-01-01T00:00:00Z"


CARDS = (CardSpec(0, vram=8 * GIB),)


def node(address="elsewhere.example", via="auto", gpus=CARDS, **probe):
    return NodeSpec("a", address, gpus=gpus, ram=4 * GIB, probe=ProbeSpec(via, **probe))


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1", "127.3.2.1", "::1", "[::1]", "LOCALHOST"])
def test_this_machine_is_known_by_its_address(address):
    assert is_this_machine(node(address))


@pytest.mark.parametrize("address", ["192.0.2.7", "a.example", "0.0.0.0", "::", "2001:db8::1", "not an address"])
def test_another_machine_is_not_this_one(address):
    assert not is_this_machine(node(address))


def test_our_own_host_name_is_this_machine(monkeypatch):
    monkeypatch.setattr(this_machine, "_own_names", lambda: frozenset(("gpu-a.lan", "gpu-a")))
    assert is_this_machine(node("gpu-a"))
    assert not is_this_machine(node("gpu-b"))


@pytest.mark.parametrize("via", ["nvml", "ssh", "dcgm", "exporter", "declared", "none"])
def test_a_written_way_is_the_way(via):
    assert way_of(node("localhost", via, user="ops")) == via


def test_auto_is_nvml_here_ssh_where_a_user_is_given_and_else_what_is_declared(monkeypatch):
    monkeypatch.setattr(sources, "nvml_is_here", lambda: True)
    assert way_of(node("localhost")) == "nvml"
    assert way_of(node(user="ops")) == "ssh"
    assert way_of(node()) == "declared"
    monkeypatch.setattr(sources, "nvml_is_here", lambda: False)
    monkeypatch.setattr(sources, "tool_here", lambda: "/opt/rocm/bin/amd-smi")
    assert way_of(node("localhost")) == "local"
    monkeypatch.setattr(sources, "tool_here", lambda: None)
    assert way_of(node("localhost")) == "declared"


class Counting:
    name = "nvml"

    def __init__(self, error=None):
        self.looks, self.error = 0, error

    async def look(self, node, at):
        self.looks += 1
        if self.error:
            raise probe_error("no_driver", node.name, self.error, "load it")
        return Seen((CardFacts(0, "GPU-1", total_bytes=16 * GIB, used_bytes=0, source="nvml", at=at),), ("a note",), 9 * GIB)


def look(source, *nodes):
    async def ask():
        async with Transport() as transport:
            cards = CardSources(transport, AT)
            cards._sources["nvml"] = source
            return await asyncio.gather(*(cards.look(one) for one in nodes))

    return asyncio.run(ask())


def test_this_machine_is_asked_once_for_all_nodes_that_are_it():
    source = Counting()
    found = look(source, *(node("localhost", "nvml") for _ in range(50)))
    assert source.looks == 1
    assert {one.cards[0].total_bytes for one in found} == {16 * GIB}


def test_what_was_found_comes_with_source_time_ram_and_contradictions():
    (found,) = look(Counting(), node("localhost", "nvml"))
    assert (found.probe.via, found.probe.at, found.probe.reason, found.ram_bytes) == ("nvml", AT, None, 9 * GIB)
    assert found.probe.notes == ("a note", "card 0 has 16.0 GiB, declared are 8192 MiB")


def test_a_way_that_fails_leaves_the_declared_cards_and_the_reason():
    (found,) = look(Counting("there is no driver"), node("localhost", "nvml"))
    assert (found.cards[0].source, found.cards[0].assumed, found.ram_bytes) == ("declared", True, 4 * GIB)
    assert (found.probe.code, found.probe.reason) == ("no_driver", "there is no driver; load it")


def test_a_way_that_fails_where_nothing_is_declared_leaves_cards_unknown():
    (found,) = look(Counting("gone"), node("localhost", "nvml", gpus=None))
    assert found.cards is None


SMI_FAILED = r'printf "@@gpurec os\nLinux\n@@gpurec smi_csv\n%s\n@@gpurec smi_code\n9\n@@gpurec end\n"'


@pytest.mark.parametrize("script", [f"{SMI_FAILED} KEY", "echo banner KEY >&2; exit 255"])
def test_a_key_that_a_node_says_over_ssh_is_taken_out(tmp_path, monkeypatch, script):
    key = "a-key/of+some=length"
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\ncat >/dev/null\n{script.replace('KEY', key)}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    async def ask():
        async with Transport() as transport:
            transport.keys.add(key)
            return await CardSources(transport, AT).look(node(via="ssh"))

    reason = asyncio.run(ask()).probe.reason
    assert key not in reason
    assert "(the key)" in reason


TOLD = """echo "@@gpurec smi_csv"
echo "index, uuid, memory.total [MiB], memory.used [MiB]"
echo "0, GPU-1, 16384 MiB, 1024 MiB"
echo "@@gpurec smi_code"
echo 0
echo "@@gpurec ps"
"""


@pytest.mark.parametrize(
    ("then", "code"),
    [("exec sleep 60", "timeout"), ("echo unfinished; exit 255", "ssh_failed"), ("exec yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "too_large")],
)
def test_what_a_node_told_before_its_answer_was_cut_off_counts_and_the_rest_is_unknown(tmp_path, monkeypatch, then, code):
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\n{TOLD}{then}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    async def ask():
        async with Transport() as transport:
            return await CardSources(transport, AT).look(node(via="ssh", timeout=3.0 if code == "timeout" else 30.0))

    found = asyncio.run(ask())
    (card,) = found.cards
    assert (card.uuid, card.source, card.total_bytes, card.used_bytes) == ("GPU-1", "ssh", 16 * GIB, GIB)
    assert (found.probe.code, "what it was still to tell (after nvidia-smi) is unknown" in found.probe.reason) == (code, True)


OLD_DRIVER = """echo "@@gpurec smi_csv"
echo 'Field "mig.mode.current" is not a valid field to query.'
echo "@@gpurec smi_code"
echo 2
echo "@@gpurec smi_csv"
"""


@pytest.mark.parametrize("told", [TOLD.partition("echo 0")[0], OLD_DRIVER])
def test_an_answer_that_was_cut_off_before_a_tool_ended_tells_no_cards(tmp_path, monkeypatch, told):
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\n{told}exit 255\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    async def ask():
        async with Transport() as transport:
            return await CardSources(transport, AT).look(node(via="ssh", gpus=None))

    found = asyncio.run(ask())
    assert (found.cards, found.probe.code) == (None, "ssh_failed")


def test_a_program_that_prints_too_much_is_cut():
    ran = asyncio.run(run_bounded([sys.executable, "-c", "while True: print('x' * 4096)"], within=20, limit=100_000))
    assert (ran.cut, ran.code, len(ran.out)) == ("too_large", None, 100_000)


def test_a_program_that_hangs_is_killed_with_its_children():
    start = time.monotonic()
    ran = asyncio.run(run_bounded(["sh", "-c", "sleep 60 & sleep 60"], within=0.3))
    assert ran.cut == "timeout"
    assert time.monotonic() - start < 10


def test_a_background_process_that_keeps_the_pipe_open_does_not_hold_up_the_answer():
    start = time.monotonic()
    ran = asyncio.run(run_bounded(["sh", "-c", "sleep 30 & echo done"], within=20))
    assert (ran.code, ran.out) == (0, b"done\n")
    assert time.monotonic() - start < 10


def test_a_background_process_that_keeps_the_pipe_open_is_not_left_behind(tmp_path):
    held = tmp_path / "held"
    os.mkfifo(held)
    reading = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
    ran = asyncio.run(run_bounded(["sh", "-c", f"exec 9>{held}; sleep 600 & echo done"], within=20))
    assert (ran.code, ran.out) == (0, b"done\n")
    os.set_blocking(reading, True)
    assert os.read(reading, 1) == b""  # the end comes once nobody of it has it open
    os.close(reading)


def test_what_is_given_is_the_programs_input():
    assert asyncio.run(run_bounded(["cat"], within=10, give=b"text")).out == b"text"


def test_processes_are_followed_up_to_the_one_that_listens(tmp_path):
    def process(pid, parent, name, *sockets, cgroup="0::/user.slice"):
        folder = tmp_path / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "stat").write_text(f"{pid} ({name}) S {parent} 1 1")
        (folder / "cgroup").write_text(cgroup + "\n")
        for number, inode in enumerate(sockets):
            (folder / "fd" / str(number)).symlink_to(f"socket:[{inode}]")

    row = "   0: 0100007F:2CAA 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 777 1 0 100 0 0 10 0"
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text("  sl  local_address\n" + row + "\n")
    process(1, 0, "init")
    process(10, 1, "ollama serve) (", 777)
    process(20, 10, "llama-server", 777, cgroup="0::/system.slice/docker-" + "c0ffee42" * 8 + ".scope")
    table = process_table([20], [11434], tmp_path)
    assert (table.parents, table.listeners) == ({20: 10, 10: 1}, {11434: 10})
    assert table.names[10] == "ollama serve) ("
    assert table.containers == {20: "c0ffee42" * 8}
