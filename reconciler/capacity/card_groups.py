"""Cards that belong together since an engine has them in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def card_groups(count: int, engines: Iterable[Sequence[int]]) -> list[int]:
    """For each of `count` cards the number of its group: no engine, given by its cards, crosses two. Groups are numbered by their first
    card."""
    first = list(range(count))

    def root(card: int) -> int:
        while first[card] != card:
            first[card] = first[first[card]]
            card = first[card]
        return card

    for cards in engines:
        for card in cards[1:]:
            first[root(card)] = root(cards[0])
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(card), len(numbers)) for card in range(count)]
