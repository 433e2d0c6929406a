"""Vendors' tools, by the shapes that their releases print: nvidia-smi, amd-smi, rocm-smi, Apple's."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from reconciler.fleet import GIB, MIB, CardSpec, NodeSpec
from reconciler.probes.protocol import ProbeError
from reconciler.probes.script import SCRIPT, sections
from reconciler.probes.shell import seen_of

AT = "2026-01-01T00:00:00Z"
DATA = Path(__file__).parent / "data"
CSV, XML = (DATA / "two-cards.csv").read_text(), (DATA / "two-cards.xml").read_text()
NODE = NodeSpec("a", "a")


def seen(node=NODE, **parts):
    return seen_of(parts, node, "ssh", AT)


def test_the_answer_to_a_query_and_the_log_are_one_card():
    first, second = seen(smi_csv=CSV, smi_code="0", smi_xml=XML).cards
    assert (first.name, first.source, first.at) == ("NVIDIA GeForce RTX 4080 SUPER", "ssh", AT)
    assert (first.total_bytes, first.used_bytes, first.reserved_bytes) == (16376 * MIB, 596 * MIB, 434 * MIB)
    assert (first.temperature, first.power, first.power_limit, first.utilisation) == (55.0, 33.12, 320.0, 0.07)
    assert (first.driver, first.cuda, first.compute_capability, first.bfloat16) == ((595, 71, 5), (13, 2), (8, 9), True)
    assert (first.throttle, first.ecc_errors) == ((), None)
    assert [(one.pid, one.name, one.used_bytes) for one in first.processes] == [
        (1860, "/usr/lib/xorg/Xorg", 96 * MIB),
        (2020, "/usr/local/bin/ollama", 500 * MIB),
    ]
    assert (second.throttle, second.ecc_errors, second.processes, second.utilisation) == (
        ("sw_power_cap", "hw_thermal_slowdown"),
        2,
        (),
        0.0,
    )


def test_either_alone_is_enough():
    by_query, by_log = seen(smi_csv=CSV, smi_code="0").cards, seen(smi_csv="Field is not a valid field", smi_code="2", smi_xml=XML).cards
    assert [card.uuid for card in by_query] == [card.uuid for card in by_log]
    assert (by_query[0].processes, by_query[0].cuda) == (None, None)
    assert (by_log[0].used_bytes, by_log[0].compute_capability, by_log[1].total_bytes) == (596 * MIB, None, None)


def test_an_old_driver_that_knows_fewer_fields_leaves_the_rest_unknown():
    old = "index, uuid, name, driver_version, memory.total [MiB], memory.used [MiB]\n0, GPU-1, Tesla K80, 470.82.01, 11441 MiB, 0 MiB\n"
    (card,) = seen(smi_csv=old, smi_code="0").cards
    assert (card.driver, card.used_bytes, card.compute_capability, card.temperature) == ((470, 82, 1), 0, None, None)


def test_a_slice_has_its_own_memory_processes_and_uuid():
    parts = {"smi_csv": "", "smi_code": "0", "smi_xml": (DATA / "mig.xml").read_text(), "smi_list": (DATA / "mig.list").read_text()}
    first, second = seen(**parts).cards
    assert [(card.index, card.name, card.uuid) for card in (first, second)] == [
        (100, "NVIDIA H200 MIG 3g.71gb", "MIG-2b6d0000-0000-0000-0000-000000000000"),
        (101, "NVIDIA H200 MIG 1g.18gb", "MIG-9f010000-0000-0000-0000-000000000000"),
    ]
    assert (second.total_bytes, second.used_bytes, second.mig_parent) == (
        17856 * MIB,
        1024 * MIB,
        "GPU-5c4b0000-0000-0000-0000-000000000000",
    )
    assert ([one.pid for one in first.processes], [one.pid for one in second.processes]) == ([], [77])
    assert (first.temperature, first.utilisation, first.unified) == (34.0, None, None)


def test_mig_mode_without_slices_is_told():
    xml = "<?xml version='1.0'?><nvidia_smi_log><gpu><mig_mode><current_mig>Enabled</current_mig></mig_mode></gpu></nvidia_smi_log>"
    found = seen(smi_csv="", smi_code="0", smi_xml=xml)
    assert (found.cards, len(found.notes)) == ((), 1)


def test_memory_that_is_not_there_is_the_nodes_own():
    row = "index, uuid, name, memory.total [MiB], memory.used [MiB]\n0, GPU-1, NVIDIA GB10, [N/A], [N/A]\n"
    (card,) = seen(smi_csv=row, smi_code="0").cards
    assert (card.unified, card.total_bytes, card.assumed) == (True, None, True)


def test_a_lost_card_is_there_with_its_fault():
    row = "index, uuid, name, memory.total [MiB]\n0, GPU-1, [GPU is lost], [GPU is lost]\n"
    (card,) = seen(smi_csv=row, smi_code="0").cards
    assert "lost" in card.fault
    assert (card.total_bytes, card.unified) == (None, None)


def test_the_last_xid_of_a_card_is_that_of_the_kernels_log():
    log = "[1.0] NVRM: Xid (PCI:0000:c1:00): 31, pid=1\n[2.0] NVRM: Xid (PCI:0000:c1:00): 79, GPU has fallen off the bus.\n"
    assert [card.xid for card in seen(smi_csv=CSV, smi_code="0", xid=log + "readable").cards] == [0, 79]
    assert [card.xid for card in seen(smi_csv=CSV, smi_code="0", xid=log).cards] == [None, 79]
    assert [card.xid for card in seen(smi_csv=CSV, smi_code="0").cards] == [None, None]


@pytest.mark.parametrize("bomb", ['<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "<?xml ?><unclosed", "no xml"])
def test_a_log_that_is_none_is_not_read(bomb):
    assert [card.cuda for card in seen(smi_csv=CSV, smi_code="0", smi_xml=bomb).cards] == [None, None]


@pytest.mark.parametrize(
    ("code", "said", "word"),
    [
        ("9", "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", "no_driver"),
        ("18", "Failed to initialize NVML: Driver/library version mismatch", "driver_mismatch"),
        ("124", "", "timeout"),
        ("1", "Segmentation fault\x1b[0m", "smi_failed"),
    ],
)
def test_a_tool_that_cannot_tell_says_why(code, said, word):
    with pytest.raises(ProbeError) as caught:
        seen(smi_csv=said, smi_code=code)
    assert caught.value.code == word
    assert "\x1b" not in str(caught.value)


def test_no_tool_is_not_no_card_unless_its_owner_says_that_it_has_none():
    with pytest.raises(ProbeError, match="no nvidia-smi"):
        seen(pci="0x10de 0000:01:00.0")
    assert seen(pci="0x10de 0000:01:00.0 vfio-pci", smi_code="6", smi_csv="No devices were found").cards == ()
    with pytest.raises(ProbeError, match="whether it has a card is not known; write `gpus: \\[\\]`"):
        seen(pci="0x1a03 0000:02:00.0 ast")
    assert seen(NodeSpec("a", "a", gpus=()), pci="0x1a03 0000:02:00.0 ast").cards == ()
    with pytest.raises(ProbeError, match="cards are declared"):
        seen(NodeSpec("a", "a", gpus=(CardSpec(0),)))


def entry(value, unit):
    return {"value": value, "unit": unit}


AMD = {
    "amd_list": [{"gpu": 0, "bdf": "0000:03:00.0", "uuid": "6bff74b5-0000-1000-80a8-000000000000"}],
    "amd_static": [
        {"gpu": 0, "asic": {"market_name": "MI300X", "target_graphics_version": "gfx942"}, "vram": {"size": entry(196592, "MB")}}
    ],
    "amd_metric": [
        {
            "gpu": 0,
            "usage": {"gfx_activity": entry(3, "%")},
            "power": {"socket_power": entry(143, "W")},
            "temperature": {"edge": "N/A", "hotspot": entry(45, "C")},
            "mem_usage": {"total_vram": entry(196592, "MB"), "used_vram": entry(285, "MB")},
        }
    ],
    "amd_process": [
        {"gpu": 0, "process_list": [{"process_info": {"name": "ollama", "pid": 9, "memory_usage": {"vram_mem": entry(7, "B")}}}]}
    ],
}


@pytest.mark.parametrize("shape", [lambda one: one, lambda one: {"gpu_data": one}, lambda one: one[0]], ids=["list", "wrapped", "bare"])
def test_amd_smi_in_each_of_its_shapes(shape):
    (card,) = seen(**{name: "a warning\n" + json.dumps(shape(document)) for name, document in AMD.items()}).cards
    assert (card.name, card.total_bytes, card.used_bytes) == ("MI300X", 196592 * MIB, 285 * MIB)
    assert (card.temperature, card.power, card.utilisation, card.bfloat16) == (45.0, 143.0, 0.03, True)
    assert [(one.pid, one.name, one.used_bytes) for one in card.processes] == [(9, "ollama", 7)]


@pytest.mark.parametrize(("part", "tool"), [("amd_metric", "amd-smi"), ("rocm", "rocm-smi")])
def test_an_amd_tool_that_fails_is_not_a_node_without_cards(part, tool):
    assert seen(**{part: "[]", "amd_code": "0\n"}).cards == ()
    with pytest.raises(ProbeError, match=f"{tool} ended with 255 and told no card") as caught:
        seen(**{part: "", "amd_code": "255\n"})
    assert caught.value.code == "smi_failed"
    with pytest.raises(ProbeError, match=f"{tool} did not answer within 8 s") as caught:
        seen(**{part: "", "amd_code": "124\n"})
    assert caught.value.code == "timeout"


def test_rocm_smi_has_bytes_as_texts_and_keys_of_any_case():
    document = {
        "card0": {
            "GPU use (%)": "0", "VRAM Total Memory (B)": "17163091968", "VRAM Total Used Memory (B)": "10854400", "GFX Version": "gfx1030",
            "Temperature (Sensor edge) (C)": "37.0", "Average Graphics Package Power (W)": "12.0", "Card series": "RX 6800 XT",
        },
        "system": {"Driver version": "6.8.5"},
    }  # fmt: skip
    (card,) = seen(rocm="WARNING: no\n" + json.dumps(document)).cards
    assert (card.name, card.total_bytes, card.used_bytes, card.driver) == ("RX 6800 XT", 17163091968, 10854400, (6, 8, 5))
    assert (card.temperature, card.power, card.utilisation, card.bfloat16) == (37.0, 12.0, 0.0, False)


@pytest.mark.parametrize("noise", ["", "null", "[]", "[1]", "{", '{"gpu_data": 1}', "N/A", "[" * 100_000])
def test_json_of_another_shape_is_no_card(noise):
    assert seen(amd_metric=noise, amd_static=noise, amd_list=noise).cards == ()
    assert seen(rocm=noise).cards == ()


PROFILER = json.dumps(
    {"SPDisplaysDataType": [{"_name": "Apple M3 Max", "sppci_model": "Apple M3 Max", "spdisplays_vendor": "sppci_vendor_Apple"}]}
)


def test_apples_card_shares_the_ram_and_takes_the_limit_that_is_set():
    found = seen(os="Darwin", profiler=PROFILER, sysctl=f"hw.memsize: {64 * GIB}\niogpu.wired_limit_mb: 0")
    assert (found.ram_bytes, found.cards[0].name, found.cards[0].unified, found.cards[0].total_bytes) == (
        64 * GIB,
        "Apple M3 Max",
        True,
        None,
    )
    limited = seen(os="Darwin", profiler=PROFILER, sysctl=f"hw.memsize: {64 * GIB}\niogpu.wired_limit_mb: 57344").cards[0]
    assert limited.total_bytes == 56 * GIB
    busy = seen(
        os="Darwin", profiler=PROFILER, ioreg='"PerformanceStatistics" = {"In use system memory"=123,"Device Utilization %"=40}'
    ).cards[0]
    assert (busy.used_bytes, busy.utilisation) == (123, 0.4)


def test_processes_ports_memory_and_clock_come_along():
    found = seen(
        smi_csv=CSV, smi_code="0", clock="1795000000", meminfo="MemTotal:       32768 kB\nMemFree: 1 kB",
        ps="    1     0 init\n 2020  2000 ollama\n 2000     1 ollama",
        ss='LISTEN 0 4096 127.0.0.1:11434 0.0.0.0:* users:(("ollama",pid=2000,fd=3))\nLISTEN 0 5 [::]:22 [::]:*',
        cgroup="2020 0::/system.slice/docker-" + "ab" * 32 + ".scope",
    )  # fmt: skip
    assert (found.ram_bytes, found.clock) == (32 * MIB, 1795000000.0)
    assert (found.table.parents[2020], found.table.listeners, found.table.containers) == (2000, {11434: 2000}, {2020: "ab" * 32})


def test_what_a_login_shell_says_before_the_script_is_left_out_and_the_last_try_counts():
    text = "Welcome!\n@@gpurec smi_csv\nfirst\n\n@@gpurec smi_csv\nsecond\n@@gpurec end\n"
    assert sections(text) == {"smi_csv": "second", "end": ""}


def test_the_script_changes_nothing():
    words = SCRIPT.split()
    assert not {"rm", "sudo", "kill", "modprobe", "--gpu-reset", "tee", "-pm"} & set(words)


CARD = "@@gpurec smi_csv\nindex, uuid\n0, GPU-1\n@@gpurec smi_code\n0\n"
HOSTILE = {
    "a csv field without end": "@@gpurec smi_csv\nindex, uuid\n0, " + "x" * 140_000 + "\n0, GPU-1\n@@gpurec smi_code\n0",
    "a bus in a field without end": "@@gpurec smi_csv\nindex, uuid, name, pci.bus_id\n1, b, c, "
    + "0" * 140_000
    + "\n0, GPU-1, n, b\n@@gpurec smi_code\n0",
    "a card of 400 digits": '@@gpurec amd_metric\n[{"gpu": 1' + "0" * 400 + '}, {"gpu": 0}]\n@@gpurec amd_code\n0',
    "a size of 5,000 digits": '@@gpurec amd_metric\n[{"gpu": 0, "mem_usage": {"total_vram": "'
    + "9" * 5000
    + ' MB"}}]\n@@gpurec amd_code\n0',
    "processes of 5,000 digits": CARD + "@@gpurec ps\n" + "9" * 5000 + " 1 x\n1 " + "9" * 5000 + " x",
    "ports and listeners of 5,000 digits": CARD + f"@@gpurec ss\nLISTEN 0 1 a:{'9' * 5000} x pid=1\nLISTEN 0 1 a:80 x pid={'9' * 5000}",
    "memory of 5,000 digits": CARD + "@@gpurec meminfo\nMemTotal: " + "9" * 5000 + " kB",
    "a clock of 5,000 digits": CARD + "@@gpurec clock\n" + "9" * 5000,
    "a mask of 5,000 digits": CARD.replace("uuid\n", "uuid, clocks_event_reasons.active\n").replace(
        "GPU-1\n", "GPU-1, 0x" + "f" * 5000 + "\n"
    ),
    "a container of 5,000 digits": CARD + "@@gpurec cgroup\n" + "9" * 5000 + " 0::/docker/" + "a" * 64,
}


@pytest.mark.parametrize("said", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_no_tool_would_say_costs_its_own_fact_and_not_the_node(said):
    found = seen_of(sections("@@gpurec os\nLinux\n" + said + "\n@@gpurec end\n"), NODE, "ssh", AT)
    assert [card.index for card in found.cards] == [0]
    assert (found.ram_bytes, found.clock) == (None, None)
    table = found.table
    assert all(number < 10**10 for one in (table.parents, table.listeners, table.containers) for number in one)


def test_a_use_of_five_thousand_digits_is_unknown():
    display = json.dumps({"SPDisplaysDataType": [{"sppci_model": "Apple M3", "spdisplays_vendor": "sppci_vendor_Apple"}]})
    ioreg = '"In use system memory" = ' + "9" * 5000 + '\n"Device Utilization %" = ' + "9" * 5000
    (card,) = seen(os="Darwin", profiler=display, ioreg=ioreg, sysctl="hw.memsize: " + "9" * 5000).cards
    assert (card.used_bytes, card.utilisation) == (None, None)


def test_no_tool_can_read_the_rest_of_the_script(tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\ncat >/dev/null\n")
    tool.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    ran = subprocess.run(["sh", "-s"], input=SCRIPT, capture_output=True, text=True, timeout=60, check=True, env={"PATH": path})
    assert {"smi_code", "ps", "end"} <= sections(ran.stdout).keys()


@pytest.mark.parametrize("said", ['[{"gpu": 1' + "0" * 400 + "}]", '[{"card": 0}]', '{"gpu_data": [{"gpu": "one"}]}'])
def test_cards_of_amd_smi_that_are_not_understood_are_not_absent(said):
    with pytest.raises(ProbeError, match="not understood"):
        seen(amd_metric=said, amd_code="0")
    assert seen(amd_metric="[]", amd_list="", amd_code="0").cards == ()
