"""Drift: what is not as it was last applied; the memory between runs, and what "since" means. Writes the memory and nothing else."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.files import PRIVATE, read_bounded, write_file
from reconciler.fleet import MIB, GpurecError, Place
from reconciler.operations.proposal import Proposal, plan_fleet
from reconciler.operations.reporter import Reporter, ignore
from reconciler.operations.settings import WorkspaceSettings
from reconciler.planning import DriftMemory, DriftReport, Key, Since, drift_key, judge, make_plan, moment, remember
from reconciler.probes import as_recorded

FORMAT_VERSION = 1
LARGEST_MEMORY = 256 * MIB
_LOOKED_BACK = 100


async def find_drift(
    settings: WorkspaceSettings,
    since: int | datetime | timedelta | None = None,
    in_a_row: int = 1,
    memory_file: Path | None = None,
    report: Reporter = ignore,
) -> DriftReport:
    """Looks, keeps what was seen in `memory_file`, and judges it. `since` is the number of a run, a time, or how long ago;
    `in_a_row` how many looks must have seen a drift before it counts.

    Raises GpurecError for a file that is no memory of this fleet, and for a question that nothing kept can answer.
    """
    path = settings.path(memory_file) if memory_file is not None else None
    before = read_memory(path) if path is not None and path.exists() else None
    seen = await plan_fleet(settings, report=report)
    if path is not None and before is not None and before.fleet != seen.plan.fleet:
        raise GpurecError.of(
            f"this is the memory of fleet {before.fleet}, not of {seen.plan.fleet}", str(path), "give each fleet a file of its own"
        )
    asked = _since(seen, since, remembered=path is not None) if since is not None else None
    if path is None:
        return judge(seen.plan, None, in_a_row, asked)
    last_run = _last_run(seen)
    applied_since = before is not None and before.last_run != last_run
    memory = remember(before, seen.plan, last_run, _drifted_when_recorded(seen) if applied_since else None)
    write_memory(path, memory)
    return judge(seen.plan, memory, in_a_row, asked)


def _since(look: Proposal, since: int | datetime | timedelta, *, remembered: bool) -> Since:
    recorded = look.recorded
    known, known_at = (_drifted_when_recorded(look), recorded.at) if recorded is not None else (frozenset[Key](), None)
    if isinstance(since, int):
        with closing(look.state.reader()) as state:
            run = state.run(since)
        if run is None:
            raise GpurecError.of(f"there is no run {since}", "--since", "gpurec history lists them")
        return Since(run.finished_at or run.started_at, known, known_at, run.id == _last_run(look))
    try:
        at = since if isinstance(since, datetime) else moment(look.plan.created_at) - since
    except OverflowError:
        raise GpurecError.of("nothing is as old as that", "--since", "write a shorter duration, as 24h") from None
    if not remembered and known_at is not None and at > moment(known_at):
        raise GpurecError.of(
            f"the last apply looked at {known_at}, and nothing was kept since then", "--since", "run drift with --memory FILE each time"
        )
    return Since(at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), known, known_at)


def _last_run(look: Proposal) -> int | None:
    """The latest run that had a plan: one of `gpurec state` repairs nothing."""
    with closing(look.state.reader()) as state:
        return next((run.id for run in state.runs(_LOOKED_BACK, of_plans=True) if run.plan_digest), None)


def _drifted_when_recorded(look: Proposal) -> frozenset[Key]:
    """What was drifted already in the facts that the last apply recorded."""
    if look.recorded is None:
        return frozenset()
    space = look.workspace
    facts = as_recorded(look.recorded, space.fleet)
    then = make_plan(
        space.fleet,
        space.desired,
        facts,
        look.applied,
        config_digest=space.config_digest,
        created_at=facts.at,
        recorded=look.recorded,
        catalogue=space.catalogue,
    )
    return frozenset(map(drift_key, then.drift))


def read_memory(path: Path) -> DriftMemory:
    """The memory of a file; GpurecError when it is anything else, so that no other file is ever overwritten."""
    hint = "name a file of its own, or remove it to begin anew"
    from pydantic import TypeAdapter, ValidationError

    try:
        document = json.loads(read_bounded(path, LARGEST_MEMORY))
        if not isinstance(document, dict) or document.pop("format_version", None) != FORMAT_VERSION:
            raise ValueError("its format_version is another")
        memory = TypeAdapter(DriftMemory).validate_python(document)
        for time in (memory.at, *(one.first_seen for one in memory.seen), *(one.last_seen for one in memory.seen)):
            moment(time)
    except (ValidationError, ValueError, RecursionError):
        raise GpurecError.of("this is no memory of gpurec drift", Place(str(path)), hint) from None
    return memory


def write_memory(path: Path, memory: DriftMemory) -> None:
    """Keeps it, mode 0600, whole or not at all."""
    write_file(path, json.dumps({"format_version": FORMAT_VERSION, **asdict(memory)}, indent=1) + "\n", mode=PRIVATE)
