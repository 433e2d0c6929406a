"""Why a resource is where it is, told from the plan and the state: the rules of placement in words."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.fleet import Applied, Each
from reconciler.planning.kinds.model.hours import OUTSIDE_HOURS
from reconciler.planning.plan import Action, Cause, Drift, Move, Note, Plan, Reason, Step, Unplaced
from reconciler.value_class import value_class


@value_class
class Account:
    """What a plan says of one address. `moves` are those that it leaves or comes by, and those that make room for it."""

    address: str
    why: Reason
    steps: tuple[Step, ...]
    drift: tuple[Drift, ...]
    notes: tuple[Note, ...]
    moves: tuple[Move, ...]
    unplaced: Unplaced | None = None
    replicas: frozenset[str] = frozenset()
    """The engines on which the plan has a replica of its model."""


def account_of(plan: Plan, address: str, applied: Applied, each: Each | None = None) -> Account | None:
    """Everything about `address` (`model.NAME` alone: about a model without a place); None where nothing is known of it. `each` is what its
    model has one replica for."""
    kind, _, rest = address.partition(".")
    model = rest.rpartition("@")[0] or rest if kind == "model" else None
    steps = tuple(step for step in plan.steps if step.address == address)
    drift = tuple(one for one in plan.drift if one.address == address)
    notes = tuple(one for one in plan.notes if one.address in (address, f"model.{model}"))
    moves = tuple(one for one in plan.impact.moves if address in (one.address, one.to) or (one.by == model and steps))
    unplaced = next((one for one in plan.unplaced if one.model == model), None) if "@" not in rest else None
    owned = address in applied.replicas or address in applied.resources
    unmanaged = any(f"model.{one.name}@{one.node}/{one.engine}" == address for one in plan.unmanaged)
    resting = next((note for note in notes if note.code == OUTSIDE_HOURS and note.address == address), None)
    known = resting or steps or drift or owned or unmanaged or unplaced or address in plan.placed
    if not known:
        return None
    why = Reason(resting.code, resting.message) if resting is not None else _why(plan, address, applied, steps, unmanaged, unplaced, each)
    replicas = frozenset(one.rpartition("@")[2] for one in plan.placed if model is not None and one.startswith(f"model.{model}@"))
    return Account(address, why, steps, drift, notes, moves, unplaced, replicas)


def _why(
    plan: Plan, address: str, applied: Applied, steps: Sequence[Step], unmanaged: bool, unplaced: Unplaced | None, each: Each | None
) -> Reason:
    if unplaced is not None:
        if unplaced.agent is not None:
            return Reason("unplaced", "it has no place")
        return Reason("unplaced", "it cannot be placed" if unplaced.proved else "no place was found for it")
    if unmanaged:
        return Reason("unmanaged", "it is resident there, and nobody here asked for it")
    last = steps[-1] if steps else None
    if last is not None and last.action in (Action.UNLOAD, Action.REMOVE):
        return Reason("leaving", f"it leaves: {last.reason.message}")
    if last is not None and last.cause is Cause.DISPLACED:
        return Reason("displaced", f"it comes here because its old place is taken: {last.reason.message}")
    if address not in plan.placed and last is None:
        return Reason("owned", "the state owns it, and the plan does nothing about it")
    if last is not None and last.action is Action.ADOPT:
        return Reason("adopted", "it is there already and as wanted, so it is adopted where it is")
    if last is None or last.action in (Action.RELOAD, Action.UPDATE, Action.WAIT):
        return Reason("kept", "it is there, and what is there stays where it is")
    if address in applied.replicas or address in applied.resources:
        return Reason("last_applied", "it was last applied here, and there is room for it")
    if each is not None:
        return Reason("each", f"there is one for each {'card' if each is Each.GPU else each}, and this one has room")
    if address.startswith("model."):
        return Reason("strategy", f"of the engines with room the strategy {plan.placement.strategy} took this one")
    return Reason("files", "the files ask for it here")
