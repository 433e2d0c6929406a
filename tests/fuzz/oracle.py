"""What may come of foreign bytes: a value that can be kept, or an error of gpurec's own, soon. Anything else is a fault."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

MOST_SECONDS = 3.0
"""CPU time for one input of at most LONGEST bytes; a thousand times what most take."""
LONGEST = 16_384


class Fault(AssertionError):
    """What must not come of any input."""


@dataclass(frozen=True)
class Surface:
    """One place where foreign text or bytes come in. `take` reads them as gpurec does; `seeds` are inputs to begin with."""

    name: str
    take: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]


def is_ours(error: BaseException) -> bool:
    """Whether a class of error is one of gpurec's: those say what is wrong and what to do."""
    return type(error).__module__.split(".")[0] == "reconciler"


def hold(surface: Surface, data: bytes) -> None:
    """Gives one input to a surface. Raises Fault, or what the surface raised and must not, with its own trace."""
    start = time.process_time()
    try:
        found = surface.take(data)
    except Exception as error:
        if not is_ours(error):
            raise
        found = None
    taken = time.process_time() - start
    if taken > MOST_SECONDS:
        raise Fault(f"{surface.name}: {len(data)} bytes took {taken:.1f} s of CPU")
    keep(found)


def keep(found: object) -> None:
    """Everything in a value can be written: numbers fit into 64 bits and are finite, texts have whole characters."""
    waiting, seen = [found], set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, bool) or one is None:
            continue
        if isinstance(one, int):
            if not -(2**63) <= one < 2**63:
                raise Fault(f"the number {one:.3e} was believed")
        elif isinstance(one, float):
            if not math.isfinite(one):
                raise Fault(f"the number {one} was believed")
        elif isinstance(one, str):
            try:
                one.encode()
            except UnicodeEncodeError:
                raise Fault(f"half a character was believed: {one[:50]!r}") from None
        elif id(one) in seen:
            continue
        else:
            seen.add(id(one))
            if isinstance(one, Mapping):
                waiting += [*one.keys(), *one.values()]
            elif isinstance(one, (list, tuple, set, frozenset)):
                waiting += one
            elif dataclasses.is_dataclass(one) and not isinstance(one, type):
                waiting += [getattr(one, field.name) for field in dataclasses.fields(one)]
