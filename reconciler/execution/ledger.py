"""The cards' arithmetic while a run goes on: no step may raise a card above max(usable, what it held before).

The plan's order keeps this already; the ledger is the second look, with what really happened: an unload that failed gives nothing back,
and a resident that came while we worked takes its room.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.fleet import CardId, format_bytes
from reconciler.planning import Action, CardBalance, ModelStep, Plan

CardKey = tuple[str, CardId]


@dataclass(slots=True)
class _Account:
    limit: int
    held: int


class Ledger:
    """Bytes by card, without foreign use. Cards of unknown size have no account, and nothing is held against them."""

    def __init__(self, plan: Plan) -> None:
        self._accounts: dict[CardKey, _Account] = {}
        for card in plan.gpus:
            limit = _limit(card)
            if limit is not None:
                self._accounts[card.node, card.gpu] = _Account(limit, card.before_bytes)

    def lacking(self, step: ModelStep, newcomer_bytes: int | None = 0) -> str | None:
        """Why `step` may not begin now, or None. `newcomer_bytes`: of residents that the plan did not know; None: nobody can say."""
        for key, grows in _growth(step).items():
            account = self._accounts.get(key)
            if account is None:
                continue
            if newcomer_bytes is None:
                return f"card {key[0]}/{key[1]} holds a model of unknown size that came after the plan was made"
            room = account.limit - account.held - newcomer_bytes
            if grows > room:
                return f"card {key[0]}/{key[1]} has {format_bytes(max(0, room))} left and {format_bytes(grows)} are needed"
        return None

    def book(self, step: ModelStep) -> None:
        """What a load will take, from the moment it begins."""
        for key, grows in _growth(step).items():
            if key in self._accounts:
                self._accounts[key].held += grows

    def shrink(self, step: ModelStep) -> None:
        """What a reload that is done takes less than what was there before it."""
        before = step.before.get("vram_bytes")
        if step.action is not Action.RELOAD or not isinstance(before, int) or step.vram_bytes is None:
            return
        for key in _cards(step):
            if key in self._accounts:
                self._accounts[key].held -= max(0, before - step.vram_bytes)

    def give_back(self, step: ModelStep) -> None:
        """What an unload freed, or a load that left nothing behind."""
        freed = _growth(step) if step.action is not Action.UNLOAD else dict.fromkeys(_cards(step), step.vram_bytes or 0)
        for key, count in freed.items():
            if key in self._accounts:
                self._accounts[key].held -= count

    def held(self, node: str, gpu: CardId) -> int | None:
        account = self._accounts.get((node, gpu))
        return account.held if account is not None else None


def _limit(card: CardBalance) -> int | None:
    if card.usable_bytes is None:
        return None
    return max(card.usable_bytes - (card.foreign_bytes or 0), card.before_bytes)


def _cards(step: ModelStep) -> list[CardKey]:
    return [(step.node, gpu) for gpu in (step.gpus or step.gpu_candidates or ())]


def _growth(step: ModelStep) -> Mapping[CardKey, int]:
    """Bytes by which a step raises each card: its own preconditions say it (`NODE/GPU.free_bytes` at least so much)."""
    if step.action not in (Action.LOAD, Action.RELOAD):
        return {}
    needed = {precondition.fact: precondition.at_least for precondition in step.preconditions if precondition.at_least is not None}
    return {(node, gpu): count for node, gpu in _cards(step) if (count := needed.get(f"{node}/{gpu}.free_bytes")) is not None}
