"""Cards out of nvidia_gpu_exporter's metrics (utkuozdemir): bytes, ratios, watts; what is unknown is absent.

It tells nothing of the slices of a card in MIG mode, on which alone anything can run: such a card is left out and named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.engines.metrics import Sample, samples
from reconciler.fleet import CardFacts
from reconciler.probes.readings import (
    THROTTLE_WORDS,
    capability,
    card_number,
    celsius,
    count,
    half_precision,
    of_bytes,
    shares_memory,
    text,
    use,
    version,
    watts,
)

PREFIX = "nvidia_smi_"


def uuid_of(label: str) -> str:
    """The UUID as NVIDIA writes it: the exporter's is in lower case and without `GPU-`."""
    bare = label.lower().removeprefix("gpu-")
    return f"GPU-{bare}"


METRICS = (
    "nvidia_smi_memory_used_bytes",
    "nvidia_smi_memory_total_bytes",
    "nvidia_smi_memory_free_bytes",
    "nvidia_smi_memory_reserved_bytes",
    "nvidia_smi_gpu_info",
    "nvidia_smi_index",
    "nvidia_smi_temperature_gpu",
    "nvidia_smi_power_draw_watts",
    "nvidia_smi_enforced_power_limit_watts",
    "nvidia_smi_power_limit_watts",
    "nvidia_smi_utilization_gpu_ratio",
    "nvidia_smi_ecc_errors_uncorrected_volatile_total",
    "nvidia_smi_mig_mode_current",
    *(f"{PREFIX}clocks_event_reasons_{word}" for word in THROTTLE_WORDS),
)
"""What is read, the first of a card surely there."""
LABELS = ("uuid", "name", "index", "driver_version", "compute_cap", "cuda_version")


def cards_of_exporter(body: str, source: str, at: str) -> tuple[tuple[CardFacts, ...], tuple[str, ...]]:
    """The cards that its last collection saw, and the notes; none where that failed."""
    return cards_of_samples(samples(body, PREFIX), source, at)


def cards_of_samples(seen: Iterable[Sample], source: str, at: str) -> tuple[tuple[CardFacts, ...], tuple[str, ...]]:
    """The same of samples, each with its whole name."""
    cards: dict[str, dict[str, Sample]] = {}
    for sample in seen:
        name = sample.name.removeprefix(PREFIX)
        if name == "last_collect_success" and sample.value == 0:
            return (), ()
        if "uuid" in sample.labels:
            cards.setdefault(uuid_of(sample.labels["uuid"]), {})[name] = sample
    found: list[CardFacts] = []
    notes: list[str] = []
    for number, (uuid, values) in enumerate(sorted(cards.items())):
        card = _card(uuid, values, number, source, at)
        if _value(values, "mig_mode_current") == 1:
            notes.append(f"card {card.index} is in MIG mode, and this exporter tells nothing of its slices: probe by ssh, nvml or dcgm")
        else:
            found.append(card)
    return tuple(sorted(found, key=lambda card: card.index)), tuple(notes)


def _card(uuid: str, values: Mapping[str, Sample], number: int, source: str, at: str) -> CardFacts:
    labels: Mapping[str, str] = values["gpu_info"].labels if "gpu_info" in values else {}
    index = card_number(labels.get("index"))
    if index is None:
        index = card_number(_value(values, "index"))
    words = ("total", "used", "free", "reserved")
    total, used, free, reserved = (of_bytes(_value(values, f"memory_{word}_bytes")) for word in words)
    used = use(total, used, free, reserved)
    compute = capability(labels.get("compute_cap"))
    half, brain = half_precision(compute)
    busy = _value(values, "utilization_gpu_ratio")
    reasons = {word: _throttled(values, word) for word in THROTTLE_WORDS}
    return CardFacts(
        index=number if index is None else index,
        uuid=uuid,
        name=text(labels.get("name")),
        total_bytes=total or None,
        used_bytes=used,
        compute_capability=compute,
        driver=version(labels.get("driver_version")),
        source=source,
        unified=shares_memory(text(labels.get("name")), total, None),
        assumed=used is None,
        temperature=celsius(_value(values, "temperature_gpu")),
        power=watts(_value(values, "power_draw_watts")),
        power_limit=watts(_value(values, "enforced_power_limit_watts", "power_limit_watts")),
        utilisation=busy if busy is not None and 0 <= busy <= 1 else None,
        throttle=None if None in reasons.values() else tuple(word for word, active in reasons.items() if active),
        ecc_errors=count(_value(values, "ecc_errors_uncorrected_volatile_total")),
        cuda=version(labels.get("cuda_version")),
        float16=half,
        bfloat16=brain,
        at=at,
        reserved_bytes=reserved,
    )


def _value(values: Mapping[str, Sample], *names: str) -> float | None:
    return next((values[name].value for name in names if name in values), None)


def _throttled(values: Mapping[str, Sample], word: str) -> bool | None:
    found = _value(values, f"clocks_event_reasons_{word}", f"clocks_throttle_reasons_{word}")
    return None if found is None else found != 0
