"""The JSON Schema of the plan document, derived from the plan's types so that it cannot lag behind them."""

from __future__ import annotations

from typing import Any

from reconciler.planning.kinds import step_forms
from reconciler.planning.plan import FORMAT_VERSION, Plan
from reconciler.views import plan_summary

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
    properties["steps"]["items"] = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in forms]}
    drifted = schema["$defs"]["Drift"]
    drifted["properties"]["class"] = drifted["properties"].pop("klass")
    counts = {name: {"type": "integer", "minimum": 0} for name in plan_summary(_NO_PLAN)}
    for name in ("unchanged", "pending", "incidents", "charges", "residents", "wanted", "containers"):
        del properties[name]
    properties["format_version"] = {"const": FORMAT_VERSION}
    properties["checksum"] = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
    properties["summary"] = {"type": "object", "properties": counts, "required": list(counts)}
    return {
        **schema,
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gpurec plan",
        "required": sorted(set(properties) - {"rollback", "replace", "hours", "unchanged_others"}),
    }
