"""Engines that share a card with a vLLM, which takes its fraction of the card at its start and keeps it, whatever its model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.admission import free_at_start, told_utilization, utilization_of
from reconciler.fleet import CardId, EngineKind, NodeFacts, NodeSpec, format_bytes
from reconciler.health.finding import Finding, warning
from reconciler.health.joining import cards_of


def sharing_findings(node: NodeSpec, facts: NodeFacts, usable: Mapping[CardId, int]) -> Iterator[Finding]:
    """A vLLM whose fraction leaves nothing of a card for the others that are bound to it. `usable` bytes of each card, by its index."""
    for spec in node.engines:
        engine = facts.engines.get(spec.id.engine)
        if spec.kind is not EngineKind.VLLM or engine is None:
            continue
        shares = [share for one in engine.residents or () if (share := told_utilization(one.options)) is not None]
        for card in cards_of(spec, facts.cards or ()) if shares else ():
            room = usable.get(card.index)
            others = sorted(str(one.id) for one in node.engines if one is not spec and card in cards_of(one, facts.cards or ()))
            if room is None or card.total_bytes is None or not others:
                continue
            taken = free_at_start(shares[0], card.total_bytes)
            if taken < room:
                continue
            half = utilization_of(room // 2, card.total_bytes)
            what = f"it takes {format_bytes(taken)} of card {card.index} ({shares[0]}), where {format_bytes(room)} may be used"
            mend = f"start it with a lower --gpu-memory-utilization ({half} is half of what may be used), or bind the others to other cards"
            yield warning("fraction_leaves_no_room", f"engine.{spec.id}", f"{what}: nothing is left for {', '.join(others)}", mend)
