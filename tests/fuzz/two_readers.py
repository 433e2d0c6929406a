"""What each of the two readers of YAML makes of a text: they have to agree on all of it."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.workspace.parse import parse, parse_slowly
from reconciler.workspace.problems import Problems
from reconciler.workspace.scalars import YamlVersion
from reconciler.workspace.tree import ListNode, Node, ScalarNode

Reader = Callable[[str, str, YamlVersion, Problems], Node | None]


def shape(node: Node | None, seen: dict[int, int] | None = None) -> object:
    """All that a tree says, and which of its nodes are one."""
    seen = {} if seen is None else seen
    if node is None or id(node) in seen:
        return None if node is None else ("shared", seen[id(node)])
    seen[id(node)] = len(seen)
    at = (node.line, node.column, node.tag)
    if isinstance(node, ScalarNode):
        return (*at, type(node.value), repr(node.value), node.text)
    if isinstance(node, ListNode):
        return (*at, [shape(item, seen) for item in node.items])
    return (*at, [(repr(name), shape(key, seen), shape(value, seen)) for name, (key, value) in node.entries.items()])


def whole(reader: Reader, text: str, version: YamlVersion) -> object:
    problems = Problems()
    tree = reader(text, "f.yaml", version, problems)
    return shape(tree), problems.warnings, sorted(problems._errors, key=repr)


def same(text: str) -> None:
    """Raises AssertionError where a text means one thing to the reader that is asked first, and another to the one behind it."""
    for version in YamlVersion:
        first, behind = whole(parse, text, version), whole(parse_slowly, text, version)
        assert first == behind, (version, first, behind)
