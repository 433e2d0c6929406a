"""YAML as a tree in which every value knows where it stands. Aliases share one node, so a shared value is read once."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime

from reconciler.fleet import Place

LONGEST_SAID = 80
"""So much of a value is repeated in a message."""
KEPT_TAGS = {"!vault": "__ansible_vault", "!vault-encrypted": "__ansible_vault", "!unsafe": "__ansible_unsafe"}


@dataclass(slots=True, eq=False)
class ScalarNode:
    """A single value. `value` is what the version of YAML makes of `text`; `tag` is `!vault` or `!unsafe` where written."""

    file: str
    line: int
    column: int
    value: object
    text: str
    tag: str | None = None

    @property
    def place(self) -> Place:
        return Place(self.file, self.line, self.column)


@dataclass(slots=True, eq=False)
class ListNode:
    file: str
    line: int
    column: int
    items: list[Node] = field(default_factory=list)
    tag: str | None = None

    @property
    def place(self) -> Place:
        return Place(self.file, self.line, self.column)


@dataclass(slots=True, eq=False)
class MapNode:
    """A mapping in file order: each key's value to the node of the key and the node of the value."""

    file: str
    line: int
    column: int
    entries: dict[Hashable, tuple[ScalarNode, Node]] = field(default_factory=dict)
    tag: str | None = None

    @property
    def place(self) -> Place:
        return Place(self.file, self.line, self.column)

    def get(self, key: str) -> Node | None:
        entry = self.entries.get(key)
        return entry[1] if entry is not None else None

    def key(self, key: str) -> ScalarNode | None:
        entry = self.entries.get(key)
        return entry[0] if entry is not None else None


Node = ScalarNode | ListNode | MapNode


def is_null(node: Node | None) -> bool:
    return node is None or (isinstance(node, ScalarNode) and node.value is None and node.tag is None)


def same_value(one: Node, other: Node) -> bool:
    """Whether two nodes say the same, each pair of nodes compared once: aliases of aliases stand for more values than can be walked."""
    pairs, seen = [(one, other)], set()
    while pairs:
        a, b = pairs.pop()
        if a is b or (id(a), id(b)) in seen:
            continue
        seen.add((id(a), id(b)))
        if a.tag != b.tag:
            return False
        if isinstance(a, ScalarNode) and isinstance(b, ScalarNode):
            if (type(a.value), a.value) != (type(b.value), b.value):
                return False
        elif isinstance(a, ListNode) and isinstance(b, ListNode):
            if len(a.items) != len(b.items):
                return False
            pairs += zip(a.items, b.items, strict=True)
        elif isinstance(a, MapNode) and isinstance(b, MapNode):
            if a.entries.keys() != b.entries.keys():
                return False
            pairs += [(a.entries[key][1], b.entries[key][1]) for key in a.entries]
        else:
            return False
    return True


def what_is(node: Node) -> str:
    """What a node is, in words for a message; of what is tagged (`!vault`) its tag, and nothing of what it holds."""
    if node.tag is not None:
        return f"tagged {node.tag}, which gpurec cannot read"
    if isinstance(node, MapNode):
        return "a mapping"
    if isinstance(node, ListNode):
        return "a list"
    said = "nothing" if node.value is None else repr(node.value)
    return said if len(said) <= LONGEST_SAID else said[:LONGEST_SAID] + "…"


def kind_of(node: Node) -> str:
    """What kind of thing a node is, and nothing of what it holds: a file that should not be read here may hold a secret."""
    if not isinstance(node, ScalarNode) or node.value is None:
        return what_is(node)
    return "text" if isinstance(node.value, str) else "a truth value" if isinstance(node.value, bool) else "a number or a date"


def scalars(node: Node) -> Iterator[ScalarNode]:
    """Every scalar value below a node, each shared part once (keys are not values)."""
    seen: set[int] = set()
    stack: list[Node] = [node]
    while stack:
        here = stack.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        if isinstance(here, ScalarNode):
            yield here
        elif isinstance(here, ListNode):
            stack.extend(reversed(here.items))
        else:
            stack.extend(value for _, value in reversed(here.entries.values()))


class PlainValues:
    """Nodes as plain Python values, as Ansible's JSON shows them; shared nodes give shared values."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Node, object]] = {}

    def of(self, node: Node) -> object:
        kept = self._done.get(id(node))
        if kept is not None:
            return kept[1]
        value = self._make(node)
        self._done[id(node)] = (node, value)
        return value

    def _make(self, node: Node) -> object:
        if isinstance(node, ScalarNode):
            if node.tag is not None:
                return {KEPT_TAGS[node.tag]: node.text}
            return node.value.isoformat() if isinstance(node.value, (date, datetime)) else node.value
        if isinstance(node, ListNode):
            return [self.of(item) for item in node.items]
        return {key.isoformat() if isinstance(key, (date, datetime)) else key: self.of(value) for key, (_, value) in node.entries.items()}


def node_of(value: object, at: ScalarNode) -> Node:
    """A plain value, such as a rendered template gives, as a tree that stands where the template stands."""
    if isinstance(value, dict):
        entries: dict[Hashable, tuple[ScalarNode, Node]] = {
            key: (ScalarNode(at.file, at.line, at.column, key, str(key)), node_of(item, at)) for key, item in value.items()
        }
        return MapNode(at.file, at.line, at.column, entries)
    if isinstance(value, (list, tuple)):
        return ListNode(at.file, at.line, at.column, [node_of(item, at) for item in value])
    return ScalarNode(at.file, at.line, at.column, value, str(value))
