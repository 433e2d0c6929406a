"""Templates to text, in a sandbox whose work is counted. Pure: the same template and values give the same bytes."""

from __future__ import annotations

from reconciler.rendering.parts import EngineValue, GpuValue, NodeValue
from reconciler.rendering.template import MOST_TEXT, RenderingError, Template, render, used_names
from reconciler.rendering.values import FROM_PLACEMENT, TemplateValues, values_of

__all__ = [
    "FROM_PLACEMENT",
    "MOST_TEXT",
    "EngineValue",
    "GpuValue",
    "NodeValue",
    "RenderingError",
    "Template",
    "TemplateValues",
    "render",
    "used_names",
    "values_of",
]
