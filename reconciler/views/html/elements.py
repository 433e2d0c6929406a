"""HTML as values: what is not marked as HTML is text, and is escaped where it is put in."""

from __future__ import annotations

import html
from collections.abc import Iterable
from urllib.parse import quote

from reconciler.views.escape import escape
from reconciler.views.style import LONGEST_CELL

_VOID = frozenset({"meta", "input"})


class Html(str):
    """Markup of our own making."""

    __slots__ = ()


Content = str | Html | None | Iterable["Content"]


def tag(name: str, /, *content: Content, **attributes: str | float | bool | None) -> Html:
    """An element. Attributes: a trailing underscore is dropped and inner ones become hyphens; True stands alone, None and False are left
    out. What is marked as HTML is put in as it is."""
    shown = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{shown}>")
    return Html(f"<{name}{shown}>{_inside(content)}</{name}>")


def code(text: str) -> Html:
    """A name from the fleet."""
    return tag("code", text)


def left_out(count: int, what: str) -> Content:
    """That a page does not have so many more, and where they are."""
    return tag("p", f"… and {count:,} more {what}: the plan's JSON has all of them (--format json).", class_="quiet") if count else None


def address(*parts: str) -> Html:
    """The path of a page, each part percent-encoded: whatever is in a name, it leads nowhere else."""
    return Html("/" + "/".join(quote(part, safe="") for part in parts))


def joined(parts: Iterable[Content]) -> Html:
    return Html(_inside(parts))


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    if isinstance(value, Html):
        return f' {name}="{value}"'
    text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return f' {name}="{html.escape(escape(text, LONGEST_CELL))}"'


def _inside(content: Content) -> str:
    if content is None:
        return ""
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return html.escape(escape(content, LONGEST_CELL))
    return "".join(_inside(one) for one in content)
