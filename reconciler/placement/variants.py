"""Which variant of a model a replica is: the best that fits, and why the better ones are not there.

A variant that is placed stays while it fits. A better one that would fit by now is told (`better_now`), never swapped in by itself: a model
that answers requests is not taken away for something that nobody changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from reconciler.capacity import EngineState, Occupancy
from reconciler.fleet import Applied, ModelSpec
from reconciler.placement.eligibility import refusal
from reconciler.placement.explain import in_words
from reconciler.placement.fit import Fit, fit
from reconciler.placement.result import PassedOver, Target

APPLIED_BEFORE = "applied_before"
"""Reason for which a better variant that fits is not placed: another one was placed here before, and stays while it fits."""


def passed_over(slot: EngineState, chosen: ModelSpec, alternatives: Sequence[ModelSpec], applied: Applied) -> tuple[PassedOver, ...]:
    """Why each variant before the chosen one is not on this engine, as the board stands before the chosen one takes its room."""
    if chosen.variant is None:
        return ()
    return tuple(_why_not(slot, one, applied) for one in better_than(chosen, alternatives))


def better_than(chosen: ModelSpec, alternatives: Sequence[ModelSpec]) -> tuple[ModelSpec, ...]:
    return tuple(takewhile(lambda one: one.variant != chosen.variant, alternatives))


def _why_not(slot: EngineState, model: ModelSpec, applied: Applied) -> PassedOver:
    code = refusal(slot, model) or fit(slot, model, applied)
    name = model.variant or model.name
    if isinstance(code, Fit):
        return PassedOver(name, APPLIED_BEFORE, "fits, and another variant that was placed here before stays")
    return PassedOver(name, code, in_words(code, slot, model, applied))


def better_now(board: Occupancy, target: Target, applied: Applied) -> str | None:
    """The best variant that would fit on the target's engine in the place of the one that is there; None where that is the best."""
    model, slot, found = target.model, target.slot, target.found
    if model.variant is None or found is None or target.deferred or not slot.selected:
        return None
    better = better_than(model, model.unchosen().alternatives())
    if not better:
        return None
    with board.trial():
        if target.holding is not None:
            board.remove(target.holding)
        return next((one.variant for one in better if isinstance(fit(slot, one, applied), Fit)), None)
