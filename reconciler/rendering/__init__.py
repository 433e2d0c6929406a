"""Templates to text, in a sandbox whose work is counted. Pure: the same template and values give the same bytes."""

from __future__ import annotations

from reconciler.rendering.template import MOST_TEXT, RenderingError, Template, render, used_names
from reconciler.rendering.values import EngineValue, GpuValue, ModelValue, NodeValue, ReplicaValue, TemplateValues, values_of

__all__ = [
    "MOST_TEXT",
    "EngineValue",
    "GpuValue",
    "ModelValue",
    "NodeValue",
    "RenderingError",
    "ReplicaValue",
    "Template",
    "TemplateValues",
    "render",
    "used_names",
    "values_of",
]
