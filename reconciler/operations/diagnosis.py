"""Diagnose: what is wrong with nodes, drivers, engines and the state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.fleet import FleetFacts
from reconciler.health import Finding, Level, find
from reconciler.operations.proposal import plan_fleet
from reconciler.operations.reporter import Reporter, ignore
from reconciler.operations.settings import WorkspaceSettings
from reconciler.state.check import Level as StateLevel
from reconciler.state.check import check_sqlite, check_state

_LEVELS = {StateLevel.ERROR: Level.ERROR, StateLevel.WARNING: Level.WARNING}


@dataclass(frozen=True, slots=True)
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
    findings = find(seen.workspace.fleet, seen.workspace.desired, seen.facts, seen.plan, seen.recorded, only)
    if only is None:
        findings = (*findings, *_of_state(seen.state))
    nodes = [one for name, one in seen.facts.nodes.items() if only is None or name in only]
    return Diagnosis(findings, seen.facts, len(nodes), sum(len(one.engines) for one in nodes))


def _of_state(path: Path) -> list[Finding]:
    """What `state check` finds, and of a fleet without a state yet what is wrong with this Python's SQLite."""
    looked = check_state(path) if path.exists() else [check_sqlite()]
    return [
        Finding(
            _LEVELS[one.level], "sqlite_wal_reset" if one.name == "SQLite" else "state", f"state.{one.name}", one.message, one.hint or ""
        )
        for one in looked
        if one.level in _LEVELS
    ]
