"""Apple's chips: one card that shares the machine's RAM. `system_profiler` names it, `sysctl` has the RAM and a limit, `ioreg` its use."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from reconciler.fleet import CardFacts
from reconciler.probes.readings import MOST_RAM_BYTES, mebibytes, of_bytes, percent, text

_VALUE = re.compile(r"^([a-z_.]+): (.+)$", re.MULTILINE)
_IN_USE = re.compile(r'"In use system memory"\s{0,9}=\s{0,9}([0-9]{1,20})(?![0-9])')
_BUSY = re.compile(r'"Device Utilization %"\s{0,9}=\s{0,9}([0-9]{1,3})(?![0-9])')


def cards_of_apple(parts: Mapping[str, str], source: str, at: str) -> tuple[tuple[CardFacts, ...], int | None]:
    """The card and the RAM in bytes. Its total is the limit that `iogpu.wired_limit_mb` sets; 0 there means the default, which is a share
    of RAM (`combine`)."""
    values = dict(_VALUE.findall(parts.get("sysctl", "")))
    ram = of_bytes(values.get("hw.memsize"), MOST_RAM_BYTES)
    limit = mebibytes(values.get("iogpu.wired_limit_mb")) or mebibytes(values.get("debug.iogpu.wired_limit"))
    in_use, busy = _IN_USE.search(parts.get("ioreg", "")), _BUSY.search(parts.get("ioreg", ""))
    used = of_bytes(in_use.group(1)) if in_use is not None else None
    name = next((found for entry in _displays(parts.get("profiler", "")) if (found := _name(entry)) is not None), None)
    if name is None:
        return (), ram
    card = CardFacts(
        index=0,
        name=name,
        total_bytes=limit or None,
        used_bytes=used,
        source=source,
        assumed=used is None,
        utilisation=percent(busy.group(1)) if busy is not None else None,
        float16=True,
        unified=True,
        at=at,
    )
    return (card,), ram


def other_chip(parts: Mapping[str, str]) -> str | None:
    """What an older machine has in place of an Apple chip."""
    named = (text(entry.get("sppci_model")) or text(entry.get("_name")) for entry in _displays(parts.get("profiler", "")))
    return next((name for name in named if name is not None), None)


def _displays(output: str) -> list[Mapping[str, object]]:
    try:
        document = json.loads(output)
    except (ValueError, RecursionError):
        return []
    entries = document.get("SPDisplaysDataType") if isinstance(document, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _name(entry: Mapping[str, object]) -> str | None:
    """The name of an Apple chip; a discrete card of an older machine has memory of its own and is none."""
    if "spdisplays_vram" in entry or "apple" not in str(entry.get("spdisplays_vendor", entry.get("sppci_model", ""))).lower():
        return None
    return text(entry.get("sppci_model")) or text(entry.get("_name"))
