"""The largest context, or the most requests at a time, that a number of bytes holds: bisection over the predicted total."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from reconciler.value_class import value_class
from reconciler.vram.geometry import Geometry
from reconciler.vram.predict import Prediction, predict
from reconciler.vram.settings import CELLS, RunSettings
from reconciler.vram.tensors import UnknownLayout

MOST_PARALLEL = 1024


@value_class
class Largest:
    """What fits: the settings, their prediction, and whether it is the model's (or our own) bound that ends it, not the bytes."""

    settings: RunSettings
    prediction: Prediction
    bounded: bool


Attempt = Callable[[int], tuple[RunSettings, Prediction]]
"""A step of the search: how it would be run, and what that takes."""


def largest_context(geometry: Geometry, settings: RunSettings, room: int) -> Largest | None:
    """The largest context of a request, up to the one the model was trained for, with which the first card needs at most `room` bytes.

    None: not even 256 tokens fit. A cache has whole multiples of 256 cells, so contexts are tried in those steps.
    """

    def attempt(step: int) -> tuple[RunSettings, Prediction]:
        run = replace(settings, context=context_at(step, geometry.context))
        return run, predict(geometry, run)

    return largest(steps_of(geometry.context), attempt, room)


def largest_parallel(geometry: Geometry, settings: RunSettings, room: int) -> Largest | None:
    """The most requests of `settings.context` tokens at a time, each with a stream of its own; None: not even one fits."""

    def attempt(count: int) -> tuple[RunSettings, Prediction]:
        run = replace(settings, parallel=count)
        return run, predict(geometry, run)

    return largest(MOST_PARALLEL, attempt, room)


def steps_of(context: int) -> int:
    """In how many steps a context is searched for."""
    return -(-context // CELLS)


def context_at(step: int, trained: int) -> int:
    """The context of one of them."""
    return min(step * CELLS, trained)


def largest(most: int, attempt: Attempt, room: int, upper: bool = False) -> Largest | None:
    """The last step up to `most` of which no card takes more than `room` bytes, by the sum of the terms or by its `upper` end; None: not
    even the first. UnknownLayout: a term cannot be told.

    Cache and state grow with every step, so the total does; what the bisection ends at is predicted once more by itself.
    """

    def fits(step: int) -> Largest | None:
        run, found = attempt(step)
        counts = [card.high if upper else card.total for card in found.cards]
        known = [count for count in counts if count is not None]
        if len(known) < len(counts):
            raise UnknownLayout.of(f"what fits cannot be computed: {'; '.join(found.unknown)}", hint="say vram: for the model")
        return Largest(run, found, step == most) if max(known) <= room else None

    if (found := fits(most)) is not None:
        return found
    best, low, high = None, 0, most
    while high - low > 1:
        middle = (low + high) // 2
        found = fits(middle)
        if found is None:
            high = middle
        else:
            low, best = middle, found
    return best
