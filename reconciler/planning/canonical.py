"""Canonical JSON: what a digest is over, the same bytes on any machine."""

from __future__ import annotations

import json
import re

import msgspec

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)
_FAST = msgspec.json.Encoder(order="deterministic")
_EXPONENT = re.compile(rb"e(?<=[0-9]e)")


def canonical_json(value: object) -> bytes:
    """`value`, in which every number is finite, with sorted keys, without spaces, in ASCII, as Python's json writes it.

    msgspec takes a seventh of the time, and writes all the same but what is not printable ASCII and numbers that are very small or large.
    """
    try:
        text = _FAST.encode(value)
    except UnicodeEncodeError:  # a lone surrogate
        return _CANONICAL.encode(value).encode()
    same = text.isascii() and b"\x7f" not in text and b"0.0000" not in text and _EXPONENT.search(text) is None
    return text if same else _CANONICAL.encode(value).encode()
