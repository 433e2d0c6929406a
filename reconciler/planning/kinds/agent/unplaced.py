"""Agents without a place, as a plan tells them."""

from __future__ import annotations

from collections.abc import Iterator, Set

from reconciler.placement.agents import AgentPlacement, UnplacedAgents
from reconciler.planning.plan import Candidate, Unplaced


def unplaced_agents(placement: AgentPlacement, resting: Set[str] = frozenset()) -> Iterator[Unplaced]:
    """`resting` are the models that are outside their hours: that an agent is away with its model is no failure."""
    for one in placement.unplaced:
        rests = one.spec.model in resting and not one.counts
        yield Unplaced(
            model=one.spec.model or "",
            count=one.count,
            needed_bytes=one.spec.requirement.vram if one.spec.takes_card else None,
            candidates=tuple(Candidate(where, code, words) for where, code, words in one.where),
            candidate_counts=one.counts,
            would_fit_if=() if rests else would_fit_if(one),
            best_effort=rests,
            agent=one.spec.name,
            reason=f"its model {one.spec.model} is outside its hours" if rests else one.reason,
        )


def would_fit_if(one: UnplacedAgents) -> tuple[str, ...]:
    """Lines of the files that would give it a place, as far as that is sure."""
    spec = one.spec
    if one.counts.get("agents_per_gpu"):
        return ("more agents may share a card: raise `limits: {max_agents_per_gpu: N}`",)
    if one.counts.get("other_node") and set(one.counts) == {"other_node"}:
        return (f"its engine may be on another node: `near: any` under agents.{spec.name}",)
    if not one.counts and spec.model is not None:
        return (f"{spec.model} has a place: declare it under `models:`, or see above why it has none",)
    return ()
