"""Prometheus' text format 0.0.4 as far as engines and exporters of cards need it: samples with their labels.

Read in one pass: a line is as long as it is, and is never gone through twice. What is no sample is left out.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping
from itertools import islice

from reconciler.value_class import value_class

LARGEST = 16 << 20
"""Bytes of a page of metrics that is read at all."""
_MOST_LINES = 200_000
_LONGEST_LINE = 256 * 1024
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*+")
_LABEL = re.compile(r'[ \t]{0,16}([a-zA-Z_][a-zA-Z0-9_]{0,255})[ \t]{0,16}=[ \t]{0,16}"((?:[^"\\]|\\.)*+)"[ \t]{0,16}(,?)')
_ESCAPED = re.compile(r"\\[\\\"n]")
_ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


@value_class
class Sample:
    """One value; never NaN or infinite."""

    name: str
    labels: Mapping[str, str]
    value: float


def samples(text: str, prefix: str = "") -> Iterator[Sample]:
    """The samples whose names begin with `prefix`."""
    for line in islice(io.StringIO(text, newline="\n"), _MOST_LINES):
        if line.startswith(prefix) and not line.startswith("#") and len(line) <= _LONGEST_LINE:
            sample = _sample(line.strip())
            if sample is not None:
                yield sample


def _sample(line: str) -> Sample | None:
    name = _NAME.match(line)
    if name is None:
        return None
    labels: dict[str, str] = {}
    at = name.end()
    if line.startswith("{", at):
        at += 1
        while (label := _LABEL.match(line, at)) is not None:
            labels[label[1]] = _ESCAPED.sub(lambda found: _ESCAPES[found[0]], label[2])
            at = label.end()
            if not label[3]:
                break
        rest = line[at:].lstrip()
        if not rest.startswith("}"):
            return None
        words = rest[1:].split(None, 2)
    else:
        words = line[at:].split(None, 2)
        if not line[at : at + 1].isspace():
            return None
    if not 1 <= len(words) <= 2:
        return None
    try:
        value = float(words[0])
        if len(words) == 2:
            int(words[1])
    except ValueError:
        return None
    return Sample(name[0], labels, value) if math.isfinite(value) else None
