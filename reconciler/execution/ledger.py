"""The cards' arithmetic while a run goes on: no step may raise a card above max(usable, what it held before).

The plan's order keeps this already; the ledger is the second look, with what really happened: an unload that failed gives nothing back,
and a resident that came while we worked takes its room.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.capacity import CardAccounts
from reconciler.fleet import CardId, format_bytes
from reconciler.planning import Action, ModelStep, Plan

CardKey = tuple[str, CardId]


class Ledger:
    """Asks the accounts of the cards about steps. Cards of unknown size have no account, and nothing is held against them."""

    def __init__(self, plan: Plan) -> None:
        self._accounts: CardAccounts[CardKey] = CardAccounts()
        for card in plan.gpus:
            self._accounts.open((card.node, card.gpu), card.usable_bytes, card.foreign_bytes or 0, card.before_bytes)

    def lacking(self, step: ModelStep, newcomer_bytes: int | None = 0) -> str | None:
        """Why `step` may not begin now, or None. `newcomer_bytes`: of residents that the plan did not know; None: nobody can say."""
        short = self._accounts.shortage(_growth(step), newcomer_bytes)
        if short is None:
            return None
        where = f"card {short.card[0]}/{short.card[1]}"
        if short.room is None:
            return f"{where} holds a model of unknown size that came after the plan was made"
        return f"{where} has {format_bytes(max(0, short.room))} left and {format_bytes(short.asked)} are needed"

    def book(self, step: ModelStep) -> None:
        """What a load will take, from the moment it begins."""
        self._accounts.take(_growth(step))

    def shrink(self, step: ModelStep) -> None:
        """What a reload that is done takes less than what was there before it."""
        before = step.before.get("vram_bytes")
        if step.action is not Action.RELOAD or not isinstance(before, int) or step.vram_bytes is None:
            return
        self._accounts.shrink(_cards(step), before, step.vram_bytes)

    def give_back(self, step: ModelStep) -> None:
        """What an unload freed, or a load that left nothing behind."""
        self._accounts.give(_growth(step) if step.action is not Action.UNLOAD else dict.fromkeys(_cards(step), step.vram_bytes or 0))

    def held(self, node: str, gpu: CardId) -> int | None:
        return self._accounts.held((node, gpu))


def _cards(step: ModelStep) -> list[CardKey]:
    return [(step.node, gpu) for gpu in step.cards]


def _growth(step: ModelStep) -> Mapping[CardKey, int]:
    """Bytes by which a step raises each card: its own preconditions say it (`NODE/GPU.free_bytes` at least so much)."""
    if step.action not in (Action.LOAD, Action.RELOAD):
        return {}
    needed = {precondition.fact: precondition.at_least for precondition in step.preconditions if precondition.at_least is not None}
    return {(node, gpu): count for node, gpu in _cards(step) if (count := needed.get(f"{node}/{gpu}.free_bytes")) is not None}
