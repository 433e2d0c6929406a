"""Cards out of dcgm-exporter's metrics (etc/default-counters.csv of NVIDIA/dcgm-exporter): memory in MiB, power in W, use in percent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.engines.metrics import Sample, samples
from reconciler.fleet import CardFacts
from reconciler.probes.nvml import slice_index
from reconciler.probes.readings import (
    MOST_XID,
    card_number,
    celsius,
    count,
    mebibytes,
    percent,
    shares_memory,
    text,
    throttle_reasons,
    use,
    version,
    watts,
)

PREFIX = "DCGM_FI_"
_BLANK = 2147483632.0
"""From here on a value is one of DCGM's marks for "not there" (dcgm_fields.h: DCGM_INT32_BLANK and above)."""

_THERE = ""
"""The name under which a sample stands that says nothing but that its card is there."""


METRICS = (
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_FB_FREE",
    "DCGM_FI_DEV_FB_RESERVED",
    "DCGM_FI_DEV_FB_TOTAL",
    "DCGM_FI_DEV_GPU_TEMP",
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_ENFORCED_POWER_LIMIT",
    "DCGM_FI_DEV_POWER_MGMT_LIMIT",
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_CLOCKS_EVENT_REASONS",
    "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS",
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
    "DCGM_FI_DEV_XID_ERRORS",
)
"""What is read, the first of a card surely there."""
LABELS = ("UUID", "gpu", "modelName", "DCGM_FI_DRIVER_VERSION", "GPU_I_ID", "GPU_I_PROFILE")


def cards_of_dcgm(body: str, source: str, at: str) -> tuple[CardFacts, ...]:
    """The cards of an exporter; of a card in MIG mode its slices, also where the exporter does not tell their memory."""
    return cards_of_samples(samples(body, PREFIX), source, at)


def cards_of_samples(found: Iterable[Sample], source: str, at: str) -> tuple[CardFacts, ...]:
    """The same of samples, each with its whole name."""
    whole_cards: dict[str, dict[str, Sample]] = {}
    slices: dict[str, dict[str, dict[str, Sample]]] = {}
    for sample in found:
        mark = sample.labels.get("UUID") or sample.labels.get("gpu")
        if mark is None:
            continue
        name = sample.name.removeprefix(PREFIX).removeprefix("DEV_")
        instance = sample.labels.get("GPU_I_ID", "")
        own = whole_cards.setdefault(mark, {}) if not instance else slices.setdefault(mark, {}).setdefault(instance, {})
        if sample.value >= _BLANK or sample.value < 0:
            own.setdefault(_THERE, sample)  # a card of which nothing is known is there all the same
        else:
            own[name] = sample
    cards: list[CardFacts] = []
    for mark in {**whole_cards, **slices}:
        parts = slices.get(mark, {})
        own = whole_cards.get(mark, {})
        if not parts:
            cards.append(_card(own, source, at))
            continue
        parent = _card({**own, **_any(parts)}, source, at)
        cards.extend(_slice(number, values, parent, source, at) for number, (_, values) in enumerate(sorted(parts.items(), key=_instance)))
    return tuple(sorted(cards, key=lambda card: card.index))


def _instance(part: tuple[str, object]) -> tuple[int, str]:
    """Slices are numbered as nvidia-smi numbers them: by their GPU instance, of which 13 comes after 7."""
    return card_number(part[0]) or 0, part[0]


def _any(parts: Mapping[str, Mapping[str, Sample]]) -> Mapping[str, Sample]:
    return next(iter(parts.values()), {})


def _card(values: Mapping[str, Sample], source: str, at: str) -> CardFacts:
    labels: Mapping[str, str] = next((sample.labels for sample in values.values()), {})
    free, used, reserved, total = (_mebibytes(values, name) for name in ("FB_FREE", "FB_USED", "FB_RESERVED", "FB_TOTAL"))
    if total is None and free is not None and used is not None and reserved is not None and free + used > 0:
        # The default list has no total; without the reserved part it would be too small, and stays unknown.
        total = free + used + reserved
    used = use(total, used, free, reserved) if free or used else None
    xid, throttle = _value(values, "XID_ERRORS"), _value(values, "CLOCKS_EVENT_REASONS", "CLOCK_THROTTLE_REASONS")
    return CardFacts(
        index=card_number(labels.get("gpu")) or 0,
        uuid=text(labels.get("UUID")),
        name=text(labels.get("modelName")),
        total_bytes=total or None,
        used_bytes=used,
        unified=shares_memory(text(labels.get("modelName")), total, None),
        driver=version(labels.get("DCGM_FI_DRIVER_VERSION")),
        source=source,
        assumed=used is None,
        temperature=celsius(_value(values, "GPU_TEMP")),
        power=watts(_value(values, "POWER_USAGE")),
        power_limit=watts(_value(values, "ENFORCED_POWER_LIMIT", "POWER_MGMT_LIMIT")),
        utilisation=percent(_value(values, "GPU_UTIL")),
        throttle=throttle_reasons(count(throttle)),
        ecc_errors=count(_value(values, "ECC_DBE_VOL_TOTAL")),
        xid=count(xid, MOST_XID),
        at=at,
        reserved_bytes=reserved,
    )


def _slice(number: int, values: Mapping[str, Sample], parent: CardFacts, source: str, at: str) -> CardFacts:
    own = _card(values, source, at)
    labels = next(iter(values.values())).labels
    profile = text(labels.get("GPU_I_PROFILE"))
    return CardFacts(
        index=slice_index(parent, number),
        name=f"{parent.name or 'NVIDIA'} MIG {profile}" if profile else parent.name,
        total_bytes=own.total_bytes,
        used_bytes=own.used_bytes,
        driver=parent.driver,
        source=source,
        assumed=own.used_bytes is None,
        temperature=parent.temperature,
        ecc_errors=parent.ecc_errors,
        xid=parent.xid,
        mig_parent=parent.uuid,
        at=at,
        reserved_bytes=own.reserved_bytes,
    )


def _value(values: Mapping[str, Sample], *names: str) -> float | None:
    return next((values[name].value for name in names if name in values), None)


def _mebibytes(values: Mapping[str, Sample], name: str) -> int | None:
    return mebibytes(_value(values, name))
