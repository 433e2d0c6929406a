"""Is a saved plan still the plan that would be made now?"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING

from reconciler.fleet import AGENT, Applied, Fields, GpurecError, GuardRefused, StalePlan
from reconciler.operations.observation import PlanOptions
from reconciler.planning import (
    FORMAT_VERSION,
    Plan,
    SinceApproval,
    StaleStep,
    Step,
    as_approved,
    first_not_as_approved,
    first_stale_step,
    plan_digest,
)
from reconciler.planning.begun import as_begun
from reconciler.planning.kinds.engine import starting
from reconciler.planning.resource import seen_of, stale_resource
from reconciler.views import escape

if TYPE_CHECKING:
    from reconciler.operations.proposal import Proposal

_ADVICE = "make and approve a new plan with gpurec plan --out"
MOVED = "the fleet or the state moved since the plan was made"
UNLIKE_ASSUMED = "the fleet is not as the plan assumed it"


def check_origin(saved: Plan, fleet: str, config_digest: str, applied: Applied, history: Collection[str] = ()) -> None:
    """Refuses a plan of another fleet, of other files, or of another state; before any node is asked.

    `history` are the digests of all that this state has carried out: a plan made without a state may go on where it stopped, and only it.
    """
    check_format(saved)
    if saved.fleet != fleet:
        raise GpurecError.of(f"the plan is for fleet {saved.fleet}, not for {fleet}", None, f"use --fleet {saved.fleet}")
    if saved.config_digest != config_digest:
        raise StalePlan.of("the inventory or the desired state changed since the plan was made", None, _ADVICE)
    if saved.lineage is None:
        if (applied.serial or applied.replicas) and set(history) != {saved.digest}:
            raise StalePlan.of("the plan was made without a state, but this state has applied something since", None, _ADVICE)
    elif saved.lineage == applied.lineage:
        if applied.serial < saved.serial:
            what = f"the state was put back to serial {applied.serial}, and the plan was made at serial {saved.serial}"
            raise StalePlan.of(what, None, _ADVICE)
    else:
        if applied.lineage is None:
            what = f"the plan was made with a state (lineage {saved.lineage}), and there is none here"
            raise StalePlan.of(what, None, f"name that state with --state, or bring it back (gpurec state restore FILE); else {_ADVICE}")
        raise StalePlan.of(f"the plan belongs to another state (lineage {saved.lineage}, not {applied.lineage})", None, _ADVICE)


def check_expected(plan: Plan, digest: str | None) -> None:
    """Refuses any plan but the one of this digest; None expects nothing."""
    if digest is not None and digest.strip() != plan.digest:
        raise StalePlan.of(
            f"the plan of now has the digest {plan.digest}, not {digest.strip()}", None, "look at this plan before approving it"
        )


def check_format(saved: Plan) -> None:
    """Refuses a plan of an earlier format: `gpurec show` reads it, and what it leaves unsaid nobody can carry out."""
    if saved.format_version != FORMAT_VERSION:
        what = f"this plan was saved by an earlier gpurec, in format {saved.format_version}; this one carries out {FORMAT_VERSION}"
        raise StalePlan.of(what, None, _ADVICE)


def check_begun(saved: Plan, history: Collection[str]) -> None:
    """Refuses to go on with a plan that this state has not begun."""
    if saved.digest not in history:
        raise GpurecError.of("this plan was never begun here, so there is nothing to resume", "--resume", "leave --resume out to begin it")


def check_not_stale(saved: Plan, look: Proposal, selected: frozenset[str] | None, since: SinceApproval) -> Plan:
    """What to carry out of a saved plan on the facts of now: it, where no step of it is stale; StalePlan names the first that is."""
    if (turned := first_turned(saved, look.plan)) is not None:
        raise StalePlan.of(turned, None, _ADVICE)
    workspace, fresh = look.workspace, look.plan
    facts = starting(workspace.fleet, look.facts, saved.steps, look.applied, look.recorded, look.resources).facts
    digest = plan_digest(saved.lineage, fresh.config_digest, fresh.placement.solver, fresh.steps, fresh.hours)
    if digest == saved.digest:
        if (other := first_not_as_approved(saved, facts, since)) is not None:
            raise _stale(saved, *other)
        return replace(fresh, digest=saved.digest)
    stale = first_stale_step(saved, workspace.fleet, workspace.desired, facts, look.applied, selected, workspace.catalogue, since)
    if stale is None:
        stale = first_stale_resource(saved, look)
    if stale is not None:
        raise _stale(saved, stale.step, stale.why)
    return as_approved(saved, fresh, workspace.fleet, workspace.desired)


def first_turned(saved: Plan, fresh: Plan) -> str | None:
    """The first model of which the hours began or ended since a plan was made, in words."""
    before = {one.model: one.wanted for one in saved.hours}
    for one in fresh.hours:
        if before.get(one.model, one.wanted) != one.wanted:
            return f"the hours of model {one.model!r} {'began' if one.wanted else 'ended'} since the plan was made"
    return None


def first_stale_resource(saved: Plan, look: Proposal) -> StaleStep | None:
    """The first step about another kind than models that cannot be done any more as planned."""
    chosen = _wanted_agents(saved, look)
    for kind in look.kinds:
        for step in (step for step in saved.steps if step.kind == kind.name):
            at = step.address
            found, row = seen_of(look.resources, at, step.node), look.applied.resources.get(at)
            wanted = chosen if kind.name == AGENT else look.plan.wanted
            if (why := stale_resource(kind, step, found, wanted.get(at), row)) is not None:
                return StaleStep(step, why)
    return None


def _wanted_agents(saved: Plan, look: Proposal) -> Mapping[str, Fields]:
    """The agents as the files want them now, each at the place that a saved plan chose for it as far as it may be there."""
    from reconciler.operations.proposal import propose  # late: proposals are not checked against a saved plan everywhere

    if all(step.kind != AGENT for step in saved.steps):
        return look.plan.wanted
    options = PlanOptions(look.plan.limit, look.plan.exclude, again=frozenset(look.plan.replace))
    return propose(replace(look, applied=as_begun(saved, look.applied)), options).plan.wanted


def _stale(saved: Plan, step: Step, why: str) -> GpurecError:
    return StalePlan.of(f"{MOVED}: step {saved.steps.index(step) + 1}, {_words(step)}: {why}", None, _ADVICE)


def check_guards(plan: Plan) -> None:
    """Refuses a plan that a guard of the policy does not let through."""
    if plan.refusals:
        raise GuardRefused.of(refusal_of(plan))


def refusal_of(plan: Plan) -> str:
    """Every guard that refuses, in one sentence."""
    return "; ".join(f"guard {escape(refusal.guard)} refuses: {escape(refusal.message, 1000)}" for refusal in plan.refusals)


def check_same(saved: Plan, fresh: Plan, why: str = MOVED) -> None:
    """Refuses a plan that would come out differently now, naming what moved first."""
    digest = plan_digest(saved.lineage, fresh.config_digest, fresh.placement.solver, fresh.steps, fresh.hours)
    if digest != saved.digest:
        raise StalePlan.of(f"{why}: {first_difference(saved, fresh)}", None, _ADVICE)


def first_difference(saved: Plan, fresh: Plan) -> str:
    """The first step that is not the same in both, in words."""
    for number, (old, new) in enumerate(zip_longest(saved.steps, fresh.steps), 1):
        if old is None and new is not None:
            return f"step {number}, {_words(new)} ({new.reason.message}), would be new"
        if new is None and old is not None:
            return f"step {number}, {_words(old)}, is no longer there"
        if old is not None and new is not None and _essence(old) != _essence(new):
            if _words(old) != _words(new):
                return f"step {number} was {_words(old)} and would be {_words(new)} now ({new.reason.message})"
            return f"step {number}, {_words(old)}, differs in {_field(old, new)}"
    return "other preconditions"


def _words(step: Step) -> str:
    return f"{step.action.value} {step.address}"


_NAMED = {"engine_name": "its name on the engine", "gpus": "its cards", "vram_bytes": "its bytes"}


def _essence(step: Step) -> dict[str, object]:
    return {
        "its id": step.id,
        "what is done": _words(step),
        "its reason": step.reason.code,
        "its cause": step.cause,
        **{_NAMED.get(name, f"its {name}"): value for name, value in step.promise().items()},
        "the steps it needs": tuple(sorted(step.needs)),
        "its preconditions": step.preconditions,
        "what it changes from": dict(step.started_from()),
        "its options": dict(step.after),
    }


def _field(old: Step, new: Step) -> str:
    after = _essence(new)
    return next(name for name, value in _essence(old).items() if after[name] != value)
