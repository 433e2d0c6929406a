"""The kinds of resources that a plan is about, one folder each. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.planning.kinds.model.step import ModelStep
from reconciler.planning.plan import Step

STEP_FORMS: Mapping[str, type[Step]] = {"model": ModelStep}
"""The form of a step by the kind of resource that it is about."""
