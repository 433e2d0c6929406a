"""Choices made by bytes: the same bytes make the same choices, so that a fuzzer that changes bytes changes what is chosen."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

HOSTILE: Sequence[object] = (
    None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**20, 10**400, 0.5, -0.0, 1e18, 1e308, -1e308,
    float("nan"), float("inf"), float("-inf"), "", " ", "0", "-1", "1e999", "NaN", "inf", "9" * 5000, "0x" + "f" * 400, "١٢٣", "²", "1_0",
    "\x00", "\ud800", "\udfff\ud800", "\u202e\u200b", "\x1b[2J", "a" * 70000, "é" * 300, "../../etc/passwd", "sha256:",
    "sha256:" + "a" * 64,
    "{{ 1 }}", "!!python/object", "name@host/engine", "a:b:c", "10:20", "2026-02-30T25:61:00Z", "9999-12-31T23:59:59.999999999+23:59",
    "0001-01-01T00:00:00Z", "[N/A]", "1 MiB", "8GiB", [], {}, [[]], [None], [0] * 3000, {"": None}, {"a": {"a": {"a": {}}}},
)  # fmt: skip
"""Values that readers fell over, somewhere, once."""


class Choices:
    """Bytes as a source of numbers; when they are used up it is all zeros."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def below(self, bound: int) -> int:
        """A number from 0 to bound - 1 (at most 65,535)."""
        piece = self._data[self._at : self._at + (1 if bound <= 256 else 2)]
        self._at += len(piece)
        return int.from_bytes(piece, "little") % bound

    def of(self, values: Sequence[T]) -> T:
        return values[self.below(len(values))]

    def rest(self) -> bytes:
        piece, self._at = self._data[self._at :], len(self._data)
        return piece

    def some(self, most: int = 64) -> bytes:
        """A few bytes, their number drawn first."""
        length = self.below(most)
        piece = self._data[self._at : self._at + length]
        self._at += length
        return piece

    def value(self) -> object:
        """Any value of JSON: one that is known to be hostile, a number or a text of the bytes, or one in many brackets."""
        match self.below(8):
            case 0:
                return int.from_bytes(self.some(12), "little", signed=True)
            case 1:
                return self.some().decode("utf-8", "surrogateescape")
            case 2:
                inner = self.value()
                for _ in range(self.of((1, 2, 30, 150, 600))):
                    inner = [inner] if self.below(2) else {"a": inner}
                return inner
            case _:
                return copy.deepcopy(self.of(HOSTILE))


def places(value: Any) -> list[tuple[Any, ...]]:
    """The way to every value in a document but the whole."""
    found: list[tuple[Any, ...]] = []
    waiting: list[tuple[Any, tuple[Any, ...]]] = [(value, ())]
    while waiting:
        one, way = waiting.pop()
        inside = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        for key, inner in inside:
            found.append((*way, key))
            waiting.append((inner, (*way, key)))
    return found


def changed(document: Any, choices: Choices) -> Any:
    """A copy with up to four of its values exchanged, dropped, doubled, renamed or moved."""
    whole = {"": copy.deepcopy(document)}
    for _ in range(1 + choices.below(4)):
        ways = places(whole)
        if not ways:
            break
        *way, last = choices.of(ways)
        holder: Any = whole
        for key in way:
            holder = holder[key]
        match choices.below(8):
            case 0 if way:
                del holder[last]
            case 1 if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[last]))
            case 2 if isinstance(holder, dict) and way:
                holder[choices.some().decode("utf-8", "surrogateescape")] = holder.pop(last)
            case 3:
                source: Any = whole
                for key in choices.of(ways):
                    source = source[key]
                holder[last] = copy.deepcopy(source)
            case _:
                holder[last] = choices.value()
    return whole.get("")


def as_json(value: object) -> bytes:
    """As a server would send it; numbers may be NaN and texts may hold half of a character."""
    return json.dumps(value, default=str).encode()
