"""The kinds of resources beside models that operations know, each with its form in the files, its planning and its I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reconciler.execution.kinds.engine import EngineActor
from reconciler.execution.kinds.file import FileActor, ReloadActor
from reconciler.execution.resource import ActorContext, ResourceActor
from reconciler.planning.kinds.engine import EngineKind
from reconciler.planning.kinds.file import FileKind, ReloadKind
from reconciler.planning.resource import AnyKind
from reconciler.workspace.file_specs import FILES_FORM
from reconciler.workspace.sections import SectionForm


@dataclass(frozen=True, slots=True)
class ResourceType:
    """`form` is its key of the desired state (None: it has none). `actor` makes the I/O of the kind for one look at a fleet, or one run."""

    kind: AnyKind
    form: SectionForm | None
    actor: Callable[[ActorContext], ResourceActor]


RESOURCE_TYPES: tuple[ResourceType, ...] = (
    ResourceType(EngineKind(), None, EngineActor),
    ResourceType(FileKind(), FILES_FORM, FileActor),
    ResourceType(ReloadKind(), None, ReloadActor),
)
