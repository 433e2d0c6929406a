"""One colour for one meaning: what is brought, taken away, changed, kept."""

from __future__ import annotations

from reconciler.planning.plan import Action
from reconciler.views.step_words import SYMBOLS

_LOOKS = {"green": "add", "red": "take", "yellow": "change", "cyan": "keep"}


def look_of(action: Action) -> str:
    """The class of an action: `add`, `take`, `change` or `keep`."""
    return _LOOKS[SYMBOLS[action][1]]
