"""The kinds of resources that a plan is about, one folder each. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.planning.kinds.agent import AgentKind
from reconciler.planning.kinds.engine import OwnedEngineKind
from reconciler.planning.kinds.file import FileKind, ReloadKind
from reconciler.planning.kinds.model.step import ModelStep
from reconciler.planning.plan import Step
from reconciler.planning.resource import AnyKind

KINDS: tuple[AnyKind, ...] = (OwnedEngineKind(), AgentKind(), FileKind(), ReloadKind())
"""Every kind beside models, in the order in which a plan takes them: a kind sees the steps of those before it."""


def step_forms(kinds: Sequence[AnyKind] = KINDS) -> Mapping[str, type[Step]]:
    """The form of a step by the kind of resource that it is about."""
    return {"model": ModelStep, **{kind.name: kind.step_form for kind in kinds}}
