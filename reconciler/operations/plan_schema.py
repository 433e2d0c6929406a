"""The JSON Schema of the plan document, made from the plan's types and the comments of their fields, so that it cannot lag behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, get_args, get_type_hints

from reconciler.operations.field_comments import field_comments
from reconciler.planning.kinds import step_forms
from reconciler.planning.plan import FORMAT_VERSION, Plan
from reconciler.views import plan_summary

_COUNTED = {
    "unchanged": "Replicas and other resources that stay as they are.",
    "unplaced": "Replicas and agents without a place.",
    "held": "Resources that are not as wanted and are left alone for now.",
    "deferred": "Nodes and engines about which nothing is known now.",
    "drift": "Fields that drifted.",
    "pending": "Resources of which something else is wanted than was applied.",
}
_NO_PLAN = Plan("", None, 0, "", "", "", (), 0, 0)


def plan_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of `--format json` and of the file of `--out`."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(Plan).json_schema()
    properties = schema["properties"]
    forms = {form.__name__: TypeAdapter(form).json_schema() for form in step_forms().values()}
    for form in forms.values():
        schema["$defs"] |= form.pop("$defs", {})
    schema["$defs"] |= forms
    for kept in (schema, *schema["$defs"].values()):
        kept.pop("description", None)  # docstrings, which are for who changes the plan, and which pydantic before 2.11 leaves out
    _describe(properties, Plan)
    for one in {known for top in (Plan, *step_forms().values()) for known in _classes(top, set())}:
        _describe(schema["$defs"].get(one.__name__, {}).get("properties", {}), one)
    properties["steps"]["items"] = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in forms]}
    drifted = schema["$defs"]["Drift"]
    drifted["properties"]["class"] = drifted["properties"].pop("klass")
    counts = {
        name: {"type": "integer", "minimum": 0, "description": _COUNTED.get(name, f"Steps that {name}.")} for name in plan_summary(_NO_PLAN)
    }
    for name in ("unchanged", "pending", "incidents", "charges", "residents", "wanted", "containers"):
        del properties[name]
    properties["format_version"] = {"const": FORMAT_VERSION, "description": properties["format_version"]["description"]}
    properties["checksum"] = {
        "type": "string",
        "pattern": "^sha256:[0-9a-f]{64}$",
        "description": "Guards every other word of the document, also those that are only shown.",
    }
    properties["summary"] = {"type": "object", "properties": counts, "required": list(counts), "description": "How much of what there is."}
    used = _used(schema, schema["$defs"], set())
    schema["$defs"] = {name: kept for name, kept in schema["$defs"].items() if name in used}
    return {
        **schema,
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gpurec plan",
        "required": sorted(set(properties) - {"rollback", "supposing", "replace", "hours", "unchanged_others"}),
    }


def _describe(properties: dict[str, Any], of: type) -> None:
    for name, comment in field_comments(of).items():
        if name in properties:
            properties[name]["description"] = comment


def _classes(kind: object, seen: set[type]) -> set[type]:
    """The value classes that a type is made of, with itself."""
    if isinstance(kind, type) and is_dataclass(kind) and kind not in seen:
        seen.add(kind)
        for hint in get_type_hints(kind).values():
            _classes(hint, seen)
    for part in get_args(kind):
        _classes(part, seen)
    return seen


def _used(part: object, known: dict[str, Any], seen: set[str]) -> set[str]:
    """The names in `known` that a part of the schema refers to, beginning with what it says outside of them."""
    for key, value in _entries(part):
        if key == "$defs":
            continue
        name = value.rpartition("/")[2] if key == "$ref" else ""
        if name and name not in seen:
            seen.add(name)
            _used(known[name], known, seen)
        _used(value, known, seen)
    return seen


def _entries(part: object) -> Iterator[tuple[str, Any]]:
    if isinstance(part, dict):
        yield from part.items()
    elif isinstance(part, list):
        yield from (("", one) for one in part)
