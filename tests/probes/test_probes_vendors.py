"""Cards of two vendors in one node, chips that have the memory of their node, and answers that lack a card."""

from __future__ import annotations

import json

import pytest

from reconciler.fleet import GIB, MIB, CardFacts, CardProcess, CardSpec, EngineId, EngineKind, EngineSpec, NodeSpec
from reconciler.probes.accounting import account
from reconciler.probes.combine import combine
from reconciler.probes.protocol import ProbeError
from reconciler.probes.shell import seen_of
from reconciler.probes.vendors import alike, declared_as, told_apart

AT = "2026-01-01T00:00:00Z"
HEADING = "index, uuid, name, pci.bus_id, driver_version, memory.total [MiB], memory.used [MiB], utilization.gpu [%], memory.free [MiB]\n"
ROW = "{index}, GPU-{index}, NVIDIA GeForce RTX 3090, 00000000:0{index}:00.0, 570.86, 24576 MiB, 1200 MiB, 0 %, 23076 MiB\n"
NAVI = "Navi 31 [Radeon RX 7900 XT/7900 XTX]"


def seen(node=NodeSpec("a", "a"), **parts):  # noqa: B008 (frozen)
    return seen_of(parts, node, "ssh", AT)


def found(node, **parts):
    told = seen(node, **parts)
    return combine(node, told.cards, told.ram_bytes, told.lost, str(told.partly) if told.partly else None)


def of_nvidia(*indices):
    return {"smi_csv": HEADING + "".join(ROW.format(index=index) for index in indices), "smi_code": "0"}


def of_amd(memory, kind="GDDR6", target="gfx1100", name=NAVI, process=None):
    static = {"gpu": 0, "asic": {"market_name": name, "target_graphics_version": target}, "vram": {"type": kind}}
    parts = {
        "amd_list": [{"gpu": 0, "uuid": "aaff744c-0000"}],
        "amd_static": [static],
        "amd_metric": {"gpu_data": [{"gpu": 0, "mem_usage": {word: {"value": size, "unit": "MB"} for word, size in memory.items()}}]},
        "amd_process": [{"gpu": 0, "process_list": [{"process_info": process}] if process else []}],
    }
    return {part: json.dumps(document) for part, document in parts.items()}


DISCRETE = of_amd({"total_vram": 24560, "used_vram": 800, "total_gtt": 64000, "used_gtt": 20})
SHARED = {"total_vram": 512, "used_vram": 170, "free_vram": 342, "total_gtt": 126976, "used_gtt": 60211, "free_gtt": 66765}


def test_where_two_vendors_give_one_index_a_card_is_called_by_its_vendor():
    cards = seen(**of_nvidia(0, 1), **DISCRETE).cards
    assert [(card.index, card.number, card.uuid) for card in cards] == [
        ("nvidia0", 0, "GPU-0"),
        ("nvidia1", 1, "GPU-1"),
        ("amd0", 2, "aaff744c-0000"),
    ]
    assert [card.index for card in seen(**of_nvidia(0)).cards] == [0]
    assert [card.index for card in told_apart({"nvidia": [CardFacts(1)], "amd": [CardFacts(0)]})] == [1, 0]


def test_a_card_is_meant_by_its_id_its_number_and_its_uuid():
    card = CardFacts("amd0", uuid="x", number=1, mig_parent="y")
    assert [card.is_named_in(marks) for marks in (None, ("amd0",), (1,), ("x",), ("y",), (0, "nvidia0"), ())] == [True] * 5 + [False] * 2


def test_the_inventory_says_by_name_which_index_it_means_where_two_vendors_collide():
    specs = (CardSpec(0, name="RX 7900 XTX", vram=24 * GIB), CardSpec(1, name="RTX 3090", vram=24 * GIB))
    cards, notes = found(NodeSpec("a", "a", gpus=specs), **of_nvidia(0), **DISCRETE)
    assert [(card.index, card.number) for card in cards] == [("nvidia0", 1), ("amd0", 0)]
    assert notes == ()
    by_order = declared_as(cards, (CardSpec(0), CardSpec(1)))
    assert [card.number for card in by_order] == [1, 0]
    (first, second) = declared_as(told_apart({"nvidia": [CardFacts(0)], "amd": [CardFacts(0)]}), (CardSpec("amd0"),))
    assert (first.number, second.number, second.declared_in((CardSpec("amd0"),))) == (0, 1, CardSpec("amd0"))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (NAVI, "RX 7900 XTX", True),
        (NAVI, "RX 7900 XT", True),
        (NAVI, "RX 7800 XT", False),
        ("NVIDIA GeForce RTX 3090", "RTX 3090", True),
        ("NVIDIA GeForce RTX 3090", None, False),
    ],
)
def test_names_of_one_card(one, other, same):
    assert alike(one, other) is same


def test_a_chip_that_shares_memory_has_what_it_may_map_too_and_a_card_of_its_own_has_not():
    process = {
        "pid": 7,
        "name": "llama-server",
        "memory_usage": {"gtt_mem": {"value": 9, "unit": "B"}, "vram_mem": {"value": 4, "unit": "B"}},
    }
    (card,), _ = found(NodeSpec("a", "a"), **of_amd(SHARED, "LPDDR5", "gfx1151", "AMD Radeon Graphics", process))
    assert (card.unified, card.total_bytes, card.used_bytes) == (True, 127488 * MIB, 60381 * MIB)
    assert [one.used_bytes for one in card.processes] == [13]
    assert "512 MiB of VRAM and 124.0 GiB of GTT" in card.total_from
    (own,) = seen(**DISCRETE).cards
    assert (own.unified, own.total_bytes, own.used_bytes) == (None, 24560 * MIB, 800 * MIB)


def test_the_declaration_wins_on_a_chip_that_shares_memory_and_the_sentence_says_which_and_why():
    node = NodeSpec("a", "a", gpus=(CardSpec(0, name="Radeon 8060S", vram=96 * GIB),))
    (card,), notes = found(node, **of_amd(SHARED, "LPDDR5", "gfx1151", "AMD Radeon Graphics"))
    assert (card.name, card.total_bytes, notes) == ("Radeon 8060S", 96 * GIB, ())
    assert card.total_from == (
        "card 0 (AMD Radeon Graphics) shares the node's memory: its 96.0 GiB are those that are declared; "
        "ssh tells 512 MiB of VRAM and 124.0 GiB of GTT"
    )


def test_rocm_smi_tells_what_a_chip_may_map_by_its_target():
    row = {"GFX Version": "gfx1103", "VRAM Total Memory (B)": str(4 * GIB), "VRAM Total Used Memory (B)": str(GIB)}
    row |= {"GTT Total Memory (B)": str(12 * GIB), "GTT Total Used Memory (B)": "0", "Card Series": "AMD Radeon 780M"}
    (card,) = seen(rocm=json.dumps({"card0": row})).cards
    assert (card.unified, card.total_bytes, card.used_bytes) == (True, 16 * GIB, GIB)


@pytest.mark.parametrize("name", ["NVIDIA GB10", "Orin (nvgpu)", "NVIDIA Thor", "NVIDIA N1X"])
def test_nvidias_chips_without_memory_of_their_own_have_a_share_of_the_nodes(name):
    row = f"index, uuid, name, memory.total [MiB], memory.used [MiB]\n0, GPU-1, {name}, [N/A], [N/A]\n"
    (card,), _ = found(NodeSpec("a", "a"), smi_csv=row, smi_code="0", meminfo="MemTotal:       125829120 kB")
    assert (card.unified, card.total_bytes, card.assumed) == (True, 90 * GIB, True)
    assert "0.75 of the node's RAM" in card.total_from
    document = f'<?xml version="1.0"?><log><gpu><product_name>{name}</product_name></gpu></log>'
    (log,) = seen(smi_csv="", smi_code="2", smi_xml=document).cards
    assert log.unified is True


def test_a_jetson_without_any_tool_has_its_chip():
    (card,), _ = found(NodeSpec("a", "a"), board="NVIDIA Jetson AGX Xavier", meminfo="MemTotal: 33554432 kB")
    assert (card.name, card.total_bytes) == ("NVIDIA Jetson AGX Xavier", 24 * GIB)


def test_a_mac_without_an_apple_chip_is_not_known_to_have_no_card():
    display = {"SPDisplaysDataType": [{"sppci_model": "AMD Radeon Pro 5500M", "spdisplays_vram": "8 GB"}]}
    with pytest.raises(ProbeError, match="AMD Radeon Pro 5500M") as caught:
        seen(os="Darwin", profiler=json.dumps(display))
    assert caught.value.code == "no_tool"
    assert seen(NodeSpec("a", "a", gpus=()), os="Darwin", profiler=json.dumps(display)).cards == ()


FOUR = NodeSpec("a", "a", gpus=tuple(CardSpec(index, vram=24 * GIB) for index in range(4)))


def test_a_card_that_nvidia_smi_cannot_reach_is_there_with_its_fault_and_no_contradiction():
    said = of_nvidia(0, 1, 3)
    said["smi_csv"] += "Unable to determine the device handle for GPU2: 0000:02:00.0: GPU is lost.  Reboot the system to recover this GPU\n"
    cards, notes = found(FOUR, **said, pci="\n".join(f"0x10de 0000:0{bus}:00.0 nvidia" for bus in range(4)))
    assert notes == ()
    assert [(card.index, card.total_bytes) for card in cards if card.fault] == [(2, 24 * GIB)]
    assert next(card.fault for card in cards if card.fault).startswith("nvidia-smi: Unable to determine the device handle for GPU2")


def test_a_card_on_the_bus_of_which_the_tool_is_silent_is_there_with_its_fault_though_nobody_declared_it():
    pci = "\n".join(f"0x10de 0000:0{bus}:00.0 {driver}" for bus, driver in ((0, "nvidia"), (1, "nvidia"), (2, "vfio-pci")))
    cards, _ = found(NodeSpec("a", "a"), **of_nvidia(0), pci=pci)
    assert [(card.index, card.fault) for card in cards] == [
        (0, None),
        (1, "the card at 0000:01:00.0 is on the bus, and nvidia-smi does not tell of it"),
    ]


def test_no_devices_where_one_is_on_the_bus_is_a_lost_card():
    cards, _ = found(NodeSpec("a", "a"), smi_csv="No devices were found", smi_code="6", pci="0x10de 0000:01:00.0 nvidia")
    assert [(card.index, bool(card.fault)) for card in cards] == [(0, True)]


def test_one_vendors_tool_that_fails_leaves_the_others_cards_and_names_what_failed():
    told = seen(smi_csv="Failed to initialize NVML: Driver/library version mismatch", smi_code="18", **DISCRETE)
    assert ([card.index for card in told.cards], told.partly.code) == ([0], "driver_mismatch")
    other = seen(**of_nvidia(0), amd_metric="", amd_code="124")
    assert ([card.index for card in other.cards], other.partly.code) == ([0], "timeout")


def test_declared_cards_that_a_failed_tool_did_not_tell_are_at_fault_and_not_the_inventory():
    node = NodeSpec("a", "a", gpus=(CardSpec(0, name="RTX 3090"), CardSpec(1, name="RX 7900 XTX")))
    cards, notes = found(node, **of_nvidia(0), amd_metric="", amd_code="1")
    assert (notes, [(card.index, bool(card.fault)) for card in cards]) == ((), [(0, False), (1, True)])


ENGINES = (EngineSpec(EngineId("a", "o"), EngineKind.OLLAMA, "http://a:11434"),)


def test_what_others_are_seen_to_hold_counts_though_the_use_of_the_card_is_unknown():
    processes = (CardProcess(1, "python3", 5 * GIB), CardProcess(2, "/usr/bin/ollama", 7 * GIB), CardProcess(3, None, 2 * GIB))
    card = CardFacts(0, total_bytes=96 * GIB, foreign_bytes=GIB, processes=processes)
    (got,) = account([card], ENGINES, {})
    assert (got.used_bytes, got.foreign_bytes, got.assumed) == (None, 7 * GIB, True)
    either = (*ENGINES, EngineSpec(EngineId("a", "p"), EngineKind.OLLAMA, "http://a:11435"))
    assert account([card], either, {})[0].foreign_bytes == 5 * GIB


def test_ids_of_cards_are_unique_though_one_tool_gives_an_index_or_a_card_twice() -> None:
    one, other = CardFacts(0, "GPU-a", "card", GIB), CardFacts(0, "GPU-b", "card", GIB)
    cards, notes = combine(NodeSpec("a", "a"), [one, other, CardFacts(1, "GPU-a", "card", GIB), CardFacts(0, None, "card", GIB)], None)
    assert [(card.index, card.uuid) for card in cards] == [(0, "GPU-a"), ("0-2", "GPU-b"), ("0-3", None)]
    assert notes == (
        "two cards are told as card 0: GPU-b is called 0-2",
        "card 0 (GPU-a) is told twice, also as card 1",
        "two cards are told as card 0: the later is called 0-3",
    )
    slices = [CardFacts(f"0:{number}", "GPU-a", "slice", GIB, mig_parent="GPU-a") for number in range(2)]
    assert len(combine(NodeSpec("a", "a"), slices, None)[0]) == 2  # some drivers name the parent
