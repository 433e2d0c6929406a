"""Plan: what would change, with everything that it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import fields, replace

from reconciler.fleet import AllocatedAgent, Desired, Fleet, GpurecError, Solver, parse_replica_address
from reconciler.operations import clock
from reconciler.operations.observation import PROBE_ALL, Observation, PlanOptions, look
from reconciler.operations.reporter import Reporter, ignore
from reconciler.operations.settings import WorkspaceSettings
from reconciler.operations.workspace import load, state_of
from reconciler.placement import require_highs
from reconciler.planning import Note, Plan, desired_of, make_plan
from reconciler.state import StateReader
from reconciler.value_class import value_class
from reconciler.workspace import Workspace

MOST_NAMED = 10
"""Agents that a note names."""


@value_class
class Proposal(Observation):
    """A plan and the observation that it was made from."""

    plan: Plan


async def plan_fleet(
    settings: WorkspaceSettings,
    options: PlanOptions = PROBE_ALL,
    report: Reporter = ignore,
    *,
    workspace: Workspace | None = None,
) -> Proposal:
    """Reads files (unless `workspace` holds them already) and state, looks at the fleet, and computes what would change.

    Raises GpurecError for what `look` cannot read, a pattern that names no host, an address that the files do not ask for, and a solver
    that is not installed.
    """
    space = workspace or await load(settings, report)
    if (options.solver or space.desired.solver) is Solver.EXACT:
        require_highs()
    return propose(await look(settings, options, report, workspace=space), options)


async def plan_rollback(settings: WorkspaceSettings, serial: int, report: Reporter = ignore) -> tuple[Proposal, tuple[str, ...]]:
    """The way back to what was applied at `serial`, and the addresses of then that the inventory lacks now.

    Raises StateError where the state does not know the serial.
    """
    workspace = await load(settings, report)
    with closing(state_of(settings, workspace).reader()) as state:
        workspace, lost = rolled_back(workspace, state, serial)
    found = await plan_fleet(settings, PROBE_ALL, report, workspace=workspace)
    return replace(found, plan=replace(found.plan, rollback=serial)), lost


def propose(seen: Observation, options: PlanOptions) -> Proposal:
    """The plan for what was seen. Computes only."""
    space = seen.workspace
    check_addresses(options.again, space.desired, space.fleet)
    made = make_plan(
        space.fleet,
        space.desired,
        seen.facts,
        seen.applied,
        config_digest=space.config_digest,
        created_at=clock.now(),
        selected=selected_nodes(space, options),
        recorded=seen.recorded,
        again=options.again,
        catalogue=space.catalogue,
        resources=seen.resources,
        kinds=seen.kinds,
    )
    notes = (*made.notes, *_of_allocated(seen.allocated))
    made = replace(made, limit=options.limit, exclude=options.exclude, notes=notes)
    return Proposal(**{field.name: getattr(seen, field.name) for field in fields(Observation)}, plan=made)


def _of_allocated(agents: Sequence[AllocatedAgent]) -> Iterator[Note]:
    """What the files do not say of a plan."""
    if agents:
        shown = ", ".join(f"{one.name} (by {one.who})" for one in agents[:MOST_NAMED])
        more = f" and {len(agents) - MOST_NAMED:,} more" if len(agents) > MOST_NAMED else ""
        count = "1 agent that was" if len(agents) == 1 else f"{len(agents):,} agents that were"
        yield Note("", "allocated", f"{count} allocated over HTTP and {'is' if len(agents) == 1 else 'are'} in no file: {shown}{more}")


def check_addresses(again: Collection[str], desired: Desired, fleet: Fleet) -> None:
    """Refuses an address of `--replace` that can be no replica of these files."""
    models = {model.name: model for model in desired.wanted} if again else {}
    for address in sorted(again):
        try:
            name, at = parse_replica_address(address)
        except ValueError as error:
            raise GpurecError.of(str(error), "--replace", "gpurec state list shows addresses") from error
        engines = {engine.id for engine in fleet.nodes[at.node].engines} if at.node in fleet.nodes else set()
        if name not in models or at not in engines or at.node not in models[name].nodes:
            raise GpurecError.of(f"{address} is no replica that these files ask for", "--replace", "gpurec state list shows addresses")


def rolled_back(workspace: Workspace, state: StateReader, serial: int) -> tuple[Workspace, tuple[str, ...]]:
    """The workspace as if its files asked for what was applied at `serial`, and the addresses of then that its inventory lacks now.

    Its config digest is over the serial and the digest of the files, which say the rest: machines, limits, policies, needs. Raises
    StateError where the state does not know the serial.
    """
    rows = state.applied_at(serial)
    desired, lost = desired_of(rows.values(), workspace.fleet, workspace.desired)
    text = json.dumps(["rollback", serial, workspace.config_digest])
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    return replace(workspace, desired=desired, config_digest=digest), lost


def selected_nodes(workspace: Workspace, options: PlanOptions) -> frozenset[str] | None:
    """The nodes inside `--limit` and outside `--exclude`; None when neither is given."""
    if options.limit is None and options.exclude is None:
        return None
    inside = frozenset(workspace.inventory.match(options.limit or "all"))
    return inside - frozenset(workspace.inventory.match(options.exclude)) if options.exclude is not None else inside
