"""Questions that are asked once a kind: of things that are alike in all that a question may read, only the first is judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")
Answer = TypeVar("Answer")


class Answers(dict[Seen, Answer]):
    """The answers to one question, by what was seen. The question gets just that value, which says all that it may read: an answer that is
    known is the one that it would give again. For one run: nothing here is ever forgotten."""

    __slots__ = ("_ask",)

    def __init__(self, ask: Callable[[Seen], Answer]) -> None:
        super().__init__()
        self._ask = ask

    def __missing__(self, seen: Seen) -> Answer:
        answer = self[seen] = self._ask(seen)
        return answer
