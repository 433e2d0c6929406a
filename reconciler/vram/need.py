"""The bytes a model needs on an engine, from the first source that knows: declared, measured, file size with a stated factor.

There is no fourth source and no default: a model about which nothing is known has no need, and is not placed on a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from reconciler.fleet import EngineKind, MeasuredKey, ModelSpec

FILE_SIZE_FACTOR = Fraction(6, 5)
"""Resident bytes over file bytes when nothing better is known: weights are the file, the rest is for cache and compute at a few thousand
tokens. A stand-in until needs are computed from the model's metadata; shown as `file size × 1.2` wherever it is used."""


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes on cards (or in RAM for a CPU replica) and where the figure comes from: `declared`, `measured` or `file_size`."""

    bytes: int
    source: str


def known_need(model: ModelSpec, kind: EngineKind, file_bytes: int | None, measured: Mapping[MeasuredKey, int]) -> Need | None:
    """What `model` needs on an engine of `kind`; None when no source knows. `file_bytes` is the installed file's size."""
    if model.vram is not None:
        return Need(model.vram, "declared")
    seen = measured.get(MeasuredKey(kind, model.engine_name(kind), model.context))
    if seen is not None:
        return Need(seen, "measured")
    if file_bytes is not None and file_bytes > 0:
        return Need(-(-file_bytes * FILE_SIZE_FACTOR.numerator // FILE_SIZE_FACTOR.denominator), "file_size")
    return None
