"""The `shapes:` of a catalogue: the numbers of well-known models, of which their needs can be computed without their files."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.vram import Family, Shape, ShapeTrust, check_shape
from reconciler.workspace.forms import choice, flag, integer, text
from reconciler.workspace.problems import Problems, Refused
from reconciler.workspace.table import Field, Table, Values
from reconciler.workspace.tree import Node

_LENGTH = integer(1, 2**24)
ARCHITECTURE = Field("architecture", choice(Family), required=True)
BLOCKS = Field("blocks", integer(1, 512), required=True)
EMBEDDING = Field("embedding", _LENGTH, required=True)
HEADS = Field("heads", integer(1, 2**16), required=True)
KV_HEADS = Field("kv_heads", integer(1, 2**16), required=True)
HEAD_LENGTH = Field("head_length", integer(1, 2**16), required=True)
FEED_FORWARD = Field("feed_forward", _LENGTH, required=True)
VOCABULARY = Field("vocabulary", _LENGTH, required=True)
CONTEXT = Field("context", integer(1, 2**32), required=True)
EXPERTS = Field("experts", integer(0, 2**16))
EXPERTS_USED = Field("experts_used", integer(0, 256))
WINDOW = Field("window", integer(0, 2**32))
TIED = Field("tied", flag)
SCALED_ROPE = Field("scaled_rope", flag)
TRUST = Field("trust", choice(ShapeTrust), required=True)
ORIGIN = Field("from", text, required=True)
SHAPE = Table(
    "shapes",
    (
        ARCHITECTURE, BLOCKS, EMBEDDING, HEADS, KV_HEADS, HEAD_LENGTH, FEED_FORWARD, VOCABULARY, CONTEXT, EXPERTS, EXPERTS_USED, WINDOW,
        TIED, SCALED_ROPE, TRUST, ORIGIN,
    ),
)  # fmt: skip
_COUNTS = {
    "blocks": BLOCKS, "embedding": EMBEDDING, "heads": HEADS, "kv_heads": KV_HEADS, "head_length": HEAD_LENGTH,
    "feed_forward": FEED_FORWARD, "vocabulary": VOCABULARY, "context": CONTEXT,
}  # fmt: skip


def read_shape(name: str, node: Node, problems: Problems) -> Shape | None:
    """One entry of `shapes:`; None where it has problems, which are reported."""
    try:
        read = SHAPE.read(node, problems, f"the shape {name!r}")
    except Refused:
        return None
    family, counts = read.get(ARCHITECTURE), _counts(read)
    trust, origin = read.get(TRUST), read.get(ORIGIN)
    if family is None or counts is None or trust is None or origin is None:
        return None
    shape = Shape(
        name,
        family,
        **counts,
        experts=read.get(EXPERTS) or 0,
        experts_used=read.get(EXPERTS_USED) or 0,
        window=read.get(WINDOW) or 0,
        tied=read.get(TIED) or False,
        scaled_rope=read.get(SCALED_ROPE) or False,
        trust=trust,
        origin=origin,
    )
    wrong = check_shape(shape)
    if wrong is not None:
        problems.error(f"the shape {name!r} is no model's: {wrong.problems[0].what}", node, "take the numbers of its config.json")
        return None
    return shape


def _counts(read: Values) -> Mapping[str, int] | None:
    found = {name: value for name, field in _COUNTS.items() if (value := read.get(field)) is not None}
    return found if len(found) == len(_COUNTS) else None
