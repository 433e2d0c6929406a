"""Whether a value is as a JSON Schema says, by the words that our schemas have; another word fails, so that none is passed over."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
_SAID_ONLY = frozenset({"$schema", "$defs", "title", "description", "default"})


def faults(value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None, at: str = "$") -> Iterator[str]:
    """What is wrong, each with its path."""
    root = schema if root is None else root
    for word, said in schema.items():
        match word:
            case "$ref":
                yield from faults(value, root["$defs"][said.removeprefix("#/$defs/")], root, at)
            case "anyOf":
                if not any(next(faults(value, form, root, at), None) is None for form in said):
                    yield f"{at}: {value!r} is as none of the {len(said)} forms"
            case "type":
                kinds = [said] if isinstance(said, str) else said
                if not any(_is(value, kind) for kind in kinds):
                    yield f"{at}: {value!r} is no {' or '.join(kinds)}"
            case "enum":
                if value not in said:
                    yield f"{at}: {value!r} is none of {said}"
            case "const":
                if value != said:
                    yield f"{at}: {value!r} is not {said!r}"
            case "pattern":
                if isinstance(value, str) and not re.search(said, value):
                    yield f"{at}: {value!r} does not match {said}"
            case "minLength":
                if isinstance(value, str) and len(value) < said:
                    yield f"{at}: {value!r} is too short"
            case "minimum" | "maximum":
                if _is(value, "number") and (value < said if word == "minimum" else value > said):
                    yield f"{at}: {value!r} is past the {word} {said}"
            case "minItems" | "maxItems" | "minProperties":
                kind = dict if word == "minProperties" else list
                if isinstance(value, kind) and (len(value) > said if word == "maxItems" else len(value) < said):
                    yield f"{at}: {len(value)} are past the {word} {said}"
            case "items":
                if isinstance(value, list):
                    for number, item in enumerate(value):
                        yield from faults(item, said, root, f"{at}[{number}]")
            case "required":
                if isinstance(value, dict):
                    yield from (f"{at}: lacks {key!r}" for key in said if key not in value)
            case "properties" | "additionalProperties":
                if isinstance(value, dict):
                    yield from _of_keys(value, word, schema, root, at)
            case _:
                assert word in _SAID_ONLY, f"this judge does not know {word!r}"


def _of_keys(value: dict[str, Any], word: str, schema: dict[str, Any], root: dict[str, Any], at: str) -> Iterator[str]:
    named = schema.get("properties", {})
    for key, inner in value.items():
        if (key in named) is not (word == "properties"):
            continue
        form = named[key] if word == "properties" else schema[word]
        if form is False:
            yield f"{at}: unknown key {key!r}"
        elif form is not True:
            yield from faults(inner, form, root, f"{at}.{key}")


def _is(value: Any, kind: str) -> bool:
    if kind in ("integer", "number"):
        return not isinstance(value, bool) and (
            isinstance(value, int) or (isinstance(value, float) and (kind == "number" or value.is_integer()))
        )
    return isinstance(value, _KINDS[kind])
