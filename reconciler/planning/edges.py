"""Steps of several kinds put into one order: what must wait for what, where the kinds were planned one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from reconciler.planning.by_needs import by_needs
from reconciler.planning.plan import Step
from reconciler.value_class import value_class


@value_class
class Edge:
    """The step `waits` begins after the step `needed`, both by id. `soft`: where they would wait for each other, it does not."""

    waits: str
    needed: str
    soft: bool = False


def with_edges(steps: Sequence[Step], edges: Iterable[Edge]) -> tuple[Step, ...]:
    """The steps with these edges among their needs, each after all that it needs, else in the order that they had. Edges from or to a step
    that is not there are left out, and soft ones that would close a ring."""
    known = {step.id for step in steps}
    found = [edge for edge in edges if edge.waits in known and edge.needed in known and edge.waits != edge.needed]
    if not found:
        return tuple(steps)
    needs: dict[str, set[str]] = {step.id: set(step.needs) for step in steps}
    for edge in sorted(found, key=lambda edge: (edge.soft, edge.waits, edge.needed)):
        if not edge.soft or not _reaches(needs, edge.needed, edge.waits):
            needs[edge.waits].add(edge.needed)
    changed = {edge.waits for edge in found}
    return _in_order([replace(step, needs=tuple(sorted(needs[step.id]))) if step.id in changed else step for step in steps])


def _reaches(needs: dict[str, set[str]], start: str, end: str) -> bool:
    """Whether a step needs another, directly or not."""
    seen, left = {start}, [start]
    while left:
        for one in needs[left.pop()]:
            if one == end:
                return True
            if one not in seen:
                seen.add(one)
                left.append(one)
    return False


def _in_order(steps: Sequence[Step]) -> tuple[Step, ...]:
    number = {step.id: n for n, step in enumerate(steps)}
    needs = [[number[needed] for needed in step.needs] for step in steps]
    return tuple(steps[n] for n in by_needs(needs, [()] * len(steps)))
