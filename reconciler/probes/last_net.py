"""The last net around each node and each engine: an answer that a reader of ours trips over is unknown, and ends nothing but itself."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from reconciler.engines.answers import clean_text

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_LONGEST = 160


async def caught(asking: Awaitable[T], instead: Callable[[str], T]) -> T:
    """What `asking` gives; where it throws what nobody foresaw, what `instead` makes of the reason, a sentence. The fault is ours, so its
    trace is kept for who looks at our log."""
    try:
        return await asking
    except Exception as error:  # noqa: BLE001 (the one place where any error of a reader becomes a reason)
        _LOG.debug("an answer cannot be read", exc_info=True)
        said = clean_text(str(error))[:_LONGEST]
        return instead(f"gpurec cannot read its answer ({type(error).__name__}{f': {said}' if said else ''})")
