"""Prometheus' text format as far as exporters of cards need it: samples with their labels. Bounded; what is no sample is left out."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}
_ESCAPED = re.compile(r"\\[\\\"n]")
_MOST = 200_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One value; never NaN or infinite."""

    name: str
    labels: Mapping[str, str]
    value: float


def samples(text: str, prefix: str = "") -> Iterator[Sample]:
    """The samples whose names begin with `prefix`."""
    for line in text.splitlines()[:_MOST]:
        if not line.startswith(prefix) or line.startswith("#"):
            continue
        match = _SAMPLE.fullmatch(line.strip())
        if match is None:
            continue
        name, inside, said = match.groups()
        labels = _labels(inside or "")
        try:
            value = float(said)
        except ValueError:
            continue
        if labels is not None and math.isfinite(value):
            yield Sample(name, labels, value)


def _labels(inside: str) -> Mapping[str, str] | None:
    labels: dict[str, str] = {}
    at = 0
    while at < len(inside):
        match = _LABEL.match(inside, at)
        if match is None:
            return None
        labels[match.group(1)] = _ESCAPED.sub(lambda found: _ESCAPES[found.group(0)], match.group(2))
        at = match.end()
    return labels
