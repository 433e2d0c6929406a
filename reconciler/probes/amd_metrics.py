"""Cards of AMD out of metrics: those of AMD's device-metrics-exporter, and of node_exporter's collector `drm`.

Sources: ROCm/device-metrics-exporter (metrics `gpu_…`; its MB are MiB, as amd-smi's are), prometheus/node_exporter collector/drm_linux.go
(bytes, one sample a card of the driver amdgpu).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from reconciler.engines.metrics import Sample
from reconciler.fleet import CardFacts
from reconciler.probes.readings import card_number, celsius, count, mebibytes, of_bytes, percent, shares_memory, text, use, version, watts

METRICS = (
    "gpu_used_vram",
    "gpu_total_vram",
    "gpu_free_vram",
    "gpu_junction_temperature",
    "gpu_edge_temperature",
    "gpu_package_power",
    "gpu_average_package_power",
    "gpu_gfx_activity",
    "gpu_ecc_uncorrect_total",
)
LABELS = ("gpu_id", "gpu_uuid", "card_series", "card_model", "driver_version", "serial_number")

DRM_METRICS = ("node_drm_memory_vram_used_bytes", "node_drm_memory_vram_size_bytes", "node_drm_gpu_busy_percent")
DRM_LABELS = ("card",)
_DIGITS = re.compile(r"[0-9]{1,6}\Z")


def cards_of_amd(found: Iterable[Sample], source: str, at: str) -> tuple[CardFacts, ...]:
    """The cards that AMD's exporter tells of; of a card whose `gpu_id` is no number nothing."""
    cards: dict[int, dict[str, Sample]] = {}
    for sample in found:
        index = card_number(sample.labels.get("gpu_id"))
        if index is not None:
            cards.setdefault(index, {})[sample.name] = sample
    return tuple(_amd(index, values, source, at) for index, values in sorted(cards.items()))


def _amd(index: int, values: Mapping[str, Sample], source: str, at: str) -> CardFacts:
    labels = next(iter(values.values())).labels
    total, used, free = (mebibytes(_value(values, f"gpu_{word}_vram")) for word in ("total", "used", "free"))
    used = use(total, used, free)
    name = text(labels.get("card_series")) or text(labels.get("card_model"))
    return CardFacts(
        index=index,
        uuid=text(labels.get("gpu_uuid")),
        name=name,
        total_bytes=total or None,
        used_bytes=used,
        unified=shares_memory(name, total, None),
        driver=version(labels.get("driver_version")),
        source=source,
        assumed=used is None,
        temperature=celsius(_value(values, "gpu_junction_temperature", "gpu_edge_temperature")),
        power=watts(_value(values, "gpu_package_power", "gpu_average_package_power")),
        utilisation=percent(_value(values, "gpu_gfx_activity")),
        ecc_errors=count(_value(values, "gpu_ecc_uncorrect_total")),
        at=at,
    )


def cards_of_drm(found: Iterable[Sample], source: str, at: str) -> tuple[CardFacts, ...]:
    """The cards that node_exporter tells of, counted from 0 in the order of the kernel's numbers (`card1` alone is card 0)."""
    cards: dict[int, dict[str, Sample]] = {}
    for sample in found:
        number = _DIGITS.search(sample.labels.get("card", ""))
        if number is not None:
            cards.setdefault(int(number[0]), {})[sample.name] = sample
    return tuple(_drm(index, values, source, at) for index, (_, values) in enumerate(sorted(cards.items())))


def _drm(index: int, values: Mapping[str, Sample], source: str, at: str) -> CardFacts:
    total, used = (of_bytes(_value(values, f"node_drm_memory_vram_{word}_bytes")) for word in ("size", "used"))
    used = use(total, used, None)
    return CardFacts(
        index=index,
        total_bytes=total or None,
        used_bytes=used,
        source=source,
        assumed=used is None,
        utilisation=percent(_value(values, "node_drm_gpu_busy_percent")),
        at=at,
    )


def _value(values: Mapping[str, Sample], *names: str) -> float | None:
    return next((values[name].value for name in names if name in values), None)
