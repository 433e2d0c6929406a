"""Rule: along any order in which containers are replaced, one after the other, no card has more than it can hold."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from reconciler.capacity import Replacement, with_room_for_both

CARD = ("a", 0)
GIB = 2**30


def replacement(address: str, old: int, new: int) -> Replacement:
    return Replacement(address, ((CARD, old * GIB),), {CARD}, False, ((CARD, new * GIB),))


def most_at_a_time(every: dict[str, tuple[int, int]], beside: set[str] | frozenset[str]) -> int:
    """The most GiB on the card along any order: what runs beside its old one is there with it for a moment."""
    most = 0
    for order in permutations(every):
        used = sum(old for old, _ in every.values())
        for name in order:
            old, new = every[name]
            most = max(most, used, used + new if name in beside else used - old + new)
            used += new - old
    return most


def granted(total: int, every: dict[str, tuple[int, int]]) -> set[str]:
    spare = {CARD: (total - sum(new for _, new in every.values())) * GIB}
    return set(with_room_for_both([replacement(name, old, new) for name, (old, new) in every.items()], spare))


def test_what_another_one_still_has_until_it_is_replaced_is_not_granted():
    every = {"a": (6, 6), "b": (13, 4)}
    assert granted(24, every) == {"b"}, "6 and 13 and 4 at most; with both of a there were 25"
    assert granted(25, every) == {"a"}
    assert granted(29, every) == {"a", "b"}


def test_one_that_grows_is_granted_what_it_has_for_long():
    assert granted(11, {"a": (4, 8)}) == set()
    assert granted(12, {"a": (4, 8)}) == {"a"}


@pytest.mark.parametrize("seed", range(20))
def test_no_order_of_replacements_goes_over_a_card(seed):
    drawn = random.Random(seed)
    for _ in range(50):
        every = {name: (drawn.randint(1, 9), drawn.randint(1, 9)) for name in "abcd"[: drawn.randint(1, 4)]}
        least = max(sum(old for old, _ in every.values()), sum(new for _, new in every.values()), most_at_a_time(every, set()))
        total = least + drawn.randint(0, 12)
        assert most_at_a_time(every, granted(total, every)) <= total, (total, every)
