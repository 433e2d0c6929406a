"""Explain an address, and route a request for a model: two questions about the fleet as it stands."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from reconciler.fleet import Desired, FleetFacts, GpurecError, Incident, ModelSpec
from reconciler.health.routes import TOKENS, Route, route
from reconciler.health.status import ReplicaStatus, replicas_of
from reconciler.operations.needs import ModelAnswer, candidates_in, find_candidates
from reconciler.operations.observation import PROBE_ALL, Observation, PlanOptions
from reconciler.operations.proposal import Proposal, plan_fleet
from reconciler.operations.reporter import Reporter, ignore
from reconciler.operations.settings import WorkspaceSettings
from reconciler.placement import EngineAnswer, Question, candidates
from reconciler.planning import Plan
from reconciler.planning.explaining import Account, account_of
from reconciler.planning.kinds.engine import starting, with_started
from reconciler.value_class import value_class
from reconciler.views.explain_text import HistoryRow
from reconciler.vram import AS_THE_ENGINE

RUNS_LOOKED_AT = 50
ROWS_SHOWN = 20
HINTS_SHOWN = 3


@value_class
class Explanation:
    """All that is known of an address. `candidates` are the engines where its model could be, as the fleet stands; empty for other kinds.
    `history` has its steps of the latest runs, the newest first."""

    plan: Plan
    account: Account
    status: ReplicaStatus | None
    candidates: Sequence[EngineAnswer]
    incidents: tuple[Incident, ...]
    facts: FleetFacts
    history: tuple[HistoryRow, ...]


async def explain_address(
    settings: WorkspaceSettings, address: str, options: PlanOptions = PROBE_ALL, report: Reporter = ignore
) -> Explanation:
    """Why `address` is where it is. Raises GpurecError where nothing is known of it."""
    return explained(await plan_fleet(settings, options, report), address)


def _meant(seen: Proposal, address: str) -> Sequence[str]:
    """The addresses that a model has which is meant by its bare name."""
    model = f"model.{address.removeprefix('model.')}"
    every = (one.address for one in replicas_of(seen.plan, seen.facts, seen.applied, {}))
    return sorted(one for one in every if one == model or one.startswith(f"{model}@"))


def explained(seen: Proposal, address: str) -> Explanation:
    """The same of what was seen and planned already. The bare name of a model that has one address is as good as that."""
    plan, space = seen.plan, seen.workspace
    model = _model(space.desired, address)
    account = account_of(plan, address, seen.applied, model.each if model is not None else None)
    if account is None:
        meant = _meant(seen, address)
        if not meant:
            raise GpurecError.of(f"nothing is known of {address!r}", None, "gpurec status and gpurec state list show addresses")
        if len(meant) > 1 or meant[0] == address:
            what = f"{address!r} has {len(meant):,} addresses"
            raise GpurecError.of(what, None, f"did you mean {' or '.join(meant[:HINTS_SHOWN])}?")
        return explained(seen, meant[0])
    with closing(seen.state.reader()) as state:
        runs = state.runs(RUNS_LOOKED_AT, of_plans=True)
        rows = [row for run in runs for row in state.journal(run.id) if row.address == address][:ROWS_SHOWN]
        failed = {where: row.reason or "" for where, row in state.failed_loads().items()}
    every = replicas_of(plan, seen.facts, seen.applied, failed)
    status = next((one for one in every if one.address == address), None)
    found: Sequence[EngineAnswer] = ()
    if model is not None:
        started = starting(space.fleet, seen.facts, plan.steps, seen.applied, seen.recorded, seen.resources).facts
        found = candidates(space.fleet, space.desired, with_started(seen.facts, started), seen.applied, Question(model), space.catalogue)
    incidents = tuple(one for one in (*seen.applied.incidents, *plan.incidents) if one.address == address)
    history = tuple(HistoryRow(one.run_id, one.started_at, one.action, one.status.value, one.reason, one.seconds) for one in rows)
    return Explanation(plan, account, status, found, incidents, seen.facts, history)


def _model(desired: Desired, address: str) -> ModelSpec | None:
    kind, _, rest = address.partition(".")
    name = rest.rpartition("@")[0] or rest
    return next((one for one in desired.wanted if one.name == name), None) if kind == "model" else None


async def route_request(
    settings: WorkspaceSettings, model: str, options: PlanOptions = PROBE_ALL, tokens: int = TOKENS, report: Reporter = ignore
) -> Route:
    """Where a request of `tokens` tokens for a model should go now. Raises GpurecError for a model that nobody knows."""
    return _routed(await find_candidates(settings, model, options, AS_THE_ENGINE, report=report), tokens)


def routed(seen: Observation, model: str, tokens: int = TOKENS) -> Route:
    """The same of what was seen already."""
    return _routed(candidates_in(seen, model, AS_THE_ENGINE), tokens)


def _routed(answer: ModelAnswer, tokens: int) -> Route:
    return route(answer.question.model.name, answer.candidates, answer.facts, answer.applied, tokens)
