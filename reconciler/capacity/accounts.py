"""The cards of a fleet as accounts: how much each holds, and how much it may. For who has only the numbers of a plan, and not its facts."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from reconciler.value_class import value_class

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Account:
    limit: int
    held: int


@value_class
class Shortage(Generic[K]):
    """A card that has too little left. `room` None: it holds something of unknown size."""

    card: K
    room: int | None
    asked: int


class CardAccounts(Generic[K]):
    """Bytes by card, without foreign use. No card may be raised above max(usable, what it held before). A card of unknown size has no
    account, and nothing is held against it."""

    def __init__(self) -> None:
        self._accounts: dict[K, _Account] = {}

    def open(self, card: K, usable: int | None, foreign: int, before: int) -> None:
        """A card that holds `before` bytes of replicas and residents."""
        if usable is not None:
            self._accounts[card] = _Account(max(usable - foreign, before), before)

    def shortage(self, grows: Mapping[K, int], unplanned: int | None = 0) -> Shortage[K] | None:
        """The first card that cannot take what it is to grow by. `unplanned`: bytes there that no account knows; None: nobody can say."""
        for card, count in grows.items():
            account = self._accounts.get(card)
            if account is None:
                continue
            room = None if unplanned is None else account.limit - account.held - unplanned
            if room is None or count > room:
                return Shortage(card, room, count)
        return None

    def take(self, grows: Mapping[K, int]) -> None:
        for card, count in grows.items():
            if card in self._accounts:
                self._accounts[card].held += count

    def give(self, freed: Mapping[K, int]) -> None:
        for card, count in freed.items():
            if card in self._accounts:
                self._accounts[card].held -= count

    def shrink(self, cards: Iterable[K], before: int, after: int) -> None:
        """What takes `after` bytes of each of these cards by now, of `before`; one that grew was taken in when it began."""
        self.give(dict.fromkeys(cards, max(0, before - after)))

    def held(self, card: K) -> int | None:
        account = self._accounts.get(card)
        return account.held if account is not None else None
