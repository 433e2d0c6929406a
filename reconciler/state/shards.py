"""How several loops over one fleet know of each other: what each looks at, when it was last heard of, and what it saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from reconciler.value_class import value_class

MOST = 1000
"""Parts of a fleet."""


@value_class
class Shard:
    """The `number`-th of so many equal parts of a fleet, from 1 on."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@value_class
class ShardRow:
    """What is known of a loop that looks at one part. `owner` is of its process, which `who` describes. `heard` and `looked` are seconds
    since it was last heard of and since its last look, by the clock of the database, and `interval` what it waits between two looks. `body`
    is what it saw then, as its writer packed it; None where nobody asked for it, or it has not looked yet."""

    shard: Shard
    owner: str
    who: str
    heard: float
    looked: float
    interval: float
    body: bytes | None


class ShardBoard(Protocol):
    """Where the loops of a fleet write that they are alive. It needs no lease."""

    def read(self, *, bodies: bool = True) -> Sequence[ShardRow]:
        """Every loop of the last day, by number. Raises StateError where it cannot be read."""
        ...

    def looked(self, shard: Shard, owner: str, interval: float, body: bytes) -> None:
        """Keeps what a loop saw just now, in the place of what it saw before. Sets the state up where there is none. Raises StateError."""
        ...

    def alive(self, shard: Shard, owner: str) -> None:
        """Says that a loop is there, though it has not looked again. Raises StateError."""
        ...
