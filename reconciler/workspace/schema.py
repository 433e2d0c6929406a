"""JSON Schema of the files, for editors; derived from the tables that read them."""

from __future__ import annotations

import copy
from typing import Literal

from reconciler.workspace.desired import desired_table
from reconciler.workspace.nodes import HOST, OWN

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_TEMPLATE = {"type": "string", "pattern": r"\{[{%]"}


def json_schema(kind: Literal["inventory", "desired"]) -> dict[str, object]:
    """The schema of an inventory or of a desired state. Raises ValueError for any other kind."""
    if kind == "desired":
        return {"$schema": _DRAFT, "title": "gpurec desired state", **desired_table().schema()}
    if kind != "inventory":
        raise ValueError(f"there is no schema {kind!r}: write inventory or desired")
    own = HOST.schema()
    keys = _or_template(own["properties"])
    assert isinstance(keys, dict)
    nested = {"description": "The same keys where others read such names too: where it is set for a host, only what is in it is read."}
    within = _or_template(own)
    assert isinstance(within, dict)
    variables = {"type": ["object", "null"], "properties": {**keys, OWN: {**nested, **within}}, "additionalProperties": True}
    group = {
        "type": ["object", "null"],
        "properties": {
            "hosts": {
                "description": "The hosts of the group, by name or range, each with variables of its own.",
                "type": ["object", "null", "string"],
                "additionalProperties": {"$ref": "#/$defs/variables"},
            },
            "vars": {"description": "Variables of all hosts of the group.", "$ref": "#/$defs/variables"},
            "children": {
                "description": "Groups that are part of this one, by name.",
                "type": ["object", "null", "string"],
                "additionalProperties": {"$ref": "#/$defs/group"},
            },
        },
    }
    return {
        "$schema": _DRAFT,
        "title": "gpurec inventory (Ansible's YAML form)",
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {"$ref": "#/$defs/group"},
        "$defs": {"group": group, "variables": variables},
    }


def _or_template(schema: object) -> object:
    """The schema with every value also allowed as a Jinja template."""
    if not isinstance(schema, dict):
        return schema
    if "type" not in schema and "enum" not in schema and "anyOf" not in schema and "const" not in schema:
        return {name: _or_template(value) for name, value in schema.items()}
    widened: dict[str, object] = copy.deepcopy(schema)
    properties = widened.get("properties")
    if isinstance(properties, dict):
        widened["properties"] = {name: _or_template(value) for name, value in properties.items()}
    for key in ("items", "additionalProperties"):
        if isinstance(widened.get(key), dict):
            widened[key] = _or_template(widened[key])
    said = {"description": widened.pop("description")} if "description" in widened else {}
    return {**said, "anyOf": [widened, _TEMPLATE]}
