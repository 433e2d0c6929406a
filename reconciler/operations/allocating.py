"""Allocate: agents that are wanted beside those of the files, kept in the state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing

from reconciler.fleet import AllocatedAgent
from reconciler.operations.reporter import Reporter, ignore
from reconciler.operations.settings import WorkspaceSettings
from reconciler.operations.workspace import load, may_make_folder, state_of
from reconciler.value_class import value_class
from reconciler.workspace import NameTaken, Workspace, as_declared, check_allocation, with_allocated


def allocate(settings: WorkspaceSettings, files: Workspace, agent: AllocatedAgent) -> AllocatedAgent | None:
    """Keeps an agent, which the next plan wants; asked again for the same one, gives the one that is there, and keeps nothing.

    Raises NameTaken, UnknownType, GpurecError for one that cannot be, LockHeld while a run holds the state, and StateError.
    """
    check_allocation(files, agent)
    store = state_of(settings, files)
    command = f"serve: agent {agent.name} allocated by {agent.who}"
    there = store.allocate(agent, fleet=files.name, command=command, new_folder=may_make_folder(settings, store))
    if there is not None and not there.asks_as(agent):
        raise NameTaken.of(f"another agent {agent.name!r} was allocated by {there.who} at {there.at}", "name", "release it first")
    return there


def release(settings: WorkspaceSettings, files: Workspace, name: str, who: str) -> bool:
    """Forgets an agent that was allocated, so that the next plan removes it; False where there is none. Raises as `allocate` does."""
    store = state_of(settings, files)
    command = f"serve: agent {name} released by {who}"
    return store.release(name, fleet=files.name, command=command, new_folder=may_make_folder(settings, store))


def allocated(settings: WorkspaceSettings, files: Workspace) -> Sequence[AllocatedAgent]:
    """All that were allocated, by name, also those that the files have or leave no room for by now."""
    with closing(state_of(settings, files).reader()) as state:
        return state.allocated()


@value_class
class Overlay:
    """What was allocated, as the files would say it, by name."""

    fleet: str
    agents: Mapping[str, object]


async def overlay_of(settings: WorkspaceSettings, report: Reporter = ignore) -> Overlay:
    """Reads files and state; asks no node."""
    files = await load(settings, report)
    with closing(state_of(settings, files).reader()) as state:
        _, counting = with_allocated(files, state.allocated())
    return Overlay(files.name, as_declared(files, counting))
