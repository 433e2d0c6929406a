"""Any kind of resource against what is there: one comparison by its rows of fields, from which steps and drift come alike.

A model has its own way through placement (`kinds/model`); every other kind says here what is wanted and how a field is called, and the rest
is the same for all: what is missing is created, what differs is updated, what is as wanted is adopted, what left the files is removed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from reconciler.capacity import CardAt
from reconciler.fleet import (
    AGENT,
    NOTHING_APPLIED,
    UNSEEN,
    Applied,
    AppliedResource,
    CardCharges,
    ContainerSpec,
    Desired,
    Fields,
    Fleet,
    FleetFacts,
    ResourceFacts,
    Scalar,
    parse_resource_address,
    resource_address,
)
from reconciler.placement.agents import AgentPlacement
from reconciler.planning.drift_memory import moment
from reconciler.planning.plan import Action, Cause, Deferred, Drift, Note, Reason, Refusal, Step, kind_of
from reconciler.value_class import value_class

HELD = "held"
"""The code of a note on what is left alone for now, though it is not as wanted."""


@value_class
class FieldRule:
    """One field of a kind, and how it is compared. `remembered`: where the files do not ask for it, it is to stay as it was applied.
    `waits`: a difference in it alone is waited for, and nothing is changed. Fields whose value is unknown, wanted or found, differ from
    nothing."""

    name: str
    remembered: bool = False
    waits: bool = False


@value_class
class Wanted:
    """A resource as the files ask for it. `needs` are ids of steps without which it cannot be. `unknown`: why it cannot be told yet how it
    is to be, so that it stays as it is. `restart`: why it is started again, and
    not only waited for, where all that is wrong with it is that it does not answer."""

    address: str
    node: str
    fields: Fields
    needs: tuple[str, ...] = ()
    unknown: str | None = field(default=None, kw_only=True)
    restart: Reason | None = field(default=None, kw_only=True)

    def seen(self, found: ResourceFacts) -> ResourceFacts:
        """What was found, in the words of what is wanted."""
        return found

    def refusals(self, found: ResourceFacts) -> Sequence[Refusal]:
        """What the policy does not let be made of it where it is."""
        return ()


NodeContainer = tuple[str, ContainerSpec]
"""A container and its node."""


@value_class
class AfterPlan:
    """The fleet as it will be after the steps so far: what kinds of resources are made of that come after models."""

    fleet: Fleet
    desired: Desired
    facts: FleetFacts
    placed: Mapping[str, str]
    applied: Applied = NOTHING_APPLIED
    steps: tuple[Step, ...] = ()
    agents: AgentPlacement = field(default_factory=AgentPlacement)
    containers: tuple[NodeContainer, ...] = ()
    """Those that will run for engines and agents."""
    charges: Mapping[str, CardCharges] = field(default_factory=dict)
    """What a replica of `placed` is charged with, where this plan settles it."""
    spare: Mapping[CardAt, int] = field(default_factory=dict)
    """Bytes that nothing has of a card at any time of the plan, without cards of which nobody knows that."""
    frees: Mapping[str, frozenset[CardAt]] = field(default_factory=dict)
    """The cards of which steps of models give anything back, by step."""


class Repaired(NamedTuple):
    """Code and digest of an incident."""

    code: str
    asked: str


REPAIRED = "repaired"
RESTART = "restart_engine"
"""The code of the reason of a step that starts again what does not answer, and of the incident that such a step is."""
HELD_FOR = timedelta(hours=1)
W = TypeVar("W", bound=Wanted)


@value_class
class ResourceChange(Generic[W]):
    """What is done about one resource, before its kind makes a step of it."""

    action: Action
    address: str
    node: str
    reason: Reason
    cause: Cause
    before: Fields
    after: Fields
    wanted: W | None
    applied: AppliedResource | None
    found: ResourceFacts

    @property
    def id(self) -> str:
        return f"{self.action.value}:{self.address}"


class Kind(Protocol[W]):
    """A kind of resource: its name (the word before the dot of its addresses), its fields, what is wanted of it, and its form of a step.
    All pure. `marks_its_own`: what is ours bears our mark where it is, so it is removed even where somebody changed it."""

    @property
    def name(self) -> str: ...

    @property
    def marks_its_own(self) -> bool: ...

    @property
    def fields(self) -> Sequence[FieldRule]: ...

    @property
    def step_form(self) -> type[Step]: ...

    def wanted(self, after: AfterPlan) -> Sequence[W]:
        """Every resource of this kind that the files ask for, in any order. Raises GpurecError for what cannot be told."""
        ...

    def step(self, change: ResourceChange[W]) -> Step: ...


AnyKind = Kind[Any]


@dataclass(slots=True)
class KindPlan:
    """What one kind adds to a plan. `settled` are the resources that are as wanted or will be, with the fields to record of them."""

    steps: list[Step] = field(default_factory=list)
    drift: list[Drift] = field(default_factory=list)
    deferred: list[Deferred] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    wanted: Mapping[str, Wanted] = field(default_factory=dict)
    unchanged: int = 0
    pending: int = 0


def plan_kind(kind: Kind[W], after: AfterPlan, found: Mapping[str, ResourceFacts], selected: frozenset[str] | None = None) -> KindPlan:
    """Everything about the resources of one kind, on the nodes of `selected` alone where it is given. `found` has what was seen of each by
    address; what is not in it was not looked at."""
    plan, applied = KindPlan(), after.applied
    wanted = sorted(kind.wanted(after), key=lambda one: one.address)
    plan.wanted = {one.address: one for one in wanted}
    for one in wanted:
        if selected is not None and one.node not in selected:
            continue
        _plan_wanted(plan, kind, one, seen_of(found, one.address, one.node), after)
    kept = {one.address for one in wanted}
    for address, row in sorted(applied.resources.items()):
        if kind_of(address) == kind.name and address not in kept and (selected is None or parse_resource_address(address)[2] in selected):
            _plan_unwanted(plan, kind, row, found.get(address, UNSEEN), _why_it_leaves(address, after.agents))
    return plan


def anywhere_on(kind: str, node: str) -> str:
    """What stands in `found` for all of a kind that may be on a node: where a thing will be is known only after the look."""
    return resource_address(kind, "*", node)


def seen_of(found: Mapping[str, ResourceFacts], address: str, node: str) -> ResourceFacts:
    """What was seen of a resource: by its own address, else of its kind on its node."""
    seen = found.get(address)
    return seen if seen is not None else found.get(anywhere_on(kind_of(address), node), UNSEEN)


def owned(kind: AnyKind, applied: Applied) -> list[str]:
    """The addresses of a kind that the state owns."""
    return sorted(address for address in applied.resources if kind_of(address) == kind.name)


def asked_fields(kind: AnyKind, wanted: Fields, row: AppliedResource | None) -> Fields:
    """The fields of a resource as they are to be: as the files ask, else as they were applied where the field is remembered."""
    asked: dict[str, Scalar | None] = {}
    for rule in kind.fields:
        value = wanted.get(rule.name)
        if value is None and rule.remembered and row is not None:
            value = row.fields.get(rule.name)
        asked[rule.name] = value
    return asked


def differing(kind: AnyKind, asked: Fields, found: Fields) -> list[str]:
    """The fields that are known to differ, in the kind's order."""
    both = asked.keys() & found.keys()
    wrong = {name for name in both if asked[name] != found[name] and asked[name] is not None and found[name] is not None}
    return [rule.name for rule in kind.fields if rule.name in wrong] if wrong else []


def repaired(address: str, asked: Fields) -> Repaired:
    """What the state keeps of a drift that was put right: the code of the incident, and a digest of what is asked of the resource."""
    text = json.dumps([address, sorted((name, value) for name, value in asked.items() if value is not None)])
    return Repaired(REPAIRED, f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")


def _held_until(address: str, asked: Fields, after: AfterPlan) -> datetime | None:
    """Until when a drift is left alone that was put right within the hour and is back: somebody else wants something else there, and both
    would go on for ever."""
    code, digest = repaired(address, asked)
    return _until(address, code, digest, after)


def _until(address: str, code: str, asked: str | None, after: AfterPlan) -> datetime | None:
    """Until when an incident of a resource holds it (of one digest of what was asked, where that is given)."""
    known = (one for one in after.applied.incidents if one.address == address and one.code == code)
    times = [moment(one.at) for one in known if asked in (None, one.asked)]
    until = max(times) + HELD_FOR if times else None
    return until if until is not None and moment(after.facts.at) < until else None


def _plan_wanted(plan: KindPlan, kind: Kind[W], wanted: W, found: ResourceFacts, after: AfterPlan) -> None:
    row = after.applied.resources.get(wanted.address)
    if wanted.unknown is not None:
        plan.deferred.append(Deferred(wanted.node, None, f"{wanted.address}: {wanted.unknown}"))
        return
    found = wanted.seen(found)
    asked = asked_fields(kind, wanted.fields, row)
    new = row is None or bool(differing(kind, wanted.fields, row.fields))
    drift = _drift(kind, row, found)
    plan.drift += drift
    if found.exists is None:
        plan.deferred.append(Deferred(wanted.node, None, f"{wanted.address}: {found.reason or 'unknown'}"))
        return
    if found.exists is False and found.reason is not None:
        plan.notes.append(Note(wanted.address, HELD, f"it cannot be made: {found.reason}"))
        return
    wrong = differing(kind, asked, found.fields)
    waits = [rule.name for rule in kind.fields if rule.waits]
    if not found.exists:
        code, says = ("missing", "was there and is gone") if row is not None else ("not_there", "is wanted and not there")
        action, reason = Action.CREATE, Reason(code, says)
    elif wrong and set(wrong) <= set(waits):
        until = _until(wanted.address, wanted.restart.code, None, after) if wanted.restart is not None else None
        if until is not None:
            what = (
                f"was started again within the last hour and is not {wrong[0]} still: not started again before {until:%Y-%m-%d %H:%M} UTC"
            )
            plan.notes.append(Note(wanted.address, HELD, what))
        if wanted.restart is not None and until is None:
            action, reason = Action.UPDATE, wanted.restart
        else:
            action, reason = Action.WAIT, Reason(f"not_{wrong[0]}", f"is there and not {wrong[0]} yet")
    elif wrong:
        word = "differs" if len(wrong) == 1 else "differ"
        action, reason = Action.UPDATE, Reason(f"{wrong[0]}_differs", f"{', '.join(wrong)} {word}")
    elif new:
        action, reason = Action.ADOPT, Reason("as_wanted", "is as wanted already")
    else:
        plan.unchanged += 1
        return
    cause = Cause.ADOPT if action is Action.ADOPT else Cause.PENDING if not drift else Cause.BOTH if new else Cause.DRIFT
    if cause is Cause.DRIFT and not kind.marks_its_own and (until := _held_until(wanted.address, asked, after)) is not None:
        what = f"was put right within the last hour and is not as wanted again ({', '.join(wrong) or 'missing'}); another fleet or program"
        advice = f"wants something else of it: held until {until:%Y-%m-%d %H:%M} UTC, or until what is asked of it changes"
        plan.notes.append(Note(wanted.address, HELD, f"{what} {advice}"))
        return
    plan.pending += new and action is not Action.ADOPT
    if action in (Action.CREATE, Action.UPDATE):
        plan.refusals += wanted.refusals(found)
    before = dict(found.fields) if found.exists else {}
    change = ResourceChange(action, wanted.address, wanted.node, reason, cause, before, asked, wanted, row, found)
    plan.steps.append(kind.step(change))


def _why_it_leaves(address: str, agents: AgentPlacement) -> Reason:
    """No file asks for it any more; or, of an agent that is wanted, why it has no place."""
    kind, name, _ = parse_resource_address(address)
    without_place = {one.spec.name: one.reason for one in agents.unplaced} if kind == AGENT else {}
    why = without_place.get(name.partition("#")[0])
    return Reason("not_wanted", "is no longer wanted") if why is None else Reason("no_place", why)


def _plan_unwanted(plan: KindPlan, kind: AnyKind, row: AppliedResource, found: ResourceFacts, reason: Reason) -> None:
    """What the state owns and has no place in the plan: removed where it is still as we left it, else left to whoever changed it."""
    _, _, node = parse_resource_address(row.address)
    if found.exists is None:
        plan.deferred.append(Deferred(node, None, f"{row.address}: {found.reason or 'unknown'}"))
        return
    if not found.exists:
        plan.forgotten.append(row.address)
        return
    if not kind.marks_its_own and (changed := differing(kind, row.fields, found.fields)):
        plan.forgotten.append(row.address)
        what = f"is no longer wanted and was changed by somebody else ({', '.join(changed)}): it is left there and forgotten"
        plan.notes.append(Note(row.address, "left_behind", what))
        return
    plan.pending += 1
    before = dict(found.fields)
    plan.steps.append(kind.step(ResourceChange(Action.REMOVE, row.address, node, reason, Cause.PENDING, before, {}, None, row, found)))


def _drift(kind: AnyKind, row: AppliedResource | None, found: ResourceFacts) -> list[Drift]:
    if row is None or found.exists is None:
        return []
    if not found.exists:
        return [Drift(row.address, "missing", "exists", True, False)]
    seen = found.fields if found.as_applied is None else found.as_applied
    return [Drift(row.address, name, name, row.fields.get(name), seen.get(name)) for name in differing(kind, row.fields, seen)]


def stale_resource(kind: AnyKind, step: Step, found: ResourceFacts, wanted: Fields | None, row: AppliedResource | None) -> str | None:
    """Why a saved step cannot be carried out now, as a sentence without its subject; None where it can, or is done already."""
    found = step.seen(found)
    if found.exists is None:
        return found.reason or "nothing is known about it now"
    if is_done(kind, step, found) or (step.only_while_due and wanted is None and row is None):
        return None
    if step.action is Action.REMOVE:
        if wanted is not None:
            return "the desired state asks for it"
    elif wanted is None or differing(kind, asked_fields(kind, wanted, row), step.after):
        return "the desired state asks for something else"
    if found.exists != bool(step.before):
        return "it is there now" if found.exists else "it is not there any more"
    if changed := changed_since(kind, step, found):
        return f"it was changed since the plan was made ({', '.join(changed)})"
    return None


def changed_since(kind: AnyKind, step: Step, found: ResourceFacts) -> list[str]:
    """The fields of a resource that are neither as the plan of a step found them nor as the step leaves them: a container may have started
    by itself since."""
    return [name for name in differing(kind, step.before, found.fields) if step.after.get(name) != found.fields[name]]


def is_done(kind: AnyKind, step: Step, found: ResourceFacts) -> bool:
    """Whether a resource is as a step leaves it."""
    if step.action is Action.REMOVE:
        return found.exists is False
    return found.exists is True and not differing(kind, step.after, found.fields)
