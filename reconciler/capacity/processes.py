"""What an engine holds card by card: by its processes, where those of its cards are seen, or by the share that it took at its start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.admission import free_at_start, told_utilization
from reconciler.capacity.cards import Card, Charges
from reconciler.capacity.engine_state import EngineState
from reconciler.fleet import EngineKind, Resident


def held_by_processes(slot: EngineState) -> Mapping[Card, int] | None:
    """Bytes on each card of an engine by its processes; None where none of them was seen, so what it reports has to do."""
    held: dict[Card, int] = {}
    for card in slot.cards or ():
        for process in (card.facts.processes if card.facts is not None else None) or ():
            if process.engine == slot.id.engine and process.used_bytes is not None:
                held[card] = held.get(card, 0) + process.used_bytes
    return held or None


def share_of_cards(slot: EngineState, resident: Resident) -> Charges | None:
    """What a vLLM took of each of its cards at its start, whatever its model, where it tells the fraction and their sizes are known."""
    share = told_utilization(resident.options) if slot.kind is EngineKind.VLLM else None
    if share is None or not slot.cards or any(card.total is None for card in slot.cards):
        return None
    return tuple((card, free_at_start(share, card.total or 0)) for card in slot.cards)


def shares_of(held: Mapping[Card, int], weights: Sequence[int]) -> list[Charges]:
    """`held` shared out over residents by what the engine reports of each (`weights`, not all 0), to the last byte on every card: an
    engine reports less than its processes hold, and nobody tells which process holds which model."""
    shares: list[list[tuple[Card, int]]] = [[] for _ in weights]
    whole = sum(weights)
    largest = weights.index(max(weights))
    for card, count in held.items():
        parts = [count * weight // whole for weight in weights]
        parts[largest] += count - sum(parts)
        for share, part in zip(shares, parts, strict=True):
            if part:
                share.append((card, part))
    return [tuple(share) for share in shares]
