"""Text to tree: ruamel.yaml's events, bounded in depth, in aliases and in size, with a position for every value."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

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


def parse(text: str, file: str, version: YamlVersion, problems: Problems) -> Node | None:
    """The one document of a file, or None where it is empty or was reported as unreadable."""
    yaml = YAML(typ="safe", pure=True)
    yaml.version = version.value
    builder = _Builder(file, version, problems, _is_json(text) if version is YamlVersion.V1_1 else False)
    try:
        for event in yaml.parse(text):
            if not builder.take(event):
                return None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark is not None else Place(file)
        tab = "'\\t'" in str(error.problem)
        hint = "indent with spaces" if tab else "quote the value if it holds a YAML sign such as ':', '{', '@' or '#'"
        problems.error("a tab cannot stand here" if tab else f"this is not YAML: {error.problem or error.context}", place, hint)
        return None
    except YAMLError as error:
        problems.error(
            f"this is not YAML: {' '.join(str(error).split())}", _first_bad_character(text, file), "save the file as plain UTF-8 text"
        )
        return None
    except (ValueError, RecursionError) as error:
        problems.error(f"this is not YAML: {error}", builder.here, "correct the value here")
        return None
    except Exception as error:  # noqa: BLE001 (a file can make the parser throw anything, and each is a fault of the file)
        place, hint = _directive(text, file) or (builder.here, "correct the file here")
        said = " ".join(str(error).split())[:200] or type(error).__name__
        problems.error(f"this is not YAML that can be read: {said}", place, hint)
        return None
    return builder.root


class _Open:
    """A collection being read. `key` is the pending key of a mapping; `merges` are the values of its `<<` keys."""

    __slots__ = ("key", "merges", "node")

    def __init__(self, node: MapNode | ListNode) -> None:
        self.node = node
        self.key: ScalarNode | None = None
        self.merges: list[tuple[ScalarNode, Node]] = []


class _Builder:
    def __init__(self, file: str, version: YamlVersion, problems: Problems, json_form: bool) -> None:
        self.root: Node | None = None
        self._json = json_form
        self.here = Place(file)
        self._file = file
        self._version = version
        self._problems = problems
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._sizes: dict[int, int] = {}
        self._compared: set[tuple[int, int]] = set()
        """Keys of merged mappings: what an alias brings anywhere is compared once."""
        self._built = 0
        self._documents = 0

    def take(self, event: Event) -> bool:
        """Reads one event; False when the rest of the file cannot be read."""
        mark = event.start_mark
        line, column = mark.line + 1, mark.column + 1
        self.here = Place(self._file, line, column)
        if self._built >= MOST_VALUES:
            self._problems.error(f"this file has more than {MOST_VALUES} values", self.here, "split it into a folder of files")
            return False
        if isinstance(event, ScalarEvent):
            node = self._scalar(event, line, column)
            self._sizes[id(node)] = 1
            self._built += 1
            return self._name(event.anchor, node) and self._put(node)
        if isinstance(event, (MappingStartEvent, SequenceStartEvent)):
            return self._start(event, line, column)
        if isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            return self._end()
        if isinstance(event, AliasEvent):
            target = self._anchors.get(event.anchor)
            if target is None or id(target) not in self._sizes:
                reason = "is not defined before this place" if target is None else "contains itself"
                self._problems.error(f"alias *{event.anchor!s} {reason}", self.here, f"write &{event.anchor!s} at the value that is meant")
                return False
            return self._put(target)
        if isinstance(event, DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._problems.error("a second YAML document begins here", self.here, "keep one document in a file")
                return False
        return True

    def _scalar(self, event: ScalarEvent, line: int, column: int) -> ScalarNode:
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

    def _start(self, event: MappingStartEvent | SequenceStartEvent, line: int, column: int) -> bool:
        if len(self._open) >= MOST_DEPTH:
            self._problems.error(f"this is nested deeper than {MOST_DEPTH} levels", self.here, "write it flatter")
            return False
        kind = MapNode if isinstance(event, MappingStartEvent) else ListNode
        node = kind(self._file, line, column)
        tag = str(event.tag) if event.tag is not None else None
        if tag in KEPT_TAGS:
            node.tag = tag
        elif tag not in _COLLECTION_TAGS:
            self._problems.error(f"the tag {tag!r} is not known", self.here, "write the value without a tag")
        self._open.append(_Open(node))
        return self._name(event.anchor, node)

    def _name(self, anchor: str | None, node: Node) -> bool:
        if anchor is not None:
            self._anchors[str(anchor)] = node
        return True

    def _end(self) -> bool:
        done = self._open.pop()
        node = done.node
        if isinstance(node, MapNode):
            if done.merges:
                self._merge(node, done.merges)
            size = 1 + sum(1 + self._sizes[id(value)] for _, value in node.entries.values())
        else:
            size = 1 + sum(self._sizes[id(item)] for item in node.items)
        self._built += 1
        self._sizes[id(node)] = size
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
            if (id(one), id(two)) in self._compared:
                continue
            self._compared.add((id(one), id(two)))
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


def _directive(text: str, file: str) -> tuple[Place, str] | None:
    """Where a file says which YAML it is, which is all that the parser cannot place."""
    for number, line in enumerate(text[:4096].split("\n"), 1):
        if line.startswith("%YAML"):
            return Place(file, number, 1), "remove this line: gpurec knows which YAML each of its files is"
    return None


def _is_json(text: str) -> bool:
    """Whether a text is JSON, as which Ansible reads a file where it can: `1e3` is then a number."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _joined_surrogates(text: str) -> str:
    """A text of JSON in which two escapes stand for one character beyond the basic plane."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if not text.isascii() else text


def _first_bad_character(text: str, file: str) -> Place:
    for number, line in enumerate(text.split("\n"), 1):
        for column, character in enumerate(line, 1):
            if not (character.isprintable() or character in "\t\r\x85\u2028\u2029\ufeff"):
                return Place(file, number, column)
    return Place(file)
