"""vLLM's share of a card (vllm/config/cache.py, v1/worker/utils.py `request_memory`): fixed at its start, and all of it taken then."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from fractions import Fraction

_STEP = Decimal("0.01")


def utilization_of(grant: int, total: int) -> Decimal | None:
    """`--gpu-memory-utilization` for a grant of bytes on a card of `total`, rounded down to 0.01; None where not even 0.01 is granted.

    Never above 1, and never more than the grant: rounding down is what keeps the sum of several instances within the card.
    """
    if total <= 0 or grant <= 0:
        return None
    share = (Decimal(min(grant, total)) / Decimal(total)).quantize(_STEP, ROUND_DOWN)
    return share if share > 0 else None


def free_at_start(utilization: Decimal | Fraction, total: int) -> int:
    """Bytes that must be free on the card when it starts, rounded up; with less it ends: `Free memory on device … is less than desired`.

    It takes just these, whatever its model: weights, activations and graphs first, the rest is cache.
    """
    exact = Fraction(utilization) * total
    return -(-exact.numerator // exact.denominator)
