"""Which servers with one model may run beside the container that they replace, by the board. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from reconciler.capacity import CardAt, Replacement, with_room_for_both
from reconciler.fleet import EngineId, parse_replica_address
from reconciler.planning.containers import SPEC, WantedContainer
from reconciler.planning.kinds.model.step import ModelStep
from reconciler.planning.resource import AfterPlan


def beside_their_old(after: AfterPlan, single: Mapping[EngineId, WantedContainer]) -> Set[str]:
    """The addresses of those whose cards have room for the model of the old one and for that of the new one, whatever of the plan is done
    by then. While other models come to a node, or go, none is granted any."""
    return with_room_for_both(tuple(_replacements(after, single)), after.spare) if after.spare else frozenset()


def _replacements(after: AfterPlan, single: Mapping[EngineId, WantedContainer]) -> Iterator[Replacement]:
    """What the old one holds is what its models were charged with, so nothing is granted on a node with one whose charges are unknown."""
    busy = {step.node for step in after.steps if isinstance(step, ModelStep) and step.at not in single}
    held: dict[EngineId, list[tuple[CardAt, int]]] = {}
    takes: dict[EngineId, list[tuple[CardAt, int]]] = {}
    for row in after.applied.replicas.values():
        if row.at not in single:
            continue
        if row.charges is None or single[row.at].address not in after.applied.resources:
            busy.add(row.at.node)
            continue
        held.setdefault(row.at, []).extend(((row.at.node, index), count) for index, count in row.charges)
        takes.setdefault(row.at, [])
    for address in after.placed:
        _, at = parse_replica_address(address)
        if at in takes:
            before = after.applied.replicas.get(address)
            if not (charges := after.charges.get(address) or (before.charges if before is not None else None)):
                busy.add(at.node)
                continue
            takes[at].extend(((at.node, index), count) for index, count in charges)
    for at, one in single.items():
        applied, known = after.applied.resources.get(one.address), held.get(at)
        if applied is not None and known and one.container is not None and one.node not in busy:
            given = {card for card, _ in takes[at]}
            drifted = applied.fields.get(SPEC) == one.container.hash
            yield Replacement(one.address, tuple(known), given, drifted, tuple(takes[at]))
