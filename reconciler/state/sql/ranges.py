"""Numbers that no such thing can have: an older gpurec took them from engines, or somebody changed a row. To who reads they are unknown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from reconciler.fleet import CardCharges
from reconciler.state.sql.connection import Connection
from reconciler.value_class import value_class

LARGEST = 2**63 - 1
"""The largest number that either database holds."""
MOST_BYTES = 2**60 - 1
MOST_TOKENS = 2**31 - 1
_MOST_SECONDS = 2.0**63 / 10**9
"""Go's longest duration, which engines count in."""


@value_class
class Range:
    least: float
    most: float

    def known(self, number: int | None) -> int | None:
        """The number, None where it is out of the range."""
        return number if number is not None and self.least <= number <= self.most else None

    def misses(self, value: object) -> bool:
        """Whether it is a number, and out of the range."""
        return isinstance(value, int | float) and not self.least <= value <= self.most


ASKED_TOKENS = Range(0, LARGEST)
SEEN_TOKENS = Range(0, MOST_TOKENS)
SIZE = Range(0, MOST_BYTES)
_SHARE = Range(0, 1)
_SECONDS = Range(0, _MOST_SECONDS)
_COUNT = Range(0, LARGEST)
_RANGES: Mapping[str, Mapping[str, Range]] = {
    "replicas": {
        "context": ASKED_TOKENS,
        "keep_alive": Range(-1, _MOST_SECONDS),
        "observed_context": SEEN_TOKENS,
        "observed_gpu_fraction": _SHARE,
        "vram_bytes": SIZE,
    },
    "needs": {"reported_bytes": SIZE, "card_bytes": SIZE},
    "load_times": {"context": ASKED_TOKENS, "load_seconds": _SECONDS},
    "runs": {"seconds": _SECONDS, "unplaced": _COUNT, "deferred": _COUNT},
    "journal": {"seconds": _SECONDS},
}
_KEYS = {"replicas": "address", "needs": "key", "load_times": "engine_name", "runs": "id", "journal": "step_id"}


def _within(column: str, each: Range) -> str:
    return f"{column} BETWEEN {each.least} AND {each.most}"


def known_columns(table: str, columns: str) -> str:
    """The columns of a SELECT, those that hold a number out of its range as NULL."""
    ranges = _RANGES[table]
    return ", ".join(f"CASE WHEN {_within(one, ranges[one])} THEN {one} END" if one in ranges else one for one in columns.split(", "))


def numbers_out_of_range(conn: Connection) -> Iterator[tuple[str, str]]:
    """Every number that no such thing can have: the table and key of its row, and which column holds what."""
    for table, ranges in _RANGES.items():
        wrong = " OR ".join(f"NOT ({_within(column, each)})" for column, each in ranges.items())
        for key, *values in conn.execute(f"SELECT {_KEYS[table]}, {', '.join(ranges)} FROM {table} WHERE {wrong}"):  # noqa: S608
            for (column, each), value in zip(ranges.items(), values, strict=True):
                if each.misses(value):
                    yield f"{table} {key}", f"{column} is {value}"

    for table, query, numbers in _TEXTS:
        for key, text in conn.execute(query):
            with suppress(ValueError, RecursionError):  # told as a row that cannot be read
                found = [f"{name} is {value}" for name, each, value in numbers(json.loads(text)) if each.misses(value)]
                yield from ((f"{table} {key}", each) for each in found)


_Number = tuple[str, Range, object]


def _of_charges(charges: object) -> Iterator[_Number]:
    for pair in charges if isinstance(charges, list) else ():
        match pair:
            case [card, size]:
                yield f"the charge of card {card}", SIZE, size


def _of_change(body: object) -> Iterator[_Number]:
    if isinstance(body, list):
        yield from ((name, each, body[at]) for at, (name, each) in _IN_CHANGE.items() if at < len(body))


def _of_facts(body: object) -> Iterator[_Number]:
    waiting: list[object] = [body]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from ((name, _IN_FACTS[name], value) for name, value in one.items() if name in _IN_FACTS)
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


_IN_CHANGE = {5: ("context", ASKED_TOKENS), 9: ("vram_bytes", SIZE), 11: ("observed_context", SEEN_TOKENS)}
_IN_FACTS = {
    "context": SEEN_TOKENS,
    **dict.fromkeys(("size_bytes", "vram_bytes", "total_bytes", "used_bytes", "foreign_bytes", "reserved_bytes", "ram_bytes"), SIZE),
}
_TEXTS: tuple[tuple[str, str, Callable[[object], Iterator[_Number]]], ...] = (
    ("replicas", "SELECT address, charges FROM replicas WHERE charges IS NOT NULL ORDER BY address", _of_charges),
    ("changes", "SELECT address, body FROM changes WHERE body IS NOT NULL ORDER BY address, serial", _of_change),
    ("facts", "SELECT node, body FROM facts ORDER BY node", _of_facts),
)


def known_change(values: list[Any]) -> list[Any]:
    """The values of a row of `changes`, numbers out of their range as unknown."""
    return [_IN_CHANGE[at][1].known(value) if at in _IN_CHANGE else value for at, value in enumerate(values)]


def known_charges(charges: CardCharges) -> CardCharges | None:
    """The charges of a load; None where one of them is out of its range."""
    return None if any(SIZE.misses(size) for _, size in charges) else charges
