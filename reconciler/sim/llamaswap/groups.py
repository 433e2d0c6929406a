"""Which models a load stops (llama-swap config.example.yaml, `groups`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from reconciler.sim.spec import SimGroup

_DEFAULT = SimGroup("(default)", swap=True, exclusive=True)
"""The group of what is in none."""


def stopped_by(name: str, running: Collection[str], groups: Sequence[SimGroup]) -> list[str]:
    """The running models that a load of `name` ends: members of its own group where that swaps, and of every other group that is not
    persistent where its own is exclusive."""
    own = _group_of(name, groups)
    leaving = []
    for other in running:
        if other == name:
            continue
        theirs = _group_of(other, groups)
        if theirs is own:
            if own.swap:
                leaving.append(other)
        elif own.exclusive and not theirs.persistent:
            leaving.append(other)
    return sorted(leaving)


def _group_of(name: str, groups: Sequence[SimGroup]) -> SimGroup:
    return next((group for group in groups if name in group.members), _DEFAULT)
