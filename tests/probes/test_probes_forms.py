"""Outputs in the very forms that tools printed on real machines: names of elements, fields and families, and the odd words for nothing.

Names and typical values: public captures of nvidia-smi 525 to 610, rocm-smi of ROCm 5.7 to 6.1, amd-smi of ROCm 6.3 to 7.2, dcgm-exporter
3.3 and 4, nvidia_gpu_exporter 1. Serial numbers and UUIDs are made up.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.fleet import MIB, NodeSpec
from reconciler.probes.dcgm import cards_of_dcgm
from reconciler.probes.exporter import cards_of_exporter
from reconciler.probes.protocol import ProbeError
from reconciler.probes.shell import seen_of

AT = "2026-01-01T00:00:00Z"
FORMS = Path(__file__).parent / "data" / "forms"


def form(name):
    return (FORMS / name).read_text()


def seen(**parts):
    return seen_of(parts, NodeSpec("a", "a"), "ssh", AT)


def log(name, **more):
    return seen(smi_csv="", smi_code="0", smi_xml=form(name), **more)


def test_a_log_of_driver_575_with_deprecated_functions_and_odd_processes():
    (card,) = log("geforce-575.xml").cards
    assert (card.name, card.driver, card.cuda) == ("NVIDIA GeForce RTX 4070 Laptop GPU", (575, 51, 2), (12, 9))
    assert (card.total_bytes, card.used_bytes, card.reserved_bytes) == (8188 * MIB, 2026 * MIB, 390 * MIB)
    assert (card.power, card.power_limit, card.temperature, card.utilisation) == (11.26, 95.0, 41.0, 0.3)
    assert (card.throttle, card.fault, card.mig_parent) == (("sw_power_cap",), None, None)
    assert [(one.pid, one.used_bytes) for one in card.processes] == [(19044, 52 * MIB), (20087, 958 * MIB), (20088, None)]
    assert [one.name is None for one in card.processes] == [False, True, True]


def test_a_log_of_driver_525_with_the_older_names():
    (card,) = log("pascal-525.xml").cards
    assert (card.driver, card.cuda, card.power, card.power_limit) == ((525, 147, 5), None, 39.1, 180.0)
    assert card.throttle == ("hw_slowdown", "hw_thermal_slowdown")
    assert [(one.pid, one.name, one.used_bytes) for one in card.processes] == [(200870, None, 958 * MIB)]


def test_slices_of_a_log_and_two_compute_instances_that_share_their_memory():
    first, second = log("a100-mig-535.xml", smi_list=form("a100-mig.list")).cards
    assert [(card.index, card.total_bytes, card.used_bytes) for card in (first, second)] == [
        (100, 19968 * MIB, 12 * MIB),
        (101, 19968 * MIB, 9826 * MIB),
    ]
    assert second.uuid == "MIG-aaaa0001-0000-5000-8000-000000000000"
    assert [one.pid for one in second.processes] == [4100, 4200]
    assert first.processes == ()


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("None", None),
        ("N/A", None),
        ("Drain P2P", None),
        ("Reset", "it must be reset before it can be used again (nvidia-smi: Reset)"),
        ("Drain and Reset", "it must be reset before it can be used again (nvidia-smi: Drain and Reset)"),
        ("Reboot", "its node must be rebooted before it can be used again (nvidia-smi: Reboot)"),
    ],
)
def test_what_must_be_done_before_a_card_is_used_again_is_its_fault(said, fault):
    changed = form("geforce-575.xml").replace("<gpu_recovery_action>None<", f"<gpu_recovery_action>{said}<")
    (card,) = seen(smi_csv="", smi_code="0", smi_xml=changed).cards
    assert card.fault == fault


def test_older_drivers_say_that_a_reset_is_required_and_a_lost_card_says_so_in_place_of_its_values():
    (card,) = seen(smi_csv="", smi_code="0", smi_xml=form("pascal-525.xml").replace("required>No<", "required>Yes<")).cards
    assert card.fault == "it must be reset before it can be used again"
    (card,) = seen(smi_csv="", smi_code="0", smi_xml=form("pascal-525.xml").replace("8192 MiB", "GPU is lost")).cards
    assert (card.fault, card.total_bytes) == ("nvidia-smi says GPU is lost", None)


def test_an_answer_of_driver_580_with_every_word_for_nothing():
    mig, unread, bare, sick = seen(smi_csv=form("h200-580.csv"), smi_code="0").cards
    assert (mig.total_bytes, mig.used_bytes, mig.utilisation, mig.ecc_errors) == (143771 * MIB, 44 * MIB, None, 0)
    assert (unread.power, unread.power_limit, unread.ecc_errors, unread.throttle) == (None, 700.0, None, ())
    unknown = (bare.name, bare.total_bytes, bare.used_bytes, bare.power, bare.utilisation, bare.compute_capability, bare.throttle)
    assert unknown == (None,) * 7
    assert (sick.fault, sick.uuid, sick.unified) == ("nvidia-smi says GPU requires reset", None, None)


@pytest.mark.parametrize(
    ("said", "unified"), [("[N/A]", True), ("[Not Supported]", True), ("[Unknown Error]", None), ("[Insufficient Permissions]", None)]
)
def test_only_memory_that_is_not_there_is_the_nodes_own(said, unified):
    row = f"index, uuid, name, memory.total [MiB], memory.used [MiB]\n0, GPU-1, NVIDIA H200, {said}, {said}\n"
    (card,) = seen(smi_csv=row, smi_code="0").cards
    assert (card.unified, card.total_bytes) == (unified, None)


@pytest.mark.parametrize("gpu", ["GPU0000:65:00.0: Unknown Error", "GPU 0000:02:00.0: GPU is lost.  Reboot the system to recover this GPU"])
def test_a_card_that_fell_off_its_bus_takes_the_whole_answer_with_it(gpu):
    with pytest.raises(ProbeError) as caught:
        seen(smi_csv=f"Unable to determine the device handle for {gpu}", smi_code="255")
    assert caught.value.code == "lost"


def test_cards_of_rocm_smi_fall_back_where_a_value_is_not_to_be_had():
    instinct, radeon = seen(rocm=form("rocm-smi-6.json")).cards
    assert (instinct.name, instinct.uuid, instinct.temperature) == ("Arcturus GL-XL [Instinct MI100]", "0x79ccd55167a2124a", 55.0)
    assert (instinct.power, instinct.power_limit, instinct.driver) == (36.0, 290.0, (6, 3, 6))
    assert (radeon.name, radeon.uuid, radeon.temperature) == ("Navi 22 [Radeon RX 6700/6700 XT / 6800M]", None, 45.0)
    assert (radeon.power, radeon.power_limit, radeon.total_bytes) == (6.0, 211.0, 12868124672)
    assert seen(rocm="WARNING: No JSON data to report\n").cards == ()


def of(value, unit):
    return {"value": value, "unit": unit}


NONE = {"max_power_limit": "N/A", "min_power_limit": "N/A", "socket_power_limit": "N/A"}
LIMITS = {
    "7.1": ({"max_power": of(550, "W"), "min_power": of(0, "W"), "socket_power": of(450, "W"), "slowdown_edge_temperature": "N/A"}, 450.0),
    "7.2": (
        {"ppt0": {"max_power_limit": of(750, "W"), "min_power_limit": of(0, "W"), "socket_power_limit": of(600, "W")}, "ppt1": NONE},
        600.0,
    ),
    "an APU": ({"max_power": of(0, "W"), "min_power": of(0, "W"), "socket_power": of(0, "W")}, None),
    "none": ({"ppt0": NONE, "ppt1": NONE}, None),
    "a guest": ("N/A", None),
}


@pytest.mark.parametrize("release", LIMITS)
def test_the_power_limit_of_amd_smi_is_the_cap_that_is_set(release):
    limit, watts = LIMITS[release]
    parts = {
        "amd_static": {"gpu_data": [{"gpu": 0, "asic": {"market_name": "AMD Instinct MI350X", "target_graphics_version": "gfx950"}}]},
        "amd_limit": {"gpu_data": [{"gpu": 0, "limit": limit}]},
        "amd_metric": {"gpu_data": [{"gpu": 0, "usage": {"gfx_activity": of(42, "%"), "vcn_activity": [of(0, "%"), "N/A"]}}]},
        "amd_process": {"gpu_data": [{"gpu": 0, "process_list": [{"process_info": "No running processes detected"}]}]},
    }
    (card,) = seen(**{name: json.dumps(document) for name, document in parts.items()}).cards
    assert (card.power_limit, card.utilisation, card.bfloat16, card.processes) == (watts, 0.42, True, ())


def test_dcgm_numbers_slices_by_instance_and_a_card_in_mig_mode_is_never_whole():
    found = cards_of_dcgm(form("dcgm-4.metrics"), "dcgm", AT)
    assert [(card.index, card.mig_parent is not None, card.total_bytes) for card in found] == [
        (1, False, 16380 * MIB),
        (100, True, None),
        (101, True, None),
        (300, True, 5942 * MIB),
        (301, True, 5942 * MIB),
    ]
    ada, _, _, busy, idle = found
    assert (ada.used_bytes, ada.power, ada.utilisation, ada.xid, ada.driver) == (4577 * MIB, 7.412, 0.46, 0, None)
    assert (busy.used_bytes, idle.used_bytes, busy.name) == (3735 * MIB, 8 * MIB, "NVIDIA A30 MIG 1g.6gb")


def test_the_exporter_leaves_a_card_in_mig_mode_out_and_names_it():
    (card,), (note,) = cards_of_exporter(form("exporter-1.metrics"), "exporter", AT)
    assert (card.index, card.name, card.driver, card.cuda, card.compute_capability) == (0, "NVIDIA L40S", (595, 80), (13, 2), (8, 9))
    assert (card.total_bytes, card.used_bytes, card.reserved_bytes) == (46068 * MIB, 1235 * MIB, 631 * MIB)
    assert (card.power, card.power_limit, card.utilisation, card.throttle) == (111.2, 350.0, 0.37, ("hw_thermal_slowdown",))
    assert note == "card 1 is in MIG mode, and this exporter tells nothing of its slices: probe by ssh, nvml or dcgm"
