"""Variables in the texts of a compose file (compose-spec/compose-spec 12-interpolation.md): a file alone tells only their defaults."""

from __future__ import annotations

import re

_ESCAPED = "\0"
_DEEPEST = 10
_VARIABLE = re.compile(
    r"\$(?:(?P<bare>[A-Za-z_][A-Za-z0-9_]*)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<sign>:?[-?+])(?P<rest>[^${}]*))?\})"
)


def with_defaults(text: str) -> str | None:
    """The text as it is where no variable is set: `${NAME:-default}` is its default, `$$` a dollar. None where a variable has none."""
    text = text.replace("$$", _ESCAPED)
    for _ in range(_DEEPEST):
        if "$" not in text:
            return text.replace(_ESCAPED, "$")
        found = list(_VARIABLE.finditer(text))
        if not found or any(_default(one) is None for one in found):
            return None
        text = _VARIABLE.sub(lambda one: _default(one) or "", text)
    return None


def _default(found: re.Match[str]) -> str | None:
    match (found["sign"] or "")[-1:]:
        case "-":
            return found["rest"]
        case "+":
            return ""
        case _:
            return None
