"""Diagnose: what is wrong with nodes, drivers, engines and the state."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import closing

from reconciler.fleet import FleetFacts
from reconciler.health import Finding, Level, ReplicaStatus, find, replicas_of
from reconciler.operations.proposal import Proposal, plan_fleet
from reconciler.operations.reporter import Reporter, ignore
from reconciler.operations.settings import WorkspaceSettings
from reconciler.state import StateLevel, Store
from reconciler.state.sqlite.check import SQLITE
from reconciler.value_class import value_class

_LEVELS = {StateLevel.ERROR: Level.ERROR, StateLevel.WARNING: Level.WARNING}


@value_class
class Diagnosis:
    """What was found in the `facts`, on so many nodes and engines."""

    findings: Sequence[Finding]
    facts: FleetFacts
    nodes: int
    engines: int

    @property
    def sound(self) -> bool:
        return all(one.level is not Level.ERROR for one in self.findings)


async def diagnose(settings: WorkspaceSettings, pattern: str | None = None, report: Reporter = ignore) -> Diagnosis:
    """Looks at the whole fleet and its state, or only at the hosts that `pattern` names. Changes nothing."""
    seen = await plan_fleet(settings, report=report)
    only = None if pattern is None else frozenset(seen.workspace.inventory.match(pattern))
    findings = findings_of(seen, standing_of(seen), only)
    if only is None:
        findings = (*findings, *_of_state(seen.state))
    nodes = [one for name, one in seen.facts.nodes.items() if only is None or name in only]
    return Diagnosis(findings, seen.facts, len(nodes), sum(len(one.engines) for one in nodes))


def standing_of(seen: Proposal) -> tuple[ReplicaStatus, ...]:
    """How every replica stands, with the loads of earlier runs that failed and that none has made good since."""
    with closing(seen.state.reader()) as state:
        failed = {address: f"{row.reason or 'for no known reason'} (run {row.run_id})" for address, row in state.failed_loads().items()}
    return replicas_of(seen.plan, seen.facts, seen.applied, failed)


def findings_of(seen: Proposal, replicas: Sequence[ReplicaStatus], only: Collection[str] | None = None) -> tuple[Finding, ...]:
    """What is wrong with the fleet, or with `only` these nodes."""
    space = seen.workspace
    return find(space.fleet, space.desired, seen.facts, seen.plan, seen.recorded, only, replicas)


def _of_state(store: Store) -> list[Finding]:
    """What `state check` finds of it. Which SQLite this Python was built with is left to that command: whoever looks after a fleet
    cannot change it, and a warning that never goes hides those that matter."""
    looked = store.check() if store.exists() else ()
    return [
        Finding(_LEVELS[one.level], "state", f"state.{one.name}", one.message, one.hint or "")
        for one in looked
        if one.level in _LEVELS and one.name != SQLITE
    ]
