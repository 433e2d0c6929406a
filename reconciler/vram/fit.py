"""The largest context, or the most requests at a time, that a number of bytes holds: bisection over the predicted total."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from reconciler.vram.geometry import Geometry
from reconciler.vram.predict import Prediction, predict
from reconciler.vram.settings import CELLS, RunSettings
from reconciler.vram.tensors import UnknownLayout

MOST_PARALLEL = 1024


@dataclass(frozen=True, slots=True)
class Largest:
    """What fits: the settings, their prediction, and whether it is the model's (or our own) bound that ends it, not the bytes."""

    settings: RunSettings
    prediction: Prediction
    bounded: bool


def largest_context(geometry: Geometry, settings: RunSettings, room: int) -> Largest | None:
    """The largest context of a request, up to the one the model was trained for, with which the first card needs at most `room` bytes.

    None: not even 256 tokens fit. A cache has whole multiples of 256 cells, so contexts are tried in those steps.
    """
    steps = -(-geometry.context // CELLS)
    return _largest(geometry, room, steps, lambda step: replace(settings, context=min(step * CELLS, geometry.context)))


def largest_parallel(geometry: Geometry, settings: RunSettings, room: int) -> Largest | None:
    """The most requests of `settings.context` tokens at a time, each with a stream of its own; None: not even one fits."""
    return _largest(geometry, room, MOST_PARALLEL, lambda count: replace(settings, parallel=count))


def _largest(geometry: Geometry, room: int, most: int, run: Callable[[int], RunSettings]) -> Largest | None:
    """Cache and state grow with every step, so the total does; what the bisection ends at is predicted once more by itself."""

    def fits(step: int) -> Prediction | None:
        found = predict(geometry, run(step))
        total = found.cards[0].total
        if total is None:
            raise UnknownLayout.of(f"what fits cannot be computed: {'; '.join(found.unknown)}", hint="say vram: for the model")
        return found if total <= room else None

    if (found := fits(most)) is not None:
        return Largest(run(most), found, True)
    best, low, high = None, 0, most
    while high - low > 1:
        middle = (low + high) // 2
        found = fits(middle)
        if found is None:
            high = middle
        else:
            low, best = middle, found
    return None if best is None else Largest(run(low), best, False)
