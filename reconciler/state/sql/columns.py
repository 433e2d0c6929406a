"""Columns whose text has a form of its own: JSON, a number, a time, one of some words. What is something else is NotAsWritten."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from types import UnionType
from typing import Any, TypeVar, get_type_hints

from reconciler.fleet import CardCharges, MeasuredKey, Scalar
from reconciler.state.not_as_written import NotAsWritten

_KEY = get_type_hints(MeasuredKey)
_KEY_LEAST = 4
_CHANGE: tuple[type | UnionType, ...] = (
    *(str,) * 5, int | None, dict, int | float | None, str, int | None, bool, int | None
)  # fmt: skip
_CHANGE_LEAST = 10
"""What a row of `changes` holds, and how many values of them the first schema with it had."""
Word = TypeVar("Word", bound=Enum)


def read_mapping(column: str, value: object) -> Mapping[str, Scalar]:
    """A mapping of single values, from its JSON or from a part of one that was read."""
    found = _json(column, value) if isinstance(value, str) else value
    if not isinstance(found, dict):
        raise NotAsWritten(f"{column} must be a mapping")
    return found


def read_list(column: str, text: object, least: int, most: int) -> list[object]:
    """A list of `least` to `most` values, from its JSON."""
    found = _json(column, text)
    if not isinstance(found, list):
        raise NotAsWritten(f"{column} must be a list")
    if not least <= len(found) <= most:
        expected = f"{least}" if least == most else f"{least} to {most}"
        raise NotAsWritten(f"{column} must have {expected} values, it has {len(found)}")
    return found


def read_charges(text: object) -> CardCharges:
    """Pairs of a card and its bytes."""
    return tuple(map(_charge, read_list("charges", text, 0, 100_000)))


def _charge(pair: object) -> tuple[int | str, int]:
    match pair:
        case [int() | str() as card, int() as count]:
            return card, count
    raise NotAsWritten("charges must be pairs of a card and its bytes")


def read_measured_key(text: object) -> MeasuredKey:
    """The fields of the key of a measured need, in their order."""
    fields = read_list("key", text, _KEY_LEAST, len(_KEY))
    for value, (name, kinds) in zip(fields, _KEY.items(), strict=False):
        if not isinstance(value, kinds):
            raise NotAsWritten(f"the {name} of key is of another type than gpurec writes")
    return MeasuredKey(*fields)  # type: ignore[arg-type]


def read_change(body: object) -> list[Any]:
    """What was asked of a replica, as a row of `changes` has it."""
    values = read_list("body", body, _CHANGE_LEAST, len(_CHANGE))
    for number, (value, kinds) in enumerate(zip(values, _CHANGE, strict=False), start=1):
        if not isinstance(value, kinds):
            raise NotAsWritten(f"value {number} of body is of another type than gpurec writes")
    return values


def read_number(column: str, text: object) -> int:
    try:
        return int(str(text))
    except ValueError:
        raise NotAsWritten(f"{column} must be a whole number") from None


def read_time(column: str, text: object) -> datetime:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        raise NotAsWritten(f"{column} must be a time") from None


def read_word(column: str, words: type[Word], value: object) -> Word:
    try:
        return words(value)
    except ValueError:
        raise NotAsWritten(f"{column} must be one of {', '.join(str(word.value) for word in words)}") from None


def _json(column: str, text: object) -> object:
    try:
        return json.loads(str(text))
    except json.JSONDecodeError:
        raise NotAsWritten(f"{column} is not JSON") from None
    except (RecursionError, ValueError):
        raise NotAsWritten(f"{column} is nested too deeply, or has a number of too many digits") from None
