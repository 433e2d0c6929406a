"""A bound on the work of a `~regex` before it is run: Python's `re` tries every way to split a name among the repeats of an expression.

A repeat within a repeat can take exponential time and is refused. Else a name of n characters is split in at most C(n + k, k) ways among k
repeats, and in at most the product of the ways that each can go; the sum over all names is bounded.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from math import comb, prod

from reconciler.value_class import value_class

LONGEST = 1000
MOST_STEPS = 1_000_000_000
"""Some ten seconds at the very worst; what people write takes a thousandth of what is counted here."""
# The parser of `re` has no public name (`sre_parse` is deprecated); its tree is that of every Python from 3.11 on.
_PARSER = importlib.import_module("re._parser")
_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})


@value_class
class Backtracks:
    """What backtracking has to choose from: `spans`, how many lengths each repeat can have; `branches`, how many sides each choice has."""

    spans: tuple[int, ...] = ()
    branches: int = 1
    items: int = 0

    def steps(self, length: int) -> int:
        """The most steps for a name of `length` characters."""
        spans = [min(span, length + 1) for span in self.spans]
        return (self.items + 1) * self.branches * min(prod(spans), comb(length + len(spans), len(spans)))


class NestedRepeat(ValueError):
    """A repeat within a repeat."""


def why_too_much(expression: str, names: Iterable[str]) -> str | None:
    """Why an expression that compiles may take too long over `names`; None where it cannot."""
    if len(expression) > LONGEST:
        return f"has more than {LONGEST} characters"
    try:
        ways = _ways(_PARSER.parse(expression), repeated=False)
    except NestedRepeat:
        return "repeats what holds a repeat or a choice, which can take for ever"
    steps = 0
    for name in names:
        steps += ways.steps(len(name))
        if steps > MOST_STEPS:
            return "has so many repeats that matching every name could take too long"
    return None


def _ways(tree: Iterable[tuple[object, object]], *, repeated: bool) -> Backtracks:
    spans: list[int] = []
    branches = 1
    items = 0
    for operation, argument in tree:
        items += 1
        sides = list(_sides(argument))
        if str(operation) in _REPEATS:
            least, most = argument[:2]  # type: ignore[index]  # what these operations hold
            variable = least != most
            if variable and repeated:
                raise NestedRepeat
            if variable:
                spans.append(int(most) - int(least) + 1)
        elif len(sides) > 1:
            if repeated:
                raise NestedRepeat
            branches *= len(sides)
        below = repeated or (str(operation) in _REPEATS and int(argument[1]) > 1)  # type: ignore[index]  # as above
        for side in sides:
            inner = _ways(side, repeated=below)
            spans += inner.spans
            branches *= inner.branches
            items += inner.items
    return Backtracks(tuple(spans), branches, items)


def _sides(argument: object) -> Iterator[Iterable[tuple[object, object]]]:
    """The expressions inside an operation: those of a group, of a repeat, of each side of a choice."""
    if isinstance(argument, _PARSER.SubPattern):
        yield argument
    elif isinstance(argument, (list, tuple)):
        for one in argument:
            if isinstance(one, (list, tuple, _PARSER.SubPattern)):
                yield from _sides(one)
