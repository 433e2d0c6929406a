"""AMD's cards out of `amd-smi` and the older `rocm-smi`, whose JSON differs from release to release. Their "MB" is MiB."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from reconciler.fleet import CardFacts, CardProcess, format_bytes
from reconciler.probes.readings import card_number, celsius, count, mebibytes, of_bytes, percent, text, use, version, watts
from reconciler.value_class import value_class

T = TypeVar("T")
_BFLOAT16 = re.compile(r"gfx(908|90a|94.|95.|11..|12..)")
"""Targets with bfloat16 arithmetic (LLVM's AMDGPU guide): CDNA, RDNA 3 and later."""
_APU = re.compile(r"gfx(?:801|902|909|90c|1013|103[3567]|1103|115[0-9])")
"""Targets of chips without memory of their own (LLVM's AMDGPU guide lists them as APUs)."""
_MEMORY = re.compile(r"(?:GDDR|HBM|LPDDR|DDR)\w*", re.IGNORECASE)
_SYSTEM_MEMORY = re.compile(r"(?:LPDDR|DDR)\w*", re.IGNORECASE)


def cards_of_amd_smi(parts: Mapping[str, str], source: str, at: str) -> tuple[CardFacts, ...]:
    """Cards of the documents of `list`, `static`, `metric` and `process`, joined by their number; the limits are asked for on their own,
    since guests of a hypervisor do not know that part of `static`."""
    static = dict(_entries(parts.get("amd_static", "")))
    limits = dict(_entries(parts.get("amd_limit", "")))
    metric = dict(_entries(parts.get("amd_metric", "")))
    process = dict(_entries(parts.get("amd_process", "")))
    named = dict(_entries(parts.get("amd_list", "")))
    return tuple(
        replace(
            _card(index, named.get(index, {}), static.get(index, {}), metric.get(index, {}), process.get(index), source, at),
            power_limit=_limit(limits.get(index, {})),
        )
        for index in sorted({*named, *static, *metric})
    )


def tells_cards(parts: Mapping[str, str]) -> bool:
    """Whether amd-smi's answers are about cards, be they understood or not: an empty list is not."""
    documents = (_listed(parts.get(part, "")) for part in ("amd_list", "amd_static", "amd_metric"))
    return any(isinstance(entry, dict) and entry for entries in documents for entry in entries)


def _card(index: int, named: object, static: object, metric: object, process: object, source: str, at: str) -> CardFacts:
    memory = _Memory(
        mebibytes(_leaf(metric, "mem_usage", "total_vram")) or mebibytes(_leaf(static, "vram", "size")),
        use(*(mebibytes(_leaf(metric, "mem_usage", f"{word}_vram")) for word in ("total", "used", "free"))),
        mebibytes(_leaf(metric, "mem_usage", "total_gtt")),
        use(*(mebibytes(_leaf(metric, "mem_usage", f"{word}_gtt")) for word in ("total", "used", "free"))),
    )
    target = text(_leaf(static, "asic", "target_graphics_version"))
    heat = celsius(_leaf(metric, "temperature", "hotspot"))
    unified = _shares_memory(target, text(_leaf(static, "vram", "type")))
    total, used, told = memory.of(unified)
    return CardFacts(
        index=index,
        uuid=text(_leaf(named, "uuid")),
        name=text(_leaf(static, "asic", "market_name")),
        total_bytes=total,
        used_bytes=used,
        total_from=told,
        unified=unified or None,
        driver=version(_leaf(static, "driver", "version")),
        source=source,
        assumed=used is None,
        temperature=heat if heat is not None else celsius(_leaf(metric, "temperature", "edge")),
        power=watts(_leaf(metric, "power", "socket_power")),
        utilisation=percent(_leaf(metric, "usage", "gfx_activity")),
        float16=None if target is None else True,
        bfloat16=None if target is None else bool(_BFLOAT16.fullmatch(target)),
        processes=_processes(process, unified),
        at=at,
    )


def _limit(entry: object) -> float | None:
    """The power cap that is set: per rail since amd-smi 26.2 (ROCm 7.2), one before. An APU says 0 W, which is none."""
    for path in (("limit", "ppt0", "socket_power_limit"), ("limit", "socket_power"), ("limit", "max_power")):
        found = watts(_leaf(entry, *path))
        if found:
            return found
    return None


def _processes(entry: object, unified: bool) -> tuple[CardProcess, ...] | None:
    listed = entry.get("process_list") if isinstance(entry, dict) else None
    if not isinstance(listed, list):
        return None
    found = []
    for one in listed:
        info = one.get("process_info", one) if isinstance(one, dict) else None
        pid = count(_leaf(info, "pid"))
        if pid is not None:
            held = [_bytes(info, "memory_usage", "vram_mem")] + ([_bytes(info, "memory_usage", "gtt_mem")] if unified else [])
            found.append(CardProcess(pid, text(_leaf(info, "name")), None if None in held else sum(part or 0 for part in held)))
    return tuple(found)


@value_class
class _Memory:
    """Bytes of a chip: its own, and the system memory that its driver may map for it (GTT)."""

    total: int | None
    used: int | None
    gtt: int | None
    gtt_used: int | None

    def of(self, unified: bool) -> tuple[int | None, int | None, str | None]:
        """What it may have, what is used of that, and a clause that says what the first is made of. A card with memory of its own computes
        in that alone; for a chip without, the carve-out of the firmware is only where its driver begins."""
        if not unified or self.gtt is None or self.total is None:
            return self.total or None, self.used, None
        used = None if self.used is None or self.gtt_used is None else self.used + self.gtt_used
        return self.total + self.gtt, used, f"{format_bytes(self.total)} of VRAM and {format_bytes(self.gtt)} of GTT"


def _shares_memory(target: str | None, kind: str | None) -> bool:
    """Whether a chip has no memory of its own: by what its memory is, else by its target."""
    if kind is not None and _MEMORY.fullmatch(kind):
        return _SYSTEM_MEMORY.fullmatch(kind) is not None
    return target is not None and _APU.fullmatch(target) is not None


def _bytes(info: object, *path: str) -> int | None:
    for name in path[:-1]:
        info = info.get(name) if isinstance(info, dict) else None
    leaf = info.get(path[-1]) if isinstance(info, dict) else None
    if isinstance(leaf, dict):
        if leaf.get("unit") == "B":
            return of_bytes(leaf.get("value"))
        return mebibytes(_leaf(leaf))
    return of_bytes(leaf)


def cards_of_rocm_smi(output: str, source: str, at: str) -> tuple[CardFacts, ...]:
    """Cards of the legacy document: all values are texts, and the spelling of keys differs by release."""
    document = _json(output)
    if not isinstance(document, dict):
        return ()
    system = document.get("system")
    driver = version(_value(system, "driver version")) if isinstance(system, dict) else None
    found = []
    for key, card in document.items():
        match = re.fullmatch(r"card([0-9]{1,3})", key)
        if match is None or not isinstance(card, dict):
            continue
        memory = _Memory(*(of_bytes(_value(card, f"{kind} total {used}memory (b)")) for kind in ("vram", "gtt") for used in ("", "used ")))
        target = text(_value(card, "gfx version"))
        unified = _shares_memory(target, None)
        total, used, told = memory.of(unified)
        found.append(
            CardFacts(
                index=int(match.group(1)),
                uuid=text(_value(card, "unique id")),
                name=_first(text, card, "card series", "device name", "card model"),
                total_bytes=total,
                used_bytes=used,
                total_from=told,
                unified=unified or None,
                driver=driver,
                source=source,
                assumed=used is None,
                temperature=_first(celsius, card, "temperature (sensor junction) (c)", "temperature (sensor edge) (c)"),
                power=_first(watts, card, "average graphics package power (w)", "current socket graphics package power (w)"),
                power_limit=_first(watts, card, "max graphics package power (w)") or None,
                utilisation=percent(_value(card, "gpu use (%)")),
                float16=None if target is None else True,
                bfloat16=None if target is None else bool(_BFLOAT16.fullmatch(target)),
                at=at,
            )
        )
    found.sort(key=lambda card: card.index)
    return tuple(replace(card, index=number_) for number_, card in enumerate(found))


def _first(read: Callable[[object], T | None], card: Mapping[str, object], *keys: str) -> T | None:
    """The first of these that says something: what a card has not, it has as `N/A`."""
    return next((found for key in keys if (found := read(_value(card, key))) is not None), None)


def _value(card: Mapping[str, object], key: str) -> object:
    return next((value for name, value in card.items() if name.lower() == key), None)


def _entries(output: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Entries by the card's number: a list, a list under `gpu_data`, or one card alone."""
    for entry in _listed(output):
        if isinstance(entry, dict) and (index := card_number(entry.get("gpu"))) is not None:
            yield index, entry


def _listed(output: str) -> Sequence[object]:
    document = _json(output)
    if isinstance(document, dict):
        document = document.get("gpu_data", [document])
    return document if isinstance(document, list) else ()


def _json(output: str) -> object:
    """The document; warnings may stand before it."""
    starts = [at for at in (output.find("{"), output.find("[{"), output.find("[\n")) if at >= 0]
    if not starts:
        return None
    try:
        return json.JSONDecoder().raw_decode(output[min(starts) :])[0]
    except (ValueError, RecursionError):
        return None


def _leaf(document: object, *path: str) -> object:
    """A value, with its unit where it has one: `{"value": 45, "unit": "C"}` is `45 C`."""
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    if isinstance(document, dict):
        value, unit = document.get("value"), document.get("unit")
        return (
            f"{value} {unit}" if isinstance(unit, str) and isinstance(value, (int, float, str)) and not isinstance(value, bool) else value
        )
    return document
