"""Why a model has no place on an engine, asked once for all engines that are as full as each other.

The engines of a large fleet differ little once placement is done, so a plan with many unplaced models asks few questions of many engines.
"""

from __future__ import annotations

from collections.abc import Hashable

from reconciler.capacity import EngineState
from reconciler.fleet import Applied, ModelSpec
from reconciler.placement.eligibility import refusal
from reconciler.placement.fit import FREE_VRAM, Fit, is_short_of_free, room_for, static_refusal
from reconciler.placement.residents import need_on

SPREAD = "spread"
_ITS_OWN = frozenset({"engine_would_evict", "kv_cache_fraction", SPREAD})
"""Answers that depend on more of an engine than its state: on the loads to come, and on how it would see this one."""


_SPREADS = frozenset({"computed", "measured"})
"""Sources of a need that say also how a model is spread over the cards of this very engine."""


class RoomStates:
    """The engines of a finished board by what decides about room on them: each class of them a number."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}
        self._of: dict[EngineState, int] = {}

    def of(self, slot: EngineState) -> int:
        known = self._of.get(slot)
        if known is None:
            key = _state(slot)
            known = self._of[slot] = self._known.setdefault(key, len(self._known))
        return known


def _state(slot: EngineState) -> Hashable:
    margin = slot.rules.fit_margin
    return slot.cards is None, slot.fullness(margin is not None), slot.spec.memory_limit, slot.rules.memory, margin, slot.full


class Reasons:
    """Why one model (a chosen variant, where it has some) has no place, engine by engine."""

    def __init__(self, states: RoomStates, model: ModelSpec, applied: Applied) -> None:
        self._states = states
        self._model, self._applied = model, applied
        self._known: dict[tuple[int, int], str] = {}

    def at(self, slot: EngineState) -> str:
        """As `reason_at`."""
        model = self._model
        code = refusal(slot, model) or static_refusal(slot, model)
        if code is not None:
            return code
        need = need_on(slot, model, self._applied)
        if need is None or need.source in _SPREADS or (slot.runners and slot.runner(model) in slot.runners):
            return _of_room(slot, model, self._applied)
        key = self._states.of(slot), need.bytes
        code = self._known.get(key)
        if code is None:
            code = _of_room(slot, model, self._applied)
            if code not in _ITS_OWN:
                self._known[key] = code
        return code


def reason_at(slot: EngineState, model: ModelSpec, applied: Applied) -> str:
    """The first constraint that says no on this engine; `spread` when it would fit, but another replica keeps it away."""
    return refusal(slot, model) or static_refusal(slot, model) or _of_room(slot, model, applied)


def _of_room(slot: EngineState, model: ModelSpec, applied: Applied) -> str:
    answer = room_for(slot, model, applied)
    if isinstance(answer, Fit):
        return FREE_VRAM if is_short_of_free(model, answer) else SPREAD
    return answer
