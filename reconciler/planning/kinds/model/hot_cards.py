"""Cards that are so hot or so full that they are the last choice for what is new. No step depends on it, so it is no part of a digest."""

from __future__ import annotations

from reconciler.fleet import Applied, Heat, Policy, Pressure
from reconciler.placement import Card, Occupancy


def mark_hot(board: Occupancy, policy: Policy, applied: Applied) -> None:
    """Marks the engines with such a card, by the facts that placement has."""
    if policy.thermal is None and policy.memory_pressure is None:
        return
    for slot in board:
        slot.hot = any(_is_hot(card, policy, applied) for card in slot.cards or ())


def _is_hot(card: Card, policy: Policy, applied: Applied) -> bool:
    if card.facts is None:
        return False
    before = applied.heat.get((card.node, card.index), Heat.NORMAL)
    if policy.thermal is not None and policy.thermal.level(card.facts.temperature, before) >= Heat.WARNING:
        return True
    return policy.memory_pressure is not None and policy.memory_pressure.level(card.facts) >= Pressure.HIGH
