"""Which files, which fleet and which state an operation is about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.operations.resource_types import ResourceType


@dataclass(slots=True)
class WorkspaceSettings:
    """Paths are relative to `directory`, as with `make -C`. None: as the workspace has it. `state` is a path or a URL;
    with `state_new` its folder may be made, with `allow_unsafe_state` an apply takes one that others may write. With
    `allow_outside_links` files of the workspace may be links out of it. `resource_types` are the kinds of resources beside models that the
    files may have (None: all that there are).

    `poll_seconds` lie between looks at an engine during an apply; simulated fleets, whose loads take no time, want less.
    """

    directory: Path = Path()
    fleet: str | None = None
    inventory: tuple[Path, ...] = ()
    desired: tuple[Path, ...] = ()
    state: str | None = None
    state_new: bool = False
    allow_unsafe_state: bool = False
    allow_outside_links: bool = False
    poll_seconds: float = 0.5
    resource_types: tuple[ResourceType, ...] | None = None

    def path(self, path: str | Path) -> Path:
        return self.directory / path

    def workspace_only(self) -> Path | None:
        """The folder that files which a command names by itself may not leave by a link, when it writes them; None: they may."""
        return None if self.allow_outside_links else self.directory

    def types(self) -> tuple[ResourceType, ...]:
        """The kinds of resources beside models. What acts on them imports much, so it is found only when it is asked for."""
        if self.resource_types is None:
            from reconciler.operations.resource_types import RESOURCE_TYPES

            self.resource_types = RESOURCE_TYPES
        return self.resource_types
