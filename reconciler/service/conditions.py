"""What is not as it should be with a fleet, each told once until it changes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set

from reconciler.fleet import GpurecError, Topic
from reconciler.operations.apply_result import ApplyResult
from reconciler.planning import Plan, Step
from reconciler.state import StepStatus
from reconciler.value_class import value_class
from reconciler.views.sections import drift_words, without_restarts

Key = tuple[Topic, str, str]


@value_class
class Condition:
    """`subject` and `aspect` say of what, so that it is known again; `state` is what it is told anew for when it changes, and `message` one
    sentence. `at` are the node and the engine without whose answer nobody knows whether it still holds."""

    topic: Topic
    subject: str
    aspect: str
    state: str
    message: str
    at: tuple[str, str | None] | None = None

    @property
    def key(self) -> Key:
        return self.topic, self.subject, self.aspect


Conditions = Mapping[Key, Condition]
ITSELF = "gpurec"
"""The subject of an error that ended a look, or a run."""
NONE: Conditions = {}


@value_class
class News:
    """What is to be told of one look: what is new or other than it was, and what does not hold any more. `now` holds from here on."""

    told: tuple[Condition, ...]
    over: tuple[Condition, ...]
    now: Conditions


def compare(before: Conditions, found: Iterable[Condition]) -> News:
    """What is news of what was found. A condition at an engine that cannot be asked is neither there nor gone: it stays as it was."""
    now = {one.key: one for one in found}
    silent = {one.at for one in now.values() if one.topic is Topic.UNREACHABLE and one.at is not None}
    kept = {key: one for key, one in before.items() if key not in now and _is_silent(one, silent)}
    told = [one for key, one in now.items() if key not in before or before[key].state != one.state]
    over = [one for key, one in before.items() if key not in now and key not in kept]
    return News(tuple(sorted(told, key=_place)), tuple(sorted(over, key=_place)), {**kept, **now})


def _place(one: Condition) -> tuple[int, str, str]:
    return list(Topic).index(one.topic), one.subject, one.aspect


def _is_silent(one: Condition, silent: Set[tuple[str, str | None]]) -> bool:
    if one.at is None or one.topic is Topic.UNREACHABLE:
        return False
    return one.at in silent or (one.at[0], None) in silent


def of_plan(plan: Plan) -> Iterator[Condition]:
    """What a plan says of a fleet before anything is done."""
    for drift in without_restarts(plan.drift):
        words = drift_words(drift)
        what = words if words.startswith(f"{drift.kind}: ") else f"{drift.kind}: {words}"
        state = repr((drift.applied, drift.found)) if drift.klass == "managed" else ""
        yield Condition(Topic.DRIFTED, drift.address, f"{drift.kind} {drift.field}", state, what, _place_of(drift.address))
    pending = {step.address: step for step in plan.steps if step.cause in ("pending", "displaced")}  # the last of each says what for
    for address, step in pending.items():
        yield Condition(Topic.PENDING, address, "", step.action.value, f"to {step.action.value}: {step.reason.message}", _at(step))
    for one in plan.unplaced:
        if not one.best_effort:
            why = ", ".join(f"{reason} {count}" for reason, count in sorted(one.candidate_counts.items()))
            what = f"{one.count} of it without a place ({why})" if why else f"{one.count} of it without a place"
            yield Condition(Topic.UNPLACED, f"model.{one.model}", "", f"{one.count} {why}", what)
    for note in plan.held:
        yield Condition(Topic.HELD, note.address, "", "", note.message, _place_of(note.address))
    for refusal in plan.refusals:
        yield Condition(Topic.GUARD, refusal.address, refusal.guard, refusal.message, f"guard {refusal.guard} refuses: {refusal.message}")
    for gone in plan.deferred:
        subject = gone.node if gone.engine is None else f"engine.{gone.node}/{gone.engine}"
        yield Condition(Topic.UNREACHABLE, subject, "", "", gone.reason, (gone.node, gone.engine))


def of_result(plan: Plan, result: ApplyResult) -> Iterator[Condition]:
    """What came of carrying it out, where that is not what was meant."""
    steps = {step.id: step for step in plan.steps}
    for one in result.steps:
        if one.status in (StepStatus.FAILED, StepStatus.SKIPPED) and one.waited_for is None:  # else the other step says it
            what = one.message or one.code or "it did not say why"
            state = one.code or one.status.value
            step = steps.get(one.step_id)
            at = _at(step) if step is not None else None
            yield Condition(Topic.FAILED, one.address, one.action.value, state, f"{one.action.value} {_ended(one.status)}: {what}", at)
    for lost in result.lost:
        if lost.ours:
            yield Condition(Topic.FAILED, lost.address, "lost", "", f"lost: {lost.message}", _place_of(lost.address))


def of_error(error: Exception) -> Condition:
    """That nothing could be looked at, planned or applied."""
    sentence = " ".join(one.sentence() for one in error.problems) if isinstance(error, GpurecError) else f"{type(error).__name__}: {error}"
    return Condition(Topic.ERROR, ITSELF, type(error).__name__, sentence, sentence)


def _ended(status: StepStatus) -> str:
    return "was skipped" if status is StepStatus.SKIPPED else "failed"


def _at(step: Step) -> tuple[str, str | None]:
    return step.node, getattr(step, "engine", None)


def node_of(address: str) -> str | None:
    """The node at the end of an address; None where it names none."""
    place = _place_of(address)
    return place[0] if place is not None else None


def _place_of(address: str) -> tuple[str, str | None] | None:
    """The node and engine at the end of an address: `model.NAME@NODE/ENGINE`, `engine.NODE/ENGINE`, `gpu.NODE/CARD`."""
    kind, _, rest = address.partition(".")
    _, _, place = rest.rpartition("@")
    node, _, engine = place.partition("/")
    return (node, engine if engine and kind != "gpu" else None) if node else None
