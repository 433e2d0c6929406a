"""From the files of a workspace to a plan: load, look, compute. Shared by every command that needs one; prints nothing."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from reconciler.cli.settings import Settings
from reconciler.engines import Transport, remembered
from reconciler.files import read_bounded
from reconciler.fleet import MIB, Applied, Desired, EngineId, Fleet, FleetFacts, GpurecError, ModelSpec, NodeFacts, parse_replica_address
from reconciler.operations.workspace import open_workspace, state_path
from reconciler.planning import Plan, desired_of, make_plan, wanted_names
from reconciler.probes import facts_from_json, merge_facts, probe_fleet
from reconciler.state import StateReader, open_reader
from reconciler.workspace import Workspace

LARGEST_FACTS = 512 * MIB
OnNode = Callable[[NodeFacts], None]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which facts to take and which nodes to change: the options that `plan` and `apply` share."""

    limit: str | None = None
    exclude: str | None = None
    refresh: str = "always"
    assume: Path | None = None
    again: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Look:
    """A plan with everything it was made from. `fresh` says that the facts were probed for it; `recorded` are those of the last apply."""

    workspace: Workspace
    state: Path
    applied: Applied
    facts: FleetFacts
    plan: Plan
    fresh: bool
    recorded: FleetFacts | None = None


@contextmanager
def uncollected() -> Iterator[None]:
    """Puts the cycle collector off while a fleet is built up, and what was built out of its sight.

    Nothing made here is garbage before the command ends, and looking through millions of objects again and again costs half the time of
    a large plan.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def take_look(settings: Settings, choice: Choice = Choice(), *, on_node: OnNode | None = None) -> Look:
    """Reads files and state, probes the fleet (or takes recorded or assumed facts), and makes the plan. Changes nothing."""
    with uncollected():
        return look_again(open_workspace(settings), settings, choice, on_node=on_node)


def look_again(workspace: Workspace, settings: Settings, choice: Choice, *, on_node: OnNode | None = None) -> Look:
    """The same for files that are already read."""
    path = state_path(settings, workspace)
    with closing(open_reader(path)) as state:
        applied, recorded = state.applied(), state.recorded_facts()
        if workspace.desired.absent:
            applied = replace(applied, tags=state.tags())
    fresh = choice.assume is None and choice.refresh == "always"
    facts = _probed(workspace, applied, recorded, on_node) if fresh else _known(settings, choice, recorded)
    check_addresses(choice.again, workspace.desired, workspace.fleet)
    plan = make_plan(
        workspace.fleet,
        workspace.desired,
        facts,
        applied,
        config_digest=workspace.config_digest,
        created_at=now(),
        selected=selected_nodes(workspace, choice),
        recorded=recorded,
        again=choice.again,
        catalogue=workspace.catalogue,
    )
    return Look(workspace, path, applied, facts, replace(plan, limit=choice.limit, exclude=choice.exclude), fresh, recorded)


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


def selected_nodes(workspace: Workspace, choice: Choice) -> frozenset[str] | None:
    """The nodes inside `--limit` and outside `--exclude`; None when neither is given."""
    if choice.limit is None and choice.exclude is None:
        return None
    inside = frozenset(workspace.inventory.match(choice.limit or "all"))
    return inside - frozenset(workspace.inventory.match(choice.exclude)) if choice.exclude is not None else inside


def _probed(workspace: Workspace, applied: Applied, recorded: FleetFacts | None, on_node: OnNode | None) -> FleetFacts:
    return _probe(workspace.fleet, wanted_names(workspace.fleet, workspace.desired, applied), recorded, on_node)


def _probe(fleet: Fleet, wanted: Mapping[EngineId, Collection[str]], recorded: FleetFacts | None, on_node: OnNode | None) -> FleetFacts:
    async def probe() -> FleetFacts:
        async with Transport(known=remembered(recorded) if recorded is not None else None) as transport:
            return await probe_fleet(fleet, wanted, transport=transport, at=now(), on_node=on_node)

    return asyncio.run(probe())


def probe_facts(workspace: Workspace, applied: Applied, on_node: OnNode | None = None, recorded: FleetFacts | None = None) -> FleetFacts:
    """What probing sees now; engines are not asked again about files that `recorded` facts tell of."""
    return _probed(workspace, applied, recorded, on_node)


def probe_nodes(fleet: Fleet, applied: Applied, on_node: OnNode | None = None) -> FleetFacts:
    """What probing sees of a fleet that has no desired state yet."""
    return _probe(fleet, wanted_names(fleet, Desired(), applied), None, on_node)


def facts_with(
    settings: Settings, workspace: Workspace, choice: Choice, also: Sequence[ModelSpec] = (), on_node: OnNode | None = None
) -> tuple[FleetFacts, Applied]:
    """Facts (probed, recorded or assumed) and state without a plan; engines are asked in detail about the models of `also`, too."""
    with closing(open_reader(state_path(settings, workspace))) as state:
        applied, recorded = state.applied(), state.recorded_facts()
    if choice.assume is not None or choice.refresh != "always":
        return _known(settings, choice, recorded), applied
    more = replace(workspace.desired, models=(*workspace.desired.models, *also))
    return _probed(replace(workspace, desired=more), applied, recorded, on_node), applied


def _known(settings: Settings, choice: Choice, recorded: FleetFacts | None) -> FleetFacts:
    if choice.assume is not None:
        path = settings.path(choice.assume)
        assumed = facts_from_json(read_bounded(path, LARGEST_FACTS), str(path))
        return assumed if recorded is None else merge_facts(recorded, assumed)
    if recorded is None:
        raise GpurecError.of(
            "no facts are recorded yet, so --refresh never has nothing to go by",
            None,
            "run gpurec plan or apply once where the nodes can be reached, or use --assume FILE",
        )
    return recorded
