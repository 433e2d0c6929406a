"""What the script said, as facts: whichever vendor's tools the node has, its memory, its clock and its processes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from reconciler.engines.foreign_text import clean_text
from reconciler.fleet import KIB, CardFacts, NodeSpec
from reconciler.probes.amd import cards_of_amd_smi, cards_of_rocm_smi, tells_cards
from reconciler.probes.apple import cards_of_apple, other_chip
from reconciler.probes.nvidia_smi import buses_of_csv, cards_of_csv, lost_cards, merged, with_slice_names, with_xids
from reconciler.probes.nvidia_xml import buses_of_xml, cards_of_xml, read_xml
from reconciler.probes.protocol import ProbeError, ProcessTable, Seen, probe_error
from reconciler.probes.readings import MOST_CLOCK, count
from reconciler.probes.vendors import told_apart

_NVIDIA, _AMD = "0x10de", "0x1002"
_PID = re.compile(r"pid=([0-9]{1,10})(?![0-9])")
_CONTAINER = re.compile(r"[0-9a-f]{64}")
_JETSON = re.compile(r"NVIDIA.*(?:Jetson|Orin|Xavier|Thor)")
_ASKED_AGAIN = ("1", "2")
"""How nvidia-smi ends where the script asks once more (`probes.script`)."""
_LEAVES = "write `gpus: []` for a node that has none"


def seen_of(parts: Mapping[str, str], node: NodeSpec, source: str, at: str, known: Mapping[str, Sequence[CardFacts]] | None = None) -> Seen:
    """Facts of a node; `known` are cards that were told in another way, by vendor. Raises ProbeError where its tools say that they cannot
    tell, or where it has none: that is not to say that it has no card."""
    notes: list[str] = []
    lost: list[str] = []
    refused: list[ProbeError] = []
    vendors: dict[str, Sequence[CardFacts]] = dict(known or {})
    if "smi_code" in parts:
        try:
            vendors["nvidia"] = _nvidia(parts, node, source, at, notes, lost)
        except ProbeError as error:
            refused.append(error)
    if "amd_metric" in parts:
        vendors["amd"] = cards_of_amd_smi(parts, source, at)
    elif "rocm" in parts:
        vendors["amd"] = cards_of_rocm_smi(parts["rocm"], source, at)
    if (failed := _failed_amd(parts, node, bool(vendors.get("amd")))) is not None:
        refused.append(failed)
    ram = _ram(parts)
    if parts.get("os") == "Darwin":
        vendors["apple"], ram = cards_of_apple(parts, source, at)
    cards = told_apart(vendors)
    if not cards and not notes and not lost:
        cards = _jetson(parts, source, at)
    if not cards and not notes and not lost:
        if refused:
            raise refused[0]
        _refuse_without_tools(parts, node)
    on_bus = _on_bus(parts)
    partly = next((error for error in refused if error.code != "no_driver" or not on_bus or _NVIDIA in on_bus), None)
    return Seen(cards, tuple(notes), ram, _table(parts), count(parts.get("clock"), MOST_CLOCK), tuple(lost), partly)


def tells(parts: Mapping[str, str]) -> bool:
    """Whether some vendor's tool was asked and has ended, so that what came tells of cards, or why there is none. An nvidia-smi that
    does not know a field is asked again, with fewer."""
    asked_again = parts.get("smi_code", "1").strip() in _ASKED_AGAIN and "ps" not in parts
    return not asked_again or "amd_code" in parts


def unfinished(parts: Mapping[str, str], node: NodeSpec, error: ProbeError) -> ProbeError:
    """Why what comes after the last of `parts` is unknown."""
    name = [*parts][-1]
    last = {"smi_code": "nvidia-smi", "amd_code": "the AMD tool"}.get(name, f"the part {name}")
    problem = error.problems[0]
    return probe_error(error.code, node.name, f"{problem.what}; what it was still to tell (after {last}) is unknown", problem.hint)


def _nvidia(parts: Mapping[str, str], node: NodeSpec, source: str, at: str, notes: list[str], lost: list[str]) -> tuple[CardFacts, ...]:
    said, code = parts.get("smi_csv", ""), parts["smi_code"].strip()
    queried = cards_of_csv(said, source, at)
    log = read_xml(parts.get("smi_xml", ""))
    logged, slices = cards_of_xml(log, source, at) if log is not None else ((), {})
    if queried or logged or code == "6":
        buses = {*buses_of_csv(said).values(), *(buses_of_xml(log) if log is not None else ())}
        lost += lost_cards(said, buses, _on_bus(parts).get(_NVIDIA, {}) if buses or code == "6" else {})
    else:
        _refuse_failed_nvidia(said, code, node)
    notes += [f"card {index} is in MIG mode and has no slices, so nothing can run on it" for index, own in slices.items() if not own]
    cards = with_slice_names(merged(queried, logged, slices), parts.get("smi_list", ""))
    return with_xids(cards, parts.get("xid", ""), buses_of_csv(said))


def _refuse_failed_nvidia(said: str, code: str, node: NodeSpec) -> None:
    """Says why nvidia-smi told no card. Always raises."""
    why = clean_text(said) or f"it ended with {code}"
    if "couldn't communicate" in said or code == "9":
        raise probe_error("no_driver", node.name, f"nvidia-smi: {why}", "load the driver (sudo modprobe nvidia), or install it")
    if "Unable to determine the device handle" in said or "GPU is lost" in said:
        raise probe_error("lost", node.name, f"nvidia-smi: {why}", "reboot, or reset the card (sudo nvidia-smi --gpu-reset)")
    if code == "124":
        raise probe_error("timeout", node.name, "nvidia-smi did not answer within 8 s", "the driver hangs: see dmesg on the node")
    if "version mismatch" in said:
        raise probe_error("driver_mismatch", node.name, f"nvidia-smi: {why}", "the driver was updated while it was loaded: reboot")
    raise probe_error("smi_failed", node.name, f"nvidia-smi: {why}")


def _failed_amd(parts: Mapping[str, str], node: NodeSpec, some: bool) -> ProbeError | None:
    """A tool that failed does not say that there is no card, and no other card than it told."""
    code = parts.get("amd_code", "0").strip()
    tool = "amd-smi" if "amd_metric" in parts else "rocm-smi"
    if code == "124":
        return probe_error("timeout", node.name, f"{tool} did not answer within 8 s", "the driver hangs: see dmesg on the node")
    if code == "0":
        if some or not tells_cards(parts):
            return None
        return probe_error("smi_failed", node.name, "what amd-smi tells of its cards is not understood", "run amd-smi list --json there")
    told = "may not have told all of its cards" if some else "told no card"
    return probe_error("smi_failed", node.name, f"{tool} ended with {code} and {told}", f"run {tool} there to see what it says")


def _refuse_without_tools(parts: Mapping[str, str], node: NodeSpec) -> None:
    """A node whose tools tell no card has none. One without tools is not known to have none, unless its owner says so."""
    on_bus = _on_bus(parts)
    if _NVIDIA in on_bus and "smi_code" not in parts:
        raise probe_error("no_driver", node.name, "an NVIDIA card is on the bus, and there is no nvidia-smi", "install the NVIDIA driver")
    if parts.get("os") == "Darwin":
        other = other_chip(parts)
        what = f"its chip is {other}, which macOS tells nothing of that engines use" if other else "system_profiler named no chip"
        if node.gpus != ():
            raise probe_error(
                "no_tool", node.name, f"gpurec reads the cards of Apple's own chips: {what}", f"declare its cards, or {_LEAVES}"
            )
        return
    tools = "smi_code" in parts or "amd_metric" in parts or "rocm" in parts
    if tools or node.gpus == ():
        return
    if _AMD in on_bus:
        raise probe_error("no_tool", node.name, "an AMD card is on the bus, and there is no amd-smi and no rocm-smi", "install amd-smi-lib")
    what = "cards are declared, and nvidia-smi, amd-smi and rocm-smi were not found"
    if node.gpus is None:
        what = "nvidia-smi, amd-smi and rocm-smi were not found, so whether it has a card is not known"
    raise probe_error("no_tool", node.name, what, _LEAVES if node.gpus is None else None)


def _on_bus(parts: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
    """Drivers of the cards on the bus, by vendor and bus id. A card that is kept for a guest is none of the node's."""
    found: dict[str, dict[str, str]] = {}
    for line in parts.get("pci", "").splitlines():
        vendor, _, rest = line.partition(" ")
        bus, _, driver = rest.partition(" ")
        if driver != "vfio-pci":
            found.setdefault(vendor, {})[bus.lower()] = driver
    return found


def _jetson(parts: Mapping[str, str], source: str, at: str) -> tuple[CardFacts, ...]:
    """The chip of a board that has one for certain, though no tool tells of it: Jetsons before JetPack 6 have no nvidia-smi."""
    board = clean_text(parts.get("board", ""))
    return (CardFacts(0, name=board, source=source, unified=True, at=at),) if _JETSON.match(board) else ()


def _ram(parts: Mapping[str, str]) -> int | None:
    match = re.search(r"^MemTotal:\s{0,99}(\d{1,12}) kB", parts.get("meminfo", ""), re.MULTILINE)
    return int(match.group(1)) * KIB if match is not None else None


def _table(parts: Mapping[str, str]) -> ProcessTable:
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for line in parts.get("ps", "").splitlines():
        words = line.split(None, 2)
        if len(words) == 3 and _is_pid(words[0]) and _is_pid(words[1]):
            parents[int(words[0])] = int(words[1])
            names[int(words[0])] = words[2]
    listeners: dict[int, int] = {}
    for line in parts.get("ss", "").splitlines():
        port, found = (line.split(None, 4) + [""] * 4)[3].rpartition(":")[2], _PID.search(line)
        if found is not None and _is_pid(port):
            listeners[int(port)] = int(found.group(1))
    containers: dict[int, str] = {}
    for line in parts.get("cgroup", "").splitlines():
        pid, _, path = line.partition(" ")
        match = _CONTAINER.search(path)
        if _is_pid(pid) and match is not None:
            containers[int(pid)] = match.group(0)
    return ProcessTable(parents, listeners, names, containers)


def _is_pid(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= 10
