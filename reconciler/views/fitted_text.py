"""The largest way to run a model that an engine has room for, in words and as JSON."""

from __future__ import annotations

from reconciler.fleet import format_bytes
from reconciler.placement import Fitted
from reconciler.views.terms_text import largest_words


def fitted_json(found: Fitted | None) -> dict[str, object] | None:
    """The keys of `check FILE`, and what fits by the sum of the terms alone; null where it is not computed or not even the smallest fits.

    The upper end always fits: it is what a plan reserves.
    """
    if found is None or found.found is None:
        return None
    settings = found.found.settings
    return {
        "vram_bytes": found.room,
        "context": settings.context,
        "parallel": settings.parallel,
        "bounded_by": "model" if found.found.bounded else "vram",
        "high_fits": True,
        f"expected_{'parallel' if found.search.requests else 'context'}": found.expected,
        "cards": found.cards,
    }


def fitted_words(found: Fitted) -> str:
    """What fits into how much, for a line of its own."""
    room = format_bytes(found.room) + ("" if found.cards == 1 else f" of each of {found.cards} cards")
    what = "one request" if found.search.requests else "256 tokens"
    if found.found is None:
        more = "" if found.expected is None else f", by its upper end; by the sum of its terms {_many(found)} would"
        return f"Not even {what} fit{'s' if found.search.requests else ''} into {room}{more}."
    settings = found.found.settings
    reached = settings.parallel if found.search.requests else settings.context
    more = (
        ""
        if found.expected in (None, reached)
        else f" That is by the upper end, which a plan reserves; by the sum of its terms {_many(found)}."
    )
    return f"Fits into {room}: {largest_words(settings, found.found.bounded)}.{more}"


def _many(found: Fitted) -> str:
    return f"{found.expected} {'requests at a time' if found.search.requests else 'tokens'}"


def fitted_cell(found: Fitted | None) -> str:
    """The same as a word beside an engine, before what else is said of it."""
    if found is None:
        return "not computed"
    if found.found is None:
        return "not even one request:" if found.search.requests else "not even 256 tokens:"
    settings = found.found.settings
    return f"{settings.parallel} at a time" if found.search.requests else f"{settings.context} tokens"
