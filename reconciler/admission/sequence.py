"""In which order several loads of one Ollama are all taken without an eviction, if there is one."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.admission.ollama import PERCENT, threshold
from reconciler.value_class import value_class


@value_class
class PendingLoad:
    """A load that is to come: what the engine will predict for it (None: not known, so nothing is held against it), and the bytes that it
    takes away from what is free."""

    predicted: int | None
    charged: int

    @property
    def urgency(self) -> int:
        """Loads come in falling order of prediction less 80% of what they take: of two that both fit in the other order, both fit in this
        one. (Let i come before j: p_j ≤ 0.8 (F − r_i). Then p_i ≤ 0.8 (F − r_j) as soon as p_i − 0.8 r_i ≤ p_j − 0.8 r_j.) In hundredths of
        a byte."""
        return 100 * (self.predicted or 0) - PERCENT * self.charged


def any_order_holds(coming: Sequence[PendingLoad], free: int) -> bool:
    """Whether each is predicted to fit even after all have come and `free` is left: then their order matters to none."""
    return max((one.predicted or 0 for one in coming), default=0) <= threshold(free)


def arrange(coming: Sequence[PendingLoad], free: int, first_is_free: bool) -> list[PendingLoad] | None:
    """An order in which each is predicted to fit when its turn comes; None when there is none.

    `free` is what is believed free once all have come. `first_is_free`: nobody else is resident, and the first model is always tried.
    """
    ordered = sorted(coming, key=lambda one: -one.urgency)
    if holds(ordered, free, first_is_free):
        return ordered
    if not first_is_free:
        return None
    for number, first in enumerate(ordered):
        other = [first, *ordered[:number], *ordered[number + 1 :]]
        if number and holds(other, free, True):
            return other
    return None


def holds(ordered: Sequence[PendingLoad], free: int, first_is_free: bool) -> bool:
    """Whether loads in this order are each predicted to fit."""
    room = free
    for number in range(len(ordered) - 1, -1, -1):
        one = ordered[number]
        room += one.charged
        if one.predicted is not None and one.predicted > threshold(room) and not (first_is_free and number == 0):
            return False
    return True
