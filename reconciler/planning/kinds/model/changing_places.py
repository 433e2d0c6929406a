"""Reloads that change places: none has room before another has left, so one of them leaves first and is loaded again after."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.capacity import largest
from reconciler.planning.kinds.model.change import Change
from reconciler.planning.plan import Action, Reason

CHANGES_PLACES = "changes_places"
"""The reason of an unload whose model is loaded again at the same engine, once others have taken their room where it was."""


def who_leaves_first(ring: Sequence[Change]) -> Change:
    """Of reloads that wait for each other the one that is unloaded and loaded: of the lowest priority, then of the fewest bytes. One that
    asks for free memory before it is loaded stays where it is as long as there is another."""
    return min(ring, key=lambda one: (one.waits_for_all, one.priority, largest(one.takes) or 0, one.address))


def leaves_first(reload: Change, others: Sequence[Change]) -> Change:
    """Makes `reload` the load of its model and gives the unload before it, which waits for none of `others` that want its room."""
    resident = str(reload.before.get("name") or reload.engine_name)
    unload = Change(
        Action.UNLOAD,
        reload.address,
        reload.model,
        reload.slot,
        resident,
        resident,
        Reason(CHANGES_PLACES, _why(sorted({one.model for one in others}))),
        reload.cause,
        reload.priority,
        frees=reload.frees,
        cache=(0, reload.cache[1]),
        before={name: value for name, value in reload.before.items() if name != "vram_bytes"},
        spread=reload.spread and len(reload.frees) > 1,
    )
    reload.action, reload.frees, reload.before, reload.cache = Action.LOAD, (), {}, (reload.cache[0], 0)
    reload.needs.append(unload)
    return unload


def _why(others: Sequence[str]) -> str:
    if len(others) < 2:
        return f"changes places with {''.join(others) or 'another replica of it'}: neither has room before the other has left"
    return f"changes places with {', '.join(others[:-1])} and {others[-1]}: none has room before another has left"
