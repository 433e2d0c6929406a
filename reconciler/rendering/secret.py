"""Secrets in templates: opaque, printed whole and nothing else. A text holds references; the values are put in where it is written."""

from __future__ import annotations

import re
from collections.abc import Mapping

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
"""Noncharacters of Unicode: no honest text has them, and one that does is refused, so no text can be made that stands for a secret."""
_MARK = re.compile("\ufdd0([^\ufdd0\ufdd1]{1,4096})\ufdd1")
_WHOLE = "a secret may only be printed whole and as it is, as in {{ vars.key }}: without filters, and not within a larger value"


class NotWhole(TypeError):
    """A template does something else with a secret than to print it."""


class Secret:
    """A secret as a template sees it: it can be printed, and asked whether it is there."""

    __slots__ = ("_mark",)

    def __init__(self, reference: str) -> None:
        self._mark = f"{_OPEN}{reference}{_CLOSE}"

    def __str__(self) -> str:
        raise NotWhole(_WHOLE)

    __repr__ = __str__

    def __format__(self, _: str) -> str:
        raise NotWhole(_WHOLE)

    def __html__(self) -> str:
        raise NotWhole(_WHOLE)


def mark_of(secret: Secret) -> str:
    """What stands for a secret in a rendered text."""
    return secret._mark


def refuse_marks(text: str) -> None:
    """Raises NotWhole for a text that could be taken for one that holds secrets."""
    if _OPEN in text or _CLOSE in text:
        raise NotWhole(_WHOLE)


def references(text: str) -> tuple[str, ...]:
    """The references of a rendered text (`env:NAME`, `file:PATH`), sorted, each once."""
    return tuple(sorted(set(_MARK.findall(text)))) if _OPEN in text else ()


def with_values(text: str, values: Mapping[str, str]) -> str:
    """The text as it is written. Raises KeyError for a reference without a value."""
    return _MARK.sub(lambda found: values[found[1]], text) if _OPEN in text else text


def shown(text: str, how: str = "(secret {})") -> str:
    """The text for people, with a word in the place of each secret."""
    return _MARK.sub(lambda found: how.format(found[1]), text) if _OPEN in text else text
