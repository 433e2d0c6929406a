"""Guards: how much a plan may take away before it is refused as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil

from reconciler.fleet import Desired
from reconciler.planning.kinds.model.change import Change
from reconciler.planning.kinds.model.changes import Changes, ProtectedChange
from reconciler.planning.plan import Action, Refusal

_EVICTIONS = ("eviction", "unmanaged")
"""Reasons of an unload of what nobody here asked for."""


def find_refusals(found: Changes, desired: Desired) -> tuple[Refusal, ...]:
    """Every guard of `policy.guards` that these changes break, and what is protected from them. A percentage is of the residents that the
    state owns (rounded up, at least 1). A reload takes a replica away once, and so does a move."""
    guards, changes, owned_residents = desired.policy.guards, found.every, found.owned_residents
    unloads = [change for change in changes if change.action is Action.UNLOAD]
    evictions = [change for change in unloads if change.reason.code in _EVICTIONS]
    owned = [change for change in unloads if change.reason.code not in _EVICTIONS]
    unasked = [change for change in owned if change.reason.code != "absent"]
    deleted = [change for change in changes if change.action is Action.REMOVE]
    taken = owned + [change for change in changes if change.action is Action.RELOAD]
    refusals = [_protected(found.spared)] if found.spared else []
    if unasked and not guards.allow_empty and not desired.wanted:
        refusals.append(
            _refusal(
                "allow_empty",
                unasked,
                f"nothing is desired to be there, and {_count(len(unasked), 'model')} of gpurec would be unloaded",
                "true",
            )
        )
    most = most_unloads(guards.max_unload, owned_residents)
    if most is not None and len(taken) > most:
        what = f"{_count(len(taken), 'resident')} would be unloaded or reloaded, {most} of {owned_residents} may be"
        refusals.append(_refusal("max_unload", taken, what, str(len(taken))))
    if guards.max_evictions is not None and len(evictions) > guards.max_evictions:
        what = f"{_count(len(evictions), 'unmanaged resident')} would be evicted, {guards.max_evictions} may be"
        refusals.append(_refusal("max_evictions", evictions, what, str(len(evictions))))
    if len(deleted) > guards.max_delete:
        what = f"{_count(len(deleted), 'model')} would be deleted from disk, {guards.max_delete} may be"
        refusals.append(_refusal("max_delete", deleted, what, str(len(deleted))))
    return tuple(refusals)


def _protected(spared: Sequence[ProtectedChange]) -> Refusal:
    """The plan leaves protected replicas alone, so it is not what the files ask for."""
    first = min(spared, key=lambda one: one.address)
    others = f", and so would {_count(len(spared) - 1, 'other')}" if len(spared) > 1 else ""
    line = f"`{first.model}: {{protect: false{'' if first.wanted else ', replicas: 0'}}}` under `models` would allow it"
    what = f"{first.address} is protected and would be {first.action.value}ed ({first.message}){others}; {line}"
    return Refusal("protect", first.address, what)


def most_unloads(guard: int | Fraction | None, owned_residents: int) -> int | None:
    """How many residents `max_unload` lets go; None without a bound."""
    return max(1, ceil(guard * owned_residents)) if isinstance(guard, Fraction) else guard


def _refusal(guard: str, changes: Sequence[Change], what: str, allowed: str) -> Refusal:
    first = min(change.address for change in changes)
    return Refusal(guard, first, f"{what}, {first} among them; `policy: {{guards: {{{guard}: {allowed}}}}}` would allow it")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
