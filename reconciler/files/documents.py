"""What is wrong with a document, in words of ours: a reader's own words name classes, and go over many lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

_LONGEST = 200
_MAPPING = "must be a mapping"
_LIST = "must be a list"
_TIME = "must be a time"
_WORDS: Mapping[str, str] = MappingProxyType({
    "missing": "is missing", "missing_argument": "is missing", "missing_positional_only_argument": "is missing",
    "extra_forbidden": "is not known here", "unexpected_keyword_argument": "is not known here", "unexpected_positional_argument": _MAPPING,
    "json_invalid": "is not JSON", "json_type": "is not JSON", "string_type": "must be text", "string_unicode": "must be text",
    "int_type": "must be a whole number", "int_parsing": "must be a whole number", "int_from_float": "must be a whole number",
    "int_parsing_size": "is a number that nothing has", "finite_number": "must be a finite number",
    "float_type": "must be a number", "float_parsing": "must be a number",
    "bool_type": "must be true or false", "bool_parsing": "must be true or false",
    "list_type": _LIST, "tuple_type": _LIST, "set_type": _LIST, "frozen_set_type": _LIST, "iterable_type": _LIST,
    "dict_type": _MAPPING, "mapping_type": _MAPPING, "model_type": _MAPPING, "model_attributes_type": _MAPPING, "dataclass_type": _MAPPING,
    "dataclass_exact_type": _MAPPING, "arguments_type": _MAPPING, "none_required": "must be null", "recursion_loop": "is nested too deeply",
    "date_type": _TIME, "date_parsing": _TIME, "datetime_type": _TIME, "datetime_parsing": _TIME, "datetime_from_date_parsing": _TIME,
    "too_long": "holds too many values", "too_short": "holds too few values", "string_too_long": "is too long",
    "string_too_short": "is too short", "string_pattern_mismatch": "is not of its form", "union_tag_invalid": "is of no known kind",
})  # fmt: skip
"""By the types of errors.pydantic.dev (pydantic 2, "Validation Errors")."""
_BOUNDS: Mapping[str, tuple[str, str]] = MappingProxyType({
    "greater_than": ("gt", "must be more than"), "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"), "less_than_equal": ("le", "must be at most"),
    "enum": ("expected", "must be"), "literal_error": ("expected", "must be"),
})  # fmt: skip


def what_is_wrong(error: ValidationError, within: Sequence[str | int] = (), most: int = 1) -> tuple[str, ...]:
    """The first `most` things that pydantic found, each as one line of at most 200 characters without a full stop: the path to it, `within`
    the keys that lead to the document, and what it must be. What stands there is not told: it may be a secret."""
    found = error.errors(include_url=False, include_input=False)[:most]
    return tuple(_line((*within, *one["loc"]), one["type"], one.get("ctx", {}), one["msg"]) for one in found)


def _line(path: Sequence[str | int], kind: str, more: Mapping[str, Any], said: str) -> str:
    bound = _BOUNDS.get(kind)
    if bound is not None:
        words = f"{bound[1]} {more.get(bound[0])}"
    elif kind in ("value_error", "assertion_error"):
        words = f"is wrong: {more.get('error', said)}"
    else:
        words = _WORDS.get(kind, "is not of its form")
    where = ".".join(" ".join(str(part).split()) for part in path)
    line = " ".join(f"{where or 'it'} {words}".split())
    return line if len(line) <= _LONGEST else f"…{line[1 - _LONGEST :]}"
