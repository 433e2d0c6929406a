"""NVIDIA cards of this machine through NVML, asked by a process of its own: a driver that hangs costs the deadline and no more."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from reconciler.engines.foreign_text import clean_text
from reconciler.fleet import CardFacts, CardProcess, NodeSpec
from reconciler.hosts import Clean, run_bounded
from reconciler.probes.protocol import ProbeError, Seen, probe_error
from reconciler.probes.readings import (
    MOST_RAM_BYTES,
    card_number,
    celsius,
    count,
    half_precision,
    number,
    of_bytes,
    percent,
    shares_memory,
    text,
    throttle_reasons,
    use,
    version,
    watts,
)

SOURCE = "nvml"
SLICES_FROM = 100
"""Slice `s` of card `c` has the index `100 × (c + 1) + s`, so that no index moves when a card is cut in another way."""


def slice_index(card: CardFacts, number: int) -> int:
    """The index of a slice of a card, as the tools count them."""
    assert isinstance(card.index, int)
    return SLICES_FROM * (card.index + 1) + number


_READER = Path(__file__).with_name("nvml_reader.py")
_CODES: Mapping[int, tuple[str, str | None]] = {
    -1: ("no_pynvml", "install gpurec with its dependencies again"),
    4: ("no_permission", "let this user read /dev/nvidia*"),
    9: ("no_driver", "load the driver (sudo modprobe nvidia), or install it"),
    10: ("timeout", "nvidia-smi and dmesg may say more"),
    12: ("no_library", "install the NVIDIA driver, whose libnvidia-ml.so.1 this is"),
    15: ("lost", "reboot, or reset the card (sudo nvidia-smi --gpu-reset)"),
    18: ("driver_mismatch", "the driver was updated while it was loaded: reboot, or unload and load its modules"),
}


class Nvml:
    """Asks NVML; what it says goes through `clean`. `environ` is what the reading process gets (this one's by default)."""

    name = SOURCE

    def __init__(self, environ: Mapping[str, str] | None = None, clean: Clean = bytes) -> None:
        self._environ = environ
        self._clean = clean

    async def look(self, node: NodeSpec, at: str) -> Seen:
        """Every card of this machine; of a card in MIG mode its slices."""
        environ = dict(os.environ if self._environ is None else self._environ)
        try:
            ran = await run_bounded([sys.executable, "-P", str(_READER)], within=node.probe.timeout, environ=environ)
            ran = ran.cleaned(self._clean)
        except OSError as error:
            raise probe_error("nvml_failed", node.name, f"the reader of NVML cannot be started: {error.strerror}") from None
        if ran.cut is not None:
            what = f"NVML did not answer within {node.probe.timeout:.3g} s"
            raise probe_error("timeout", node.name, what, "the driver hangs: see dmesg, and reboot if it says so")
        try:
            document = json.loads(ran.out)
        except ValueError:
            why = clean_text(ran.err.decode("utf-8", "replace")) or f"it ended with {ran.code}"
            raise probe_error("nvml_failed", node.name, f"reading NVML failed: {why}") from None
        return seen_of(document, node.name, at)


def seen_of(document: Mapping[str, object], node: str, at: str) -> Seen:
    """The reader's document as facts. Raises ProbeError where it holds an error."""
    error = document.get("error")
    if isinstance(error, dict):
        raise _refusal(error, node)
    devices = document.get("devices")
    cards: list[CardFacts] = []
    notes: list[str] = []
    for device in devices if isinstance(devices, list) else []:
        whole_card = _card(device, document, at)
        slices = [_slice(part, whole_card) for part in device.get("slices") or ()]
        if device.get("mig") and not slices:
            notes.append(f"card {whole_card.index} is in MIG mode and has no slices, so nothing can run on it")
        cards.extend(slices if device.get("mig") else [whole_card])
    return Seen(tuple(cards), tuple(notes), of_bytes(document.get("ram_bytes"), MOST_RAM_BYTES))


def _card(device: Mapping[str, object], document: Mapping[str, object], at: str) -> CardFacts:
    capability = device.get("capability")
    compute = (int(capability[0]), int(capability[1])) if isinstance(capability, list) and len(capability) == 2 else None
    half, brain = half_precision(compute)
    cuda = count(document.get("cuda"), 999_999)
    total, used, reserved = _memory(device)
    index = card_number(device.get("index"))
    return CardFacts(
        index=index or 0,
        uuid=text(device.get("uuid")),
        name=text(device.get("name")),
        total_bytes=total or None,
        used_bytes=used,
        compute_capability=compute,
        driver=version(document.get("driver")),
        source=SOURCE,
        assumed=used is None,
        temperature=celsius(device.get("celsius")),
        power=_milliwatts(device.get("milliwatt")),
        power_limit=_milliwatts(device.get("limit_milliwatt")),
        utilisation=percent(device.get("percent")),
        throttle=throttle_reasons(count(device.get("throttle"))),
        ecc_errors=count(device.get("ecc")),
        cuda=None if cuda is None else (cuda // 1000, cuda % 1000 // 10),
        float16=half,
        bfloat16=brain,
        unified=None if device.get("fault") else shares_memory(text(device.get("name")), total, _said(device)),
        processes=_processes(device.get("processes")),
        fault=text(device.get("fault")),
        at=at,
        reserved_bytes=reserved,
    )


def _slice(part: Mapping[str, object], parent: CardFacts) -> CardFacts:
    """A slice: memory and processes are its own; heat, errors and versions are those of the card that it is cut from."""
    total, used, reserved = _memory(part)
    return CardFacts(
        index=slice_index(parent, card_number(part.get("index")) or 0),
        uuid=text(part.get("uuid")),
        name=text(part.get("name")) or parent.name,
        total_bytes=total or None,
        used_bytes=used,
        compute_capability=parent.compute_capability,
        driver=parent.driver,
        source=SOURCE,
        assumed=used is None,
        temperature=parent.temperature,
        throttle=parent.throttle,
        ecc_errors=parent.ecc_errors,
        cuda=parent.cuda,
        float16=parent.float16,
        bfloat16=parent.bfloat16,
        mig_parent=parent.uuid,
        processes=_processes(part.get("processes")),
        fault=text(part.get("fault")) or parent.fault,
        at=parent.at,
        reserved_bytes=reserved,
    )


def _memory(device: Mapping[str, object]) -> tuple[int | None, int | None, int | None]:
    """Total, used and reserved bytes, of which those are unknown that contradict the others."""
    total, used, free, reserved = (of_bytes(device.get(word)) for word in ("total", "used", "free", "reserved"))
    return total, use(total, used, free, reserved), reserved


def _said(device: Mapping[str, object]) -> str | None:
    return "Not Supported" if device.get("memory_of_node") is True else None


def _milliwatts(value: object) -> float | None:
    found = number(value)
    return watts(found / 1000) if found is not None else None


def _processes(found: object) -> tuple[CardProcess, ...] | None:
    if not isinstance(found, list):
        return None
    return tuple(CardProcess(count(one.get("pid")) or 0, text(one.get("name")), of_bytes(one.get("bytes"))) for one in found)


def _refusal(error: Mapping[str, object], node: str) -> ProbeError:
    number_ = error.get("code")
    code, hint = _CODES.get(number_ if isinstance(number_, int) else 0, ("nvml_failed", "nvidia-smi may say more"))
    said = error.get("text")
    return probe_error(code, node, f"NVML cannot be asked: {clean_text(str(said))}", hint)
