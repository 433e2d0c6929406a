"""Variants in a plan: what is told of those that could be better."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.fleet import Applied, replica_address
from reconciler.placement import Placement, better_now
from reconciler.planning.plan import Note


def better_variants(placement: Placement, applied: Applied) -> Iterator[Note]:
    """A note for each resident in whose place a better variant would fit by now; it stays all the same."""
    for target in placement.targets:
        better = better_now(placement.board, target, applied)
        if better is not None:
            message = (
                f"{better} would fit in the place of {target.model.variant}, which stays; take that out of `variants` to have it replaced"
            )
            yield Note(replica_address(target.model.name, target.slot.id), "better_variant", message)
