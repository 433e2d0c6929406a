"""Cards out of `nvidia-smi`'s answer to a query, with what its log, its list and the kernel's log add. Field names: drivers 470 to 610."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace

from reconciler.engines.foreign_text import clean_text
from reconciler.fleet import CardFacts, CardId
from reconciler.probes.nvml import SLICES_FROM
from reconciler.probes.readings import (
    capability,
    card_number,
    celsius,
    count,
    half_precision,
    lost,
    mebibytes,
    percent,
    shares_memory,
    text,
    throttle_reasons,
    use,
    version,
    watts,
)

_HEADING = re.compile(r"\s*([a-z_.]+)(?:\s*\[[^]]*\])?\s*")
_XID = re.compile(r"NVRM: Xid \(PCI:([0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2})[^)]{0,80}\): (\d{1,4})")
_BUS_ID = re.compile(r"([0-9A-Fa-f]{4}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2})\.[0-9]")
_LONGEST_LINE = 400
_LISTED = re.compile(r"GPU (\d{1,3}): ")
_LISTED_SLICE = re.compile(r"\s+MIG (\S{1,40})\s+Device\s+(\d{1,3}): \(UUID: (MIG-[0-9A-Za-z/-]{1,80})\)")
_MASK = re.compile(r"0x[0-9a-fA-F]{1,16}")
_MOST = 256
_NO_NAME = (None, None)


def cards_of_csv(output: str, source: str, at: str) -> tuple[CardFacts, ...]:
    """Cards of a query with its heading; fields that are not there are unknown. Lines that are no card (warnings) are left out."""
    rows = _rows(output)
    start = next((nr for nr, row in enumerate(rows) if row and row[0].strip() == "index"), None)
    if start is None:
        return ()
    names = [match.group(1) if (match := _HEADING.fullmatch(cell)) else "" for cell in rows[start]]
    found = []
    for row in rows[start + 1 : start + 1 + _MOST]:
        values = dict(zip(names, (cell.strip() for cell in row), strict=False))
        index = card_number(values.get("index"))
        if len(row) == len(names) and index is not None:
            found.append(_of_row(values, index, source, at))
    return tuple(found)


def lost_cards(output: str, seen: Collection[str], on_bus: Mapping[str, str]) -> list[str]:
    """A sentence for each card that nvidia-smi cannot reach: it says so, or is silent of one on the bus.

    `seen` are the bus ids of those that it tells, `on_bus` the drivers of NVIDIA's cards by bus id (`0000:41:00.0`).
    """
    said: dict[str, str] = {}
    for line in output.splitlines():
        line = line[:_LONGEST_LINE]
        match = _BUS_ID.search(line) if "Unable to determine the device handle" in line else None
        if match is not None:
            said[match.group(1).lower()] = f"nvidia-smi: {clean_text(line)}"
    known = {*seen, *said}
    hidden = [bus for bus, driver in sorted(on_bus.items()) if driver == "nvidia" and bus.partition(".")[0] not in known]
    return [*said.values(), *(f"the card at {bus} is on the bus, and nvidia-smi does not tell of it" for bus in hidden)]


def _rows(output: str) -> list[list[str]]:
    """The lines as cells; of a line that no csv can have (a field without end) nothing."""
    found: list[list[str]] = []
    for line in output.splitlines():
        try:
            found.extend(csv.reader([line], skipinitialspace=True))
        except csv.Error:
            continue
    return found


def _of_row(values: Mapping[str, str], index: int, source: str, at: str) -> CardFacts:
    total, used, free, reserved = (mebibytes(values.get(f"memory.{word}")) for word in ("total", "used", "free", "reserved"))
    used = use(total, used, free, reserved)
    compute = capability(values.get("compute_cap"))
    half, brain = half_precision(compute)
    fault = lost(values.values())
    return CardFacts(
        index=index,
        uuid=text(values.get("uuid")),
        name=text(values.get("name")),
        total_bytes=total or None,
        used_bytes=used,
        compute_capability=compute,
        driver=version(values.get("driver_version")),
        source=source,
        assumed=used is None,
        temperature=celsius(values.get("temperature.gpu")),
        power=watts(values.get("power.draw")),
        power_limit=watts(values.get("enforced.power.limit")),
        utilisation=percent(values.get("utilization.gpu")),
        throttle=throttle_reasons(_mask(values.get("clocks_event_reasons.active"))),
        ecc_errors=count(values.get("ecc.errors.uncorrected.volatile.total")),
        float16=half,
        bfloat16=brain,
        unified=shares_memory(text(values.get("name")), total, values.get("memory.total")),
        fault=fault,
        at=at,
        reserved_bytes=reserved,
    )


def _mask(value: str | None) -> int | None:
    return int(value, 16) if value is not None and _MASK.fullmatch(value) else None


def merged(queried: Sequence[CardFacts], logged: Sequence[CardFacts], slices: Mapping[int, Sequence[CardFacts]]) -> tuple[CardFacts, ...]:
    """Cards of the query, with what only the log tells; cards in MIG mode are their slices, with the capability of the card."""
    by_mark = {card.uuid if card.uuid is not None else card.index: card for card in logged}
    found: list[CardFacts] = []
    for card in queried or logged:
        other = by_mark.get(card.uuid if card.uuid is not None else card.index)
        whole_card = _filled(card, other) if other is not None else card
        index = other.index if other is not None else card.index
        own = slices.get(index) if isinstance(index, int) else None
        if own is None:
            found.append(whole_card)
            continue
        found.extend(
            replace(
                part,
                compute_capability=whole_card.compute_capability,
                float16=whole_card.float16,
                bfloat16=whole_card.bfloat16,
                ecc_errors=whole_card.ecc_errors,
                fault=whole_card.fault,
                unified=None,
            )
            for part in own
        )
    return tuple(found)


def with_slice_names(cards: Sequence[CardFacts], listed: str) -> tuple[CardFacts, ...]:
    """Slices with the UUID and the profile that `nvidia-smi -L` names them by."""
    named: dict[CardId, tuple[str, str]] = {}
    parent = -1
    for line in listed.splitlines():
        if (match := _LISTED.match(line)) is not None:
            parent = int(match.group(1))
        elif (match := _LISTED_SLICE.match(line)) is not None and parent >= 0:
            named[SLICES_FROM * (parent + 1) + int(match.group(2))] = (match.group(1), match.group(3))
    found = []
    for card in cards:
        profile, uuid = named.get(card.index, _NO_NAME) if card.mig_parent is not None else _NO_NAME
        name = f"{card.name or 'NVIDIA'} MIG {profile}" if profile is not None else card.name
        found.append(replace(card, uuid=card.uuid or uuid, name=name))
    return tuple(found)


def with_xids(cards: Sequence[CardFacts], lines: str, buses: Mapping[str, str]) -> tuple[CardFacts, ...]:
    """The last XID of each card out of the kernel's log; 0 where the log could be read and names none. `buses` are bus ids by UUID."""
    if not lines:
        return tuple(cards)
    last = {match.group(1).lower(): int(match.group(2)) for match in _XID.finditer(lines)}
    readable = lines.rstrip().endswith("readable")
    return tuple(
        replace(card, xid=last.get(buses[card.uuid], 0 if readable else None)) if card.uuid is not None and card.uuid in buses else card
        for card in cards
    )


def buses_of_csv(output: str) -> Mapping[str, str]:
    """Bus ids (`0000:01:00`) by UUID."""
    found = {}
    for row in _rows(output):
        match = next((_BUS_ID.search(cell) for cell in row[3:4]), None)
        if match is not None:
            found[row[1].strip()] = match.group(1).lower()
    return found


def _filled(card: CardFacts, other: CardFacts) -> CardFacts:
    gaps = {one.name: getattr(other, one.name) for one in fields(CardFacts) if getattr(card, one.name) is None}
    found = replace(card, **gaps)
    return replace(found, assumed=found.used_bytes is None)
