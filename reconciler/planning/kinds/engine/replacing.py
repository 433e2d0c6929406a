"""Which servers with one model may run beside the container that they replace, by the board. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from reconciler.capacity import CardAt, Replacement, with_room_for_both
from reconciler.fleet import EngineId
from reconciler.planning.containers import SPEC, WantedContainer
from reconciler.planning.kinds.model.step import ModelStep
from reconciler.planning.resource import AfterPlan


def beside_their_old(after: AfterPlan, single: Mapping[EngineId, WantedContainer]) -> Set[str]:
    """The addresses of those whose cards have room for the model of the old one and for that of the new one, whatever of the plan is done
    by then. While other models come to a node, or go, none is granted any."""
    return with_room_for_both(_replacements(after, single), after.spare) if after.spare else frozenset()


def _replacements(after: AfterPlan, single: Mapping[EngineId, WantedContainer]) -> Iterator[Replacement]:
    """What the old one holds is what its models were charged with, so nothing is known of one whose charges are not."""
    busy = {step.node for step in after.steps if isinstance(step, ModelStep) and step.at not in single}
    held: dict[EngineId, list[tuple[CardAt, int]]] = {}
    unknown: set[EngineId] = set()
    for row in after.applied.replicas.values():
        if row.at in single and row.charges is None:
            unknown.add(row.at)
        elif row.at in single:
            held.setdefault(row.at, []).extend(((row.at.node, index), count) for index, count in row.charges or ())
    for at, one in single.items():
        before, known = after.applied.resources.get(one.address), held.get(at)
        if before is not None and known and at not in unknown and one.container is not None and one.node not in busy:
            given = {card for card, _ in known}
            yield Replacement(one.address, tuple(known), given, before.fields.get(SPEC) == one.container.hash)
