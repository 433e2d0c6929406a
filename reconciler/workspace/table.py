"""Tables of the keys that a mapping may have: read with all problems at once, turned into JSON Schema from the same source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar, cast

from reconciler.value_class import value_class
from reconciler.workspace.forms import Form, mebibytes
from reconciler.workspace.problems import Problems, Refused, did_you_mean
from reconciler.workspace.tree import MapNode, Node, is_null, what_is

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

_NULL = {"type": "null"}


@value_class
class Field(Generic[T_co]):
    """A key and the form of its value. `mib_keys` are further spellings, read by `mib_form`, whose bare number is MiB.

    `says` is a sentence for whoever writes it in an editor. `meant` are other programs' words for it, apart by blanks: they are not read,
    and the message leads from them to it. Beside the keys `not_with` it would be refused.
    """

    key: str
    form: Form[T_co]
    required: bool = False
    mib_keys: tuple[str, ...] = ()
    mib_form: Form[int] = mebibytes
    says: str = ""
    meant: str = ""
    not_with: tuple[str, ...] = ()


class Values:
    """What was read of one mapping: values by field, with their nodes for later messages. Keys with wrong values are not there."""

    __slots__ = ("_values", "node", "nodes", "refused")

    def __init__(self, node: MapNode) -> None:
        self.node = node
        self._values: dict[str, object] = {}
        self.nodes: dict[str, Node] = {}
        self.refused: set[str] = set()
        """The keys with wrong values, which were told."""

    def get(self, field: Field[T]) -> T | None:
        return cast("T | None", self._values.get(field.key))

    def put(self, field: Field[object], value: object, node: Node) -> None:
        self._values[field.key] = value
        self.nodes[field.key] = node

    def copy(self) -> Values:
        twin = Values(self.node)
        twin._values, twin.nodes, twin.refused = dict(self._values), dict(self.nodes), set(self.refused)
        return twin

    def __contains__(self, field: object) -> bool:
        return isinstance(field, Field) and field.key in self.nodes

    def lacks(self, field: Field[T]) -> bool:
        """Whether nothing is written for it, right or wrong."""
        return field.key not in self.nodes and field.key not in self.refused


class Table:
    """The keys of one kind of mapping. `refused` has keys that one may expect there and that it lacks, each with what to do instead."""

    def __init__(self, what: str, fields: Iterable[Field[object]], refused: Mapping[str, str] | None = None) -> None:
        self.what = what
        self.fields = tuple(fields)
        self.refused = refused or {}
        self._known: dict[str, tuple[Field[object], Form[object]]] = {}
        for field in self.fields:
            self._known[field.key] = (field, field.form)
            for key in field.mib_keys:
                self._known[key] = (field, field.mib_form)

    def suggestion(self, key: str, node: MapNode) -> str:
        """What to do about an unknown key of a mapping: the nearest one that would work there."""
        present = {known[0].key for word in node.entries if isinstance(word, str) and (known := self._known.get(word)) is not None}
        plain = key.lower().replace("-", "_")
        meant = next((field for field in self.fields if plain in field.meant.split()), None)
        if meant is not None and meant.key in present:
            return f"this is `{meant.key}`, which is written here already: remove one of the two"
        if meant is not None and present.intersection(meant.not_with):
            return f"this is `{meant.key}`, which does not go with `{'` and `'.join(sorted(present.intersection(meant.not_with)))}`"
        free = [field for field in self.fields if field.key not in present and not present.intersection(field.not_with)]
        if meant in free:
            return f"did you mean {meant.key!r}?"
        return did_you_mean(key, [word for field in free for word in (field.key, *field.mib_keys)])

    @property
    def words(self) -> tuple[str, ...]:
        """Every spelling of every key."""
        return tuple(self._known)

    def find(self, word: str) -> tuple[Field[object], Form[object]] | None:
        """The field that a key means, with the form of its value in that spelling."""
        return self._known.get(word)

    def read(self, node: Node, problems: Problems, name: str) -> Values:
        """Every known key's value. Reports unknown keys, wrong values and missing required keys; refuses what is no
        mapping, and null counts as empty."""
        if is_null(node):
            node = MapNode(node.file, node.line, node.column)
        if not isinstance(node, MapNode) or node.tag is not None:
            raise problems.refuse(f"{name} must be a mapping, this is {what_is(node)}", node, "write `key: value` lines")
        values = Values(node)
        written: set[str] = set()
        for word, (key, value) in node.entries.items():
            known = self._known.get(word) if isinstance(word, str) else None
            if known is None:
                self._unknown(key.text, node, problems, name)
                continue
            field, form = known
            written.add(field.key)
            if field in values:
                problems.error(
                    f"{name} has {field.key!r} in two spellings, first at {values.nodes[field.key].place}", key, "keep one of the two"
                )
                continue
            if is_null(value) and not field.required:
                continue
            try:
                values.put(field, form.read(value, problems, f"{word!r} of {name}"), value)
            except Refused:
                values.refused.add(field.key)
        for field in self.fields:
            if field.required and field.key not in written:
                problems.error(f"{name} lacks {field.key!r}", node, f"add `{field.key}:`")
        return values

    def schema(self) -> dict[str, object]:
        """The JSON Schema of such a mapping: as `read` does, it takes a key without a value for one that is not there."""
        properties = {
            key: _saying(field.says, form.schema if field.required else _or_null(form.schema)) for key, (field, form) in self._known.items()
        }
        schema: dict[str, object] = {"type": "object", "properties": properties, "additionalProperties": False}
        required = [field.key for field in self.fields if field.required]
        return schema | {"required": required} if required else _or_null(schema)

    def _unknown(self, key: str, node: MapNode, problems: Problems, name: str) -> None:
        at = node.key(key) or node
        problems.error(f"unknown key {key!r} of {name}", at, self.refused.get(key) or self.suggestion(key, node))


def _saying(sentence: str, schema: Mapping[str, object]) -> dict[str, object]:
    """The schema of a key with what it is, and how its value is written, as editors show them."""
    form = schema.get("description")
    said = (sentence, f"Written as {form}." if form else "")
    return {"description": " ".join(filter(None, said)), **{word: value for word, value in schema.items() if word != "description"}}


def _or_null(schema: Mapping[str, object]) -> dict[str, object]:
    """The schema with null allowed too, in the form that editors show best."""
    kinds, forms = schema.get("type"), schema.get("anyOf")
    if isinstance(kinds, str):
        return {**schema, "type": [kinds, "null"]}
    if isinstance(kinds, list):
        return {**schema, "type": kinds if "null" in kinds else [*kinds, "null"]}
    if isinstance(forms, list):
        return {**schema, "anyOf": forms if _NULL in forms else [*forms, _NULL]}
    return {"anyOf": [dict(schema), _NULL]}
