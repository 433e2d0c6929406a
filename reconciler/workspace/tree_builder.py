"""Events of a YAML text to a tree, bounded in depth, in aliases and in size, with a position for every value."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

from reconciler.fleet import Place
from reconciler.workspace.problems import Problems
from reconciler.workspace.scalars import YamlVersion, resolve, tagged
from reconciler.workspace.tree import KEPT_TAGS, ListNode, MapNode, Node, ScalarNode, same_value

MOST_DEPTH = 100
MOST_VALUES = 2_000_000
"""Keys, values and collections of one file: half a minute and half a GiB of them."""
MOST_EXPANDED = 1_000_000
MOST_EXPANSION = 100
_COLLECTION_TAGS = frozenset({None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "!!map", "!!seq"})


class _Open:
    """A collection being read. `key` is the pending key of a mapping; `merges` are the values of its `<<` keys."""

    __slots__ = ("key", "merges", "node")

    def __init__(self, node: MapNode | ListNode) -> None:
        self.node = node
        self.key: ScalarNode | None = None
        self.merges: list[tuple[ScalarNode, Node]] = []


class TreeBuilder:
    """Builds the tree of one document, and reports what no tree can hold. Events are those of PyYAML or ruamel.yaml: their classes have the
    same names and fields, and nothing else in common."""

    def __init__(self, file: str, version: YamlVersion, problems: Problems, json_form: bool) -> None:
        self.root: Node | None = None
        self._json = json_form
        self._at: tuple[int, int] | None = None
        self._file = file
        self._version = version
        self._problems = problems
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._sizes: dict[Node, int] = {}
        self._compared: set[tuple[ScalarNode, ScalarNode]] = set()
        """Keys of merged mappings: what an alias brings anywhere is compared once."""
        self._built = 0
        self._documents = 0

        self._readers: dict[str, Callable[[Any, int, int], bool]] = {
            "ScalarEvent": self._scalar,
            "AliasEvent": self._alias,
            "MappingStartEvent": self._start,
            "SequenceStartEvent": self._start,
            "MappingEndEvent": self._end,
            "SequenceEndEvent": self._end,
            "DocumentStartEvent": self._document,
        }

    @property
    def here(self) -> Place:
        """Where the last event begins."""
        return Place(self._file, *self._at) if self._at is not None else Place(self._file)

    def read(self, events: Iterable[Any]) -> bool:
        """Reads all events; False where something was reported that ends the reading. Raises what the reader of the events raises, and
        ValueError for a scalar that cannot be kept."""
        readers = self._readers
        for event in events:
            mark = event.start_mark
            self._at = line, column = mark.line + 1, mark.column + 1
            if self._built >= MOST_VALUES:
                self._problems.error(f"this file has more than {MOST_VALUES} values", self.here, "split it into a folder of files")
                return False
            reader = readers.get(type(event).__name__)
            if reader is not None and not reader(event, line, column):
                return False
        return True

    def _alias(self, event: Any, line: int, column: int) -> bool:
        target = self._anchors.get(event.anchor)
        if target is None or target not in self._sizes:
            reason = "is not defined before this place" if target is None else "contains itself"
            self._problems.error(f"alias *{event.anchor!s} {reason}", self.here, f"write &{event.anchor!s} at the value that is meant")
            return False
        return self._put(target)

    def _document(self, event: Any, line: int, column: int) -> bool:
        self._documents += 1
        if self._documents > 1:
            self._problems.error("a second YAML document begins here", self.here, "keep one document in a file")
            return False
        return True

    def _scalar(self, event: Any, line: int, column: int) -> bool:
        if event.value == "" and event.tag is None and event.implicit[0]:
            line, column = self._left_out(line, column)
        node = self._scalar_node(event, line, column)
        self._sizes[node] = 1
        self._built += 1
        self._name(event.anchor, node)
        return self._put(node)

    def _left_out(self, line: int, column: int) -> tuple[int, int]:
        """Where a value that is left out stands: with its key. Readers take a place between the key and whatever comes next."""
        if not self._open:
            return 1, 1
        key = self._open[-1].key
        return (line, column) if key is None else (key.line, key.column)

    def _scalar_node(self, event: Any, line: int, column: int) -> ScalarNode:
        text, tag = event.value, event.tag
        if tag is None:
            plain = bool(event.implicit[0])
            if self._json:
                return ScalarNode(self._file, line, column, json.loads(text) if plain else _joined_surrogates(text), text)
            return ScalarNode(self._file, line, column, resolve(text, self._version) if plain else text, text)
        tag = str(tag)
        if tag in KEPT_TAGS:
            return ScalarNode(self._file, line, column, text, text, tag)
        try:
            value = tagged(tag, text, self._version)
        except KeyError:
            self._problems.error(f"the tag {tag!r} is not known", self.here, "write the value without a tag")
            value = text
        except ValueError as error:
            self._problems.error(str(error), self.here, "write the value without a tag")
            value = text
        return ScalarNode(self._file, line, column, value, text)

    def _start(self, event: Any, line: int, column: int) -> bool:
        if len(self._open) >= MOST_DEPTH:
            self._problems.error(f"this is nested deeper than {MOST_DEPTH} levels", self.here, "write it flatter")
            return False
        kind = MapNode if type(event).__name__ == "MappingStartEvent" else ListNode
        node = kind(self._file, line, column)
        tag = str(event.tag) if event.tag is not None else None
        if tag in KEPT_TAGS:
            node.tag = tag
        elif tag not in _COLLECTION_TAGS:
            self._problems.error(f"the tag {tag!r} is not known", self.here, "write the value without a tag")
        self._open.append(_Open(node))
        self._name(event.anchor, node)
        return True

    def _name(self, anchor: str | None, node: Node) -> None:
        if anchor is not None:
            self._anchors[str(anchor)] = node

    def _end(self, event: Any, line: int, column: int) -> bool:
        done = self._open.pop()
        node = done.node
        if isinstance(node, MapNode):
            if done.merges:
                self._merge(node, done.merges)
            size = 1 + sum(1 + self._sizes[value] for _, value in node.entries.values())
        else:
            size = 1 + sum(self._sizes[item] for item in node.items)
        self._built += 1
        self._sizes[node] = size
        if size > MOST_EXPANDED and size > MOST_EXPANSION * self._built:
            self._problems.error(
                f"the aliases here stand for {size} values",
                node.place,
                "write fewer aliases of aliases; a file that grows this much is refused",
            )
            return False
        return self._put(node)

    def _merge(self, node: MapNode, merges: list[tuple[ScalarNode, Node]]) -> None:
        """Puts what `<<` brings before a mapping's own keys, which count. Of a list the earlier counts (yaml.org/type/merge.html)."""
        merged: dict[Hashable, tuple[ScalarNode, Node]] = {}
        inventory = self._version is YamlVersion.V1_1
        for key, value in merges if inventory else reversed(merges):
            among: dict[Hashable, tuple[ScalarNode, Node]] = {}
            for source in reversed(value.items) if isinstance(value, ListNode) else [value]:
                if not isinstance(source, MapNode):
                    self._problems.error("'<<' merges mappings only", key.place, "give it an alias of a mapping, or a list of such")
                    continue
                if inventory:
                    rule = "the first of a list counts in YAML, but in Ansible that depends on its PyYAML (6.0.4 takes the last)"
                    self._warn_of_two(node, among, source.entries, rule)
                among.update(source.entries)
            if inventory:
                self._warn_of_two(node, merged, among, "the last '<<' counts, as in Ansible")
            merged.update(among)
        node.entries = merged | node.entries

    def _warn_of_two(
        self,
        node: MapNode,
        former: Mapping[Hashable, tuple[ScalarNode, Node]],
        latter: Mapping[Hashable, tuple[ScalarNode, Node]],
        rule: str,
    ) -> None:
        """Of keys that are merged twice and differ; the latter counts. None counts where the mapping has the key itself."""
        for name in (former.keys() & latter.keys()) - node.entries.keys():
            (one, value), (two, other) = former[name], latter[name]
            if (one, two) in self._compared:
                continue
            self._compared.add((one, two))
            if not same_value(value, other):
                what = f"key {two.text!r} is merged from here and, with another value, from {one.place}; this one counts: {rule}"
                self._problems.warn(what, two.place, "write the key beside '<<' too, or keep one of the two")

    def _put(self, node: Node) -> bool:
        if not self._open:
            self.root = node
            return True
        top = self._open[-1]
        if isinstance(top.node, ListNode):
            top.node.items.append(node)
        elif top.key is None:
            if not isinstance(node, ScalarNode):
                self._problems.error(
                    "a key must be a single value, not a list or a mapping", node.place, "quote the key if it holds braces"
                )
                return False
            top.key = node
        else:
            self._enter(top, top.key, node)
            top.key = None
        return True

    def _enter(self, top: _Open, key: ScalarNode, value: Node) -> None:
        assert isinstance(top.node, MapNode)
        if key.text == "<<" and key.value == "<<":
            top.merges.append((key, value))
            return
        name = key.value if isinstance(key.value, Hashable) else key.text
        earlier = top.node.entries.get(name)
        if earlier is not None:
            first = earlier[0].place
            if self._version is YamlVersion.V1_1:
                self._problems.warn(
                    f"key {key.text!r} is defined twice, first at {first}; this one counts, as in Ansible", key.place, "keep one of the two"
                )
                top.node.entries[name] = (key, value)
                return
            self._problems.error(f"key {key.text!r} is defined twice, first at {first}", key.place, "keep one of the two")
            return
        top.node.entries[name] = (key, value)


def _joined_surrogates(text: str) -> str:
    """A text of JSON in which two escapes stand for one character beyond the basic plane."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if not text.isascii() else text
