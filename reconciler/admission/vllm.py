"""vLLM's share of a card (vllm/config/cache.py, v1/worker/utils.py `request_memory`): fixed at its start, and all of it taken then."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal, InvalidOperation
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


def told_utilization(options: Sequence[str] | None) -> Decimal | None:
    """The fraction that a running server tells among its start's options (`gpu_memory_utilization=0.92`); None where it tells none, or one
    that is none."""
    prefix = "gpu_memory_utilization="
    said = next((option.removeprefix(prefix) for option in options or () if option.startswith(prefix)), "")
    try:
        share = Decimal(said)
    except InvalidOperation:
        return None
    return share if share.is_finite() and 0 < share <= 1 else None
