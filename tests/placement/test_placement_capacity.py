"""How much of a card may be used, and the golden numbers of a small cluster."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from reconciler.fleet import DEFAULT_LIMITS, MIB, Limits
from reconciler.placement import usable_bytes


def test_a_card_of_4096_mib_with_a_margin_of_0_8_has_3276_mib_usable_and_2571_free_with_705_resident():
    usable = usable_bytes(4096 * MIB, Limits(vram_safety_margin=Fraction(8, 10)))
    assert usable // MIB == 3276
    assert (usable - 705 * MIB) // MIB == 2571


def test_the_defaults_are_90_percent_and_512_mib():
    assert usable_bytes(24 * 1024 * MIB, DEFAULT_LIMITS) == 24 * 1024 * MIB * 9 // 10
    assert usable_bytes(2048 * MIB, DEFAULT_LIMITS) == 1536 * MIB


@given(st.integers(0, 2**42), st.integers(0, 2**42), st.fractions(0, 1), st.fractions(0, 1))
def test_usable_is_the_least_of_all_bounds_rounded_down(total, reserve, share, margin):
    usable = usable_bytes(total, Limits(share, margin, reserve))
    assert 0 <= usable <= total
    assert usable <= max(0, total - reserve)
    assert usable <= total * share
    assert usable <= total * margin
