"""The kinds of resources beside models that operations know, each with its form in the files, its planning and its I/O."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.execution.kinds.agent import AgentActor
from reconciler.execution.kinds.engine import EngineActor
from reconciler.execution.kinds.file import FileActor, ReloadActor
from reconciler.execution.resource import ActorContext, ResourceActor
from reconciler.planning.kinds.agent import AgentKind
from reconciler.planning.kinds.engine import OwnedEngineKind
from reconciler.planning.kinds.file import FileKind, ReloadKind
from reconciler.planning.resource import AnyKind
from reconciler.value_class import value_class
from reconciler.workspace.agents import AGENT_TYPES_FORM, AGENTS_FORM, SERVICES_FORM
from reconciler.workspace.file_specs import FILES_FORM
from reconciler.workspace.sections import SectionForm


@value_class
class ResourceType:
    """`forms` are its keys of the desired state. `actor` makes the I/O of the kind for one look at a fleet, or one run."""

    kind: AnyKind
    forms: tuple[SectionForm, ...]
    actor: Callable[[ActorContext], ResourceActor]


RESOURCE_TYPES: tuple[ResourceType, ...] = (
    ResourceType(OwnedEngineKind(), (), EngineActor),
    ResourceType(AgentKind(), (SERVICES_FORM, AGENTS_FORM, AGENT_TYPES_FORM), AgentActor),
    ResourceType(FileKind(), (FILES_FORM,), FileActor),
    ResourceType(ReloadKind(), (), ReloadActor),
)
