"""Walking a foreign file: what a key holds, and a line for whatever does not have the form it should have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from reconciler.conversion.found import Found
from reconciler.workspace.tree import ListNode, MapNode, Node, ScalarNode, is_null


def entries(node: Node | None, key: str, found: Found) -> Iterator[tuple[str, ScalarNode, Node]]:
    """Each key of a mapping, with its node and its value; what is no mapping is told."""
    if isinstance(node, MapNode):
        yield from ((name.text, name, value) for name, value in node.entries.values())
    elif node is not None and not is_null(node):
        found.leave(key, node, "a mapping is expected here")


def items(node: Node | None, key: str, found: Found) -> Iterator[tuple[str, Node]]:
    """Each item of a list, with its key as `KEY[0]`; what is no list is told."""
    if isinstance(node, ListNode):
        yield from ((f"{key}[{number}]", item) for number, item in enumerate(node.items))
    elif node is not None and not is_null(node):
        found.leave(key, node, "a list is expected here")


def text_of(node: Node | None, key: str, found: Found) -> str | None:
    """The text of a single value; None where there is none, or where it is told."""
    if node is None or is_null(node):
        return None
    if isinstance(node, ScalarNode) and node.tag is None:
        return node.text
    found.leave(key, node, "a single value is expected here")
    return None


def whole(text: str | None, most: int = 2**31 - 1) -> int | None:
    """A count of at most `most`, or None where the text is none."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 11 and int(text) <= most else None


def leave_others(node: Node | None, key: str, known: Iterable[str], reasons: Mapping[str, str], found: Found) -> None:
    """Tells every key of a mapping that nobody reads: with its reason, else that gpurec has nothing for it."""
    if not isinstance(node, MapNode):
        return
    taken = frozenset(known)
    for name, at, _ in entries(node, key, found):
        if name not in taken:
            found.leave(f"{key}.{name}" if key else name, at, reasons.get(name, "gpurec has nothing for it"))
