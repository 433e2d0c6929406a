"""`variants:` of a model: names, best first, each perhaps with the bytes that it needs."""

from __future__ import annotations

from reconciler.fleet import Variant
from reconciler.workspace.forms import Form, label, vram
from reconciler.workspace.problems import Problems
from reconciler.workspace.table import Field, Table
from reconciler.workspace.tree import ListNode, MapNode, Node, what_is

MOST_VARIANTS = 32
NAME = Field("name", label, says="Its name on the engines.", required=True)
NEEDS = Field("vram", vram, says="What it holds; wins over every estimate.")
ENTRY = Table("variant", (NAME, NEEDS))


def _variants(node: Node, problems: Problems, name: str) -> tuple[Variant, ...]:
    if not isinstance(node, ListNode) or node.tag is not None:
        raise problems.refuse(f"{name} must be a list, this is {what_is(node)}", node, "write it as [NAME, NAME], best first")
    if not 0 < len(node.items) <= MOST_VARIANTS:
        raise problems.refuse(f"{name} has {len(node.items)} entries, wanted are 1 to {MOST_VARIANTS}", node, "list the best one first")
    found: dict[str, Variant] = {}
    for item in node.items:
        one = _variant(item, problems, f"an item of {name}")
        if one.name in found:
            raise problems.refuse(f"{name} lists {one.name!r} twice", item, "keep one of the two")
        found[one.name] = one
    return tuple(found.values())


def _variant(node: Node, problems: Problems, name: str) -> Variant:
    if not isinstance(node, MapNode):
        return Variant(label.read(node, problems, name))
    values = ENTRY.read(node, problems, name)
    word = values.get(NAME)
    if word is None:
        raise problems.refuse(f"{name} has no name", node, "write it as {name: NAME, vram: 9GiB}")
    return Variant(word, values.get(NEEDS))


variants = Form(_variants, {"type": "array", "items": {"anyOf": [label.schema, ENTRY.schema()]}, "minItems": 1, "maxItems": MOST_VARIANTS})
