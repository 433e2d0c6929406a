"""Declared cards: the `gpus` list of a host."""

from __future__ import annotations

import re
from fractions import Fraction

from reconciler.fleet import NO_LIMITS, UNIFIED_SHARE, CardId, CardSpec
from reconciler.workspace.forms import Form, capability, integer, label, ratio, size, text, version, vram, vram_mebibytes
from reconciler.workspace.limits import limits
from reconciler.workspace.problems import Problems, Refused
from reconciler.workspace.table import Field, Table
from reconciler.workspace.tree import ListNode, Node, ScalarNode, what_is

MOST_CARDS = 4096

_RESOURCE = re.compile(r"[a-z0-9.-]{1,253}/[A-Za-z0-9._-]{1,63}")
_VENDOR_ID = re.compile(r"(?:nvidia|amd|apple)[0-9]{1,4}")
"""What a card is called on a node where two vendors' tools give one index."""


def _index(node: Node, problems: Problems, name: str) -> CardId:
    if isinstance(node, ScalarNode) and node.tag is None and is_vendor_id(node.value):
        return node.text
    return _number.read(node, problems, name)


def is_vendor_id(mark: object) -> bool:
    """Whether this is a card's name by its vendor, such as `amd0`."""
    return isinstance(mark, str) and _VENDOR_ID.fullmatch(mark) is not None


_number = integer(0, MOST_CARDS)
INDEX: Field[CardId] = Field(
    "index",
    Form(_index, {"anyOf": [_number.schema, {"type": "string", "pattern": f"^{_VENDOR_ID.pattern}$"}]}),
    says="The card's number as the driver counts; the default is its place in this list, from 0.",
)
UUID = Field(
    "uuid",
    label,
    says="The card's UUID, by which engines may be bound to it.",
    meant="id gpu_uuid",
)
NAME = Field(
    "name",
    text,
    says="The product, as it is shown.",
    meant="model type product",
)
VRAM = Field(
    "vram",
    vram,
    says="Total size. A card of unknown size keeps its residents and gets nothing more.",
    mib_keys=("vram_mb",),
    mib_form=vram_mebibytes,
    meant="memory size total memory_total vram_gb vram_bytes",
)
CAPABILITY = Field(
    "compute_capability",
    capability,
    says="CUDA compute capability, for `requires` of models.",
    meant="cc compute capability arch sm",
)
DRIVER = Field("driver", version, says="Version of the driver, for `requires` of models.", meant="driver_version")
FOREIGN = Field(
    "foreign",
    size,
    says="What programs use here that no engine of the inventory accounts for; the default is 0.",
    mib_keys=("foreign_mb",),
    meant="used reserved others",
)
LIMITS = Field("limits", limits, says="How much of this card alone may be used.")


def _unified(node: Node, problems: Problems, name: str) -> Fraction | None:
    if isinstance(node, ScalarNode) and isinstance(node.value, bool):
        return UNIFIED_SHARE if node.value else None
    share = ratio.read(node, problems, name)
    if not share:
        raise problems.refuse(f"{name} is no part of the memory", node, "write true (three quarters), or the part, as 60%")
    return share


UNIFIED = Field(
    "unified",
    Form(_unified, {"anyOf": [{"type": "boolean"}, ratio.schema]}),
    says="It has no memory of its own and gets so much of the node's RAM; true is three quarters.",
    meant="shared_memory unified_memory",
)
MIG = Field("mig", label, says="UUID of the card that this one is a slice of (MIG).", meant="mig_parent parent")


def _resource(node: Node, problems: Problems, name: str) -> str:
    found = text.read(node, problems, name)
    if not _RESOURCE.fullmatch(found):
        raise problems.refuse(
            f"{name} is no resource of a node", node, "kubectl describe node lists them: nvidia.com/gpu, nvidia.com/mig-1g.10gb"
        )
    return found


RESOURCE = Field(
    "resource",
    Form(_resource, {"type": "string", "pattern": f"^{_RESOURCE.pattern}$"}),
    says="What a Kubernetes cluster counts the card as; the default is nvidia.com/gpu.",
    meant="kubernetes_resource",
)
SHARES = Field(
    "shares", integer(1, 1024), says="How many pods the cluster gives it to at once; the default is 1.", meant="replicas time_slices"
)

CARD = Table("card", (INDEX, UUID, NAME, VRAM, CAPABILITY, DRIVER, FOREIGN, LIMITS, UNIFIED, MIG, RESOURCE, SHARES))


def _read(node: Node, problems: Problems, name: str) -> tuple[CardSpec, ...]:
    if not isinstance(node, ListNode) or node.tag is not None:
        raise problems.refuse(f"{name} must be a list of cards, this is {what_is(node)}", node, "write [] for a host without a card")
    cards: list[CardSpec] = []
    places: list[Node] = []
    seen: dict[int | str, Node] = {}
    for position, item in enumerate(node.items):
        try:
            card = _card(item, position, problems)
        except Refused:
            continue
        for mark in (card.index, card.uuid):
            earlier = seen.get(mark) if mark is not None else None
            if earlier is not None:
                problems.error(f"card {mark!r} is declared twice, first at {earlier.place}", item, "give each card its own index and uuid")
            elif mark is not None:
                seen[mark] = item
        cards.append(card)
        places.append(item)
    for card, item in zip(cards, places, strict=True):
        if card.mig is not None and (whole := seen.get(card.mig)) is not None:
            what = f"card {card.mig!r} at {whole.place} is declared whole and as slices"
            problems.error(what, item, "take the whole card out: what it has is in its slices")
    return tuple(sorted(cards, key=lambda card: (isinstance(card.index, str), card.index)))


def _card(node: Node, position: int, problems: Problems) -> CardSpec:
    values = CARD.read(node, problems, f"card {position}")
    index = values.get(INDEX)
    if values.get(MIG) is not None and values.get(UUID) is None:
        problems.error(
            f"card {position} is a MIG slice without a `uuid`", values.nodes[MIG.key], "add its own: `nvidia-smi -L` lists it as MIG-…"
        )
    if values.get(MIG) is not None and values.get(UNIFIED) is not None:
        problems.error(f"card {position} is a MIG slice, whose memory is its own", values.nodes[UNIFIED.key], "take `unified` out")
    return CardSpec(
        index=position if index is None else index,
        uuid=values.get(UUID),
        name=values.get(NAME),
        vram=values.get(VRAM),
        compute_capability=values.get(CAPABILITY),
        driver=values.get(DRIVER),
        foreign=values.get(FOREIGN) or 0,
        limits=values.get(LIMITS) or NO_LIMITS,
        unified=values.get(UNIFIED),
        mig=values.get(MIG),
        resource=values.get(RESOURCE),
        shares=values.get(SHARES) or 1,
    )


cards = Form(_read, {"type": "array", "items": CARD.schema()})
