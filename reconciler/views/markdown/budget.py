"""A document that keeps within so many bytes: parts that shrink, and what is said where one did. Nothing is ever cut inside of a part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Protocol

from reconciler.value_class import value_class


def size(text: str) -> int:
    """Bytes as UTF-8, as every forge counts them at the most."""
    return len(text.encode())


class Part(Protocol):
    """Something that can be told in more or less room."""

    @property
    def least(self) -> int:
        """Bytes of its shortest form."""
        ...

    def text(self, room: int) -> str:
        """Its best form of at most `room` bytes, which are `least` at least."""
        ...


@value_class
class Whole:
    """A text that is told as a whole."""

    said: str

    @property
    def least(self) -> int:
        return size(self.said)

    def text(self, room: int) -> str:
        return self.said


def share(parts: Sequence[Part], room: int, first: Sequence[int] | None = None) -> tuple[list[str], int]:
    """The parts, each as rich as the room allows, and how many at the end of the list had to be left out.

    Every part has its shortest form before any has more; then those of `first` (positions; None: in order) take what is left, at first none
    of them more than a third of it.
    """
    taken, kept = 0, 0
    for part in parts:
        if taken + part.least > room:
            break
        taken += part.least
        kept += 1
    texts: list[str | None] = [None] * kept
    spare = room - taken
    order = [at for at in (first if first is not None else range(kept)) if at < kept]
    for most in (spare // 3, None):
        for at in order:
            before = parts[at].least if texts[at] is None else size(texts[at] or "")
            more = spare if most is None else min(spare, most)
            if texts[at] is None or more > 0:
                texts[at] = parts[at].text(before + more)
                spare -= size(texts[at] or "") - before
    return [text or "" for text in texts], len(parts) - kept


@value_class
class Listing:
    """Rows between `head` and `foot`. What does not fit is counted by `more`, which gets the number of rows that are left out; its line
    stands after `foot`. All rows are left out where none fits."""

    head: str
    rows: Sequence[Part]
    more: Callable[[int], str]
    foot: str = ""
    _least: list[int] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def least(self) -> int:
        if not self._least:
            self._least.append(min(size(self.more(len(self.rows))), self._whole()) if self.rows else 0)
        return self._least[0]

    def _frame(self) -> int:
        return size(self.head) + size(self.foot)

    def _whole(self) -> int:
        return self._frame() + sum(row.least for row in self.rows)

    def text(self, room: int) -> str:
        if not self.rows:
            return ""
        inside = room - self._frame()
        if sum(row.least for row in self.rows) <= inside:
            texts, _ = share(self.rows, inside)
            return self.head + "".join(texts) + self.foot
        inside -= size(self.more(len(self.rows)))
        texts, left = share(self.rows, inside) if inside > 0 else ([], len(self.rows))
        return self.head + "".join(texts) + self.foot + self.more(left) if texts else self.more(len(self.rows))


@value_class
class Folded:
    """`body` between `before` and `after`, where at least its shortest form fits; `instead` where it does not."""

    before: str
    body: Part
    after: str
    instead: str

    @property
    def least(self) -> int:
        return size(self.instead)

    def text(self, room: int) -> str:
        frame = size(self.before) + size(self.after)
        if frame + self.body.least > room:
            return self.instead
        return self.before + self.body.text(room - frame) + self.after


@value_class
class Stack:
    """Parts one after the other, all of them or, where their shortest forms do not fit, those at the beginning."""

    parts: Sequence[Part]

    @property
    def least(self) -> int:
        return self.parts[0].least if self.parts else 0

    def text(self, room: int) -> str:
        return "".join(share(self.parts, room)[0])
