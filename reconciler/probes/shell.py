"""What the script said, as facts: whichever vendor's tools the node has, its memory, its clock and its processes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from reconciler.engines.answers import clean_text
from reconciler.fleet import KIB, CardFacts, NodeSpec
from reconciler.probes.amd import cards_of_amd_smi, cards_of_rocm_smi
from reconciler.probes.apple import cards_of_apple
from reconciler.probes.nvidia_smi import buses_of_csv, cards_of_csv, merged, with_slice_names, with_xids
from reconciler.probes.nvidia_xml import cards_of_xml, read_xml
from reconciler.probes.protocol import ProcessTable, Seen, probe_error
from reconciler.probes.readings import number

_NVIDIA, _AMD = "0x10de", "0x1002"
_LISTENER = re.compile(r"^\S+\s+\d+\s+\d+\s+\S*:(\d+)\s.*?pid=(\d+)", re.MULTILINE)
_CONTAINER = re.compile(r"[0-9a-f]{64}")


def seen_of(parts: Mapping[str, str], node: NodeSpec, source: str, at: str) -> Seen:
    """Facts of a node. Raises ProbeError where its tools say that they cannot tell, or where there are none though cards are declared."""
    notes: list[str] = []
    ram = _ram(parts)
    cards: tuple[CardFacts, ...] = ()
    if "smi_code" in parts:
        cards, found = _nvidia(parts, node, source, at)
        notes.extend(found)
    if "amd_metric" in parts:
        cards += cards_of_amd_smi(parts, source, at)
    elif "rocm" in parts:
        cards += cards_of_rocm_smi(parts["rocm"], source, at)
    if parts.get("os") == "Darwin":
        more, ram = cards_of_apple(parts, source, at)
        cards += more
    if not cards and not notes:
        _refuse_failed_amd(parts, node)
        _refuse_without_tools(parts, node)
    return Seen(cards, tuple(notes), ram, _table(parts), number(parts.get("clock")))


def _nvidia(parts: Mapping[str, str], node: NodeSpec, source: str, at: str) -> tuple[tuple[CardFacts, ...], list[str]]:
    said, code = parts.get("smi_csv", ""), parts["smi_code"].strip()
    queried = cards_of_csv(said, source, at)
    log = read_xml(parts.get("smi_xml", ""))
    logged, slices = cards_of_xml(log, source, at) if log is not None else ((), {})
    if not queried and not logged:
        why = clean_text(said) or f"it ended with {code}"
        if "couldn't communicate" in said or code == "9":
            raise probe_error("no_driver", node.name, f"nvidia-smi: {why}", "load the driver (sudo modprobe nvidia), or install it")
        if "Unable to determine the device handle" in said or "GPU is lost" in said:
            raise probe_error("lost", node.name, f"nvidia-smi: {why}", "reboot, or reset the card (sudo nvidia-smi --gpu-reset)")
        if code == "124":
            raise probe_error("timeout", node.name, "nvidia-smi did not answer within 8 s", "the driver hangs: see dmesg on the node")
        if "version mismatch" in said:
            raise probe_error("driver_mismatch", node.name, f"nvidia-smi: {why}", "the driver was updated while it was loaded: reboot")
        if code != "6":
            raise probe_error("smi_failed", node.name, f"nvidia-smi: {why}")
    notes = [f"card {index} is in MIG mode and has no slices, so nothing can run on it" for index, own in slices.items() if not own]
    cards = with_slice_names(merged(queried, logged, slices), parts.get("smi_list", ""))
    return with_xids(cards, parts.get("xid", ""), buses_of_csv(said)), notes


def _refuse_failed_amd(parts: Mapping[str, str], node: NodeSpec) -> None:
    """A tool that failed and told no card does not say that there is none."""
    code = parts.get("amd_code", "0").strip()
    tool = "amd-smi" if "amd_metric" in parts else "rocm-smi"
    if code == "124":
        raise probe_error("timeout", node.name, f"{tool} did not answer within 8 s", "the driver hangs: see dmesg on the node")
    if code != "0":
        raise probe_error("smi_failed", node.name, f"{tool} ended with {code} and told no card", f"run {tool} there to see what it says")


def _refuse_without_tools(parts: Mapping[str, str], node: NodeSpec) -> None:
    """A node without tools and without a card has none; one with a card on its bus lacks the driver."""
    vendors = {line.split(" ")[0] for line in parts.get("pci", "").splitlines()}
    tools = "smi_code" in parts or "amd_metric" in parts or "rocm" in parts
    if _NVIDIA in vendors and "smi_code" not in parts:
        raise probe_error("no_driver", node.name, "an NVIDIA card is on the bus, and there is no nvidia-smi", "install the NVIDIA driver")
    if _AMD in vendors and not tools and node.gpus:
        raise probe_error("no_tool", node.name, "an AMD card is on the bus, and there is no amd-smi and no rocm-smi", "install amd-smi-lib")
    if node.gpus and not tools:
        raise probe_error("no_tool", node.name, "cards are declared, and nvidia-smi, amd-smi and rocm-smi were not found")


def _ram(parts: Mapping[str, str]) -> int | None:
    match = re.search(r"^MemTotal:\s*(\d{1,15}) kB", parts.get("meminfo", ""), re.MULTILINE)
    return int(match.group(1)) * KIB if match is not None else None


def _table(parts: Mapping[str, str]) -> ProcessTable:
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for line in parts.get("ps", "").splitlines():
        words = line.split(None, 2)
        if len(words) == 3 and words[0].isdecimal() and words[1].isdecimal():
            parents[int(words[0])] = int(words[1])
            names[int(words[0])] = words[2]
    listeners = {int(port): int(pid) for port, pid in _LISTENER.findall(parts.get("ss", ""))}
    containers: dict[int, str] = {}
    for line in parts.get("cgroup", "").splitlines():
        pid, _, path = line.partition(" ")
        match = _CONTAINER.search(path)
        if pid.isdecimal() and match is not None:
            containers[int(pid)] = match.group(0)
    return ProcessTable(parents, listeners, names, containers)
