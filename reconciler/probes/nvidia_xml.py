"""Cards out of `nvidia-smi -q -x`. Element names and values: what drivers 470 to 610 printed (docs/cards.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from xml.etree import ElementTree

from reconciler.fleet import CardFacts, CardProcess
from reconciler.probes.nvml import slice_index
from reconciler.probes.readings import (
    THROTTLE_WORDS,
    card_number,
    celsius,
    count,
    lost,
    mebibytes,
    percent,
    shares_memory,
    text,
    use,
    version,
    watts,
)

_MOST = 256
_OTHERS = ("processes", "accounted_processes")
"""What holds names that anybody may have given."""


def read_xml(output: str) -> ElementTree.Element | None:
    """The log; None where it is none. A document that defines entities is none of nvidia-smi's."""
    start = output.find("<?xml")
    if start < 0 or "<!ENTITY" in output:
        return None
    try:
        return ElementTree.fromstring(output[start:])  # noqa: S314 (see above)
    except ElementTree.ParseError:
        return None


def buses_of_xml(log: ElementTree.Element) -> tuple[str, ...]:
    """Bus ids (`0000:01:00`) of the cards that it tells of."""
    found = (gpu.findtext("pci/pci_bus_id") or gpu.get("id") or "" for gpu in log.findall("gpu")[:_MOST])
    return tuple(bus.strip().lower().partition(".")[0][-10:] for bus in found if bus.strip())


def cards_of_xml(log: ElementTree.Element, source: str, at: str) -> tuple[tuple[CardFacts, ...], Mapping[int, tuple[CardFacts, ...]]]:
    """Every card, and by the index of a card in MIG mode its slices."""
    driver, cuda = version(_first(log, "driver_version")), version(_first(log, "cuda_version"))
    cards: list[CardFacts] = []
    slices: dict[int, tuple[CardFacts, ...]] = {}
    for index, gpu in enumerate(log.findall("gpu")[:_MOST]):
        total, used, free, reserved = (_memory(gpu, word) for word in ("total", "used", "free", "reserved"))
        used = use(total, used, free, reserved)
        fault = lost(one.text for part in gpu if part.tag not in _OTHERS for one in part.iter()) or _must(gpu)
        card = CardFacts(
            index=index,
            uuid=text(_first(gpu, "uuid")),
            name=text(_first(gpu, "product_name")),
            total_bytes=total or None,
            used_bytes=used,
            driver=driver,
            source=source,
            assumed=used is None,
            temperature=celsius(_first(gpu, "temperature/gpu_temp")),
            power=watts(_first(gpu, "gpu_power_readings/instant_power_draw", "gpu_power_readings/power_draw", "power_readings/power_draw")),
            power_limit=watts(
                _first(gpu, "gpu_power_readings/current_power_limit", "power_readings/enforced_power_limit", "power_readings/power_limit")
            ),
            utilisation=percent(_first(gpu, "utilization/gpu_util")),
            throttle=_throttle(gpu),
            cuda=cuda,
            unified=shares_memory(text(_first(gpu, "product_name")), total, gpu.findtext("fb_memory_usage/total")),
            processes=_processes(gpu),
            fault=fault,
            at=at,
            reserved_bytes=reserved,
        )
        cards.append(card)
        if (text(_first(gpu, "mig_mode/current_mig")) or "").lower() == "enabled":
            slices[index] = _slices(gpu, card)
    return tuple(cards), slices


def _slices(gpu: ElementTree.Element, card: CardFacts) -> tuple[CardFacts, ...]:
    """The slices; most drivers leave their UUIDs out of the XML (`with_slice_names`).

    A slice is a GPU instance, which is what has memory: compute instances share that of theirs, and are shown as the first of them.
    """
    found = []
    seen: set[str] = set()
    processes = gpu.findall("processes/process_info")
    for part in gpu.findall("mig_devices/mig_device")[:_MOST]:
        total, used, free, reserved = (_memory(part, word) for word in ("total", "used", "free", "reserved"))
        used = use(total, used, free, reserved)
        instance = _first(part, "gpu_instance_id")
        if instance is not None and instance in seen:
            continue
        seen.add(instance or "")
        own = [one for one in processes if _first(one, "gpu_instance_id") == instance]
        found.append(
            replace(
                card,
                index=slice_index(card, card_number(_first(part, "index")) or 0),
                uuid=text(_first(part, "uuid")),
                total_bytes=total or None,
                used_bytes=used,
                reserved_bytes=reserved,
                assumed=used is None,
                power=None,
                power_limit=None,
                utilisation=None,
                mig_parent=card.uuid,
                unified=None,
                processes=tuple(_process(one) for one in own) if card.processes is not None else None,
            )
        )
    return tuple(found)


def _first(element: ElementTree.Element, *paths: str) -> str | None:
    """The first of these that is there and says something: element names change between drivers."""
    for path in paths:
        found = element.findtext(path)
        if text(found) is not None:
            return found
    return None


def _must(gpu: ElementTree.Element) -> str | None:
    """What has to be done before the card can be used again: an action since driver 565, yes or no before. A peer link that is to be
    drained keeps nobody from using the card."""
    action = text(gpu.findtext("gpu_recovery_action"))
    if action is not None and "reset" in action.lower():
        return f"it must be reset before it can be used again (nvidia-smi: {action})"
    if action is not None and "reboot" in action.lower():
        return f"its node must be rebooted before it can be used again (nvidia-smi: {action})"
    return "it must be reset before it can be used again" if gpu.findtext("gpu_reset_status/reset_required") == "Yes" else None


def _memory(gpu: ElementTree.Element, name: str) -> int | None:
    return mebibytes(_first(gpu, f"fb_memory_usage/{name}"))


def _throttle(gpu: ElementTree.Element) -> tuple[str, ...] | None:
    for folder, prefix in (("clocks_event_reasons", "clocks_event_reason_"), ("clocks_throttle_reasons", "clocks_throttle_reason_")):
        reasons = gpu.find(folder)
        if reasons is None or all(text(one.text) is None for one in reasons):
            continue
        return tuple(word for word in THROTTLE_WORDS if (reasons.findtext(prefix + word) or "").strip() == "Active")
    return None


def _processes(gpu: ElementTree.Element) -> tuple[CardProcess, ...] | None:
    folder = gpu.find("processes")
    if folder is None or (folder.text or "").strip():
        return None
    found: dict[int, CardProcess] = {}
    for one in folder.findall("process_info"):
        process = _process(one)
        other = found.get(process.pid)
        if other is None or (process.used_bytes or 0) >= (other.used_bytes or 0):
            found[process.pid] = process
    return tuple(found[pid] for pid in sorted(found))


def _process(info: ElementTree.Element) -> CardProcess:
    return CardProcess(count(_first(info, "pid")) or 0, text(_first(info, "process_name")), mebibytes(_first(info, "used_memory")))
