"""The document of facts: what `facts --out` writes and `plan --assume` reads. A file from elsewhere is checked before it is believed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from reconciler.files import what_is_wrong
from reconciler.fleet import (
    EngineFacts,
    Fleet,
    FleetFacts,
    GpurecError,
    ModelHeader,
    NodeFacts,
    Place,
    cards_unread,
    headers_of,
    with_headers,
)
from reconciler.probes.declared import declared_cards
from reconciler.probes.readings import MOST_CARD_BYTES, MOST_CARDS, MOST_RAM_BYTES
from reconciler.probes.recorded_read import read_document
from reconciler.value_class import value_class

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic.main import IncEx

T = TypeVar("T")
_MOST_RESIDENTS = 1_000_000
_MOST_COUNT = 2**62
_MOST_INDEX = 256 * MOST_CARDS
"""Slices of a card have a hundred numbers each."""
FORMAT_VERSION: Literal["1.0"] = "1.0"


@value_class
class FactsDocument:
    """Facts with the version of their format. `headers` are those of the installed models, by the digest of their weights."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 # pydantic reads it from here

    format_version: Literal["1.0"]
    facts: FleetFacts
    headers: Mapping[str, ModelHeader] = field(default_factory=dict)


def _adapter() -> TypeAdapter[FactsDocument]:
    from pydantic import TypeAdapter

    global _ADAPTER
    if _ADAPTER is None:
        _ADAPTER = TypeAdapter(FactsDocument)
    return _ADAPTER


_ADAPTER: TypeAdapter[FactsDocument] | None = None
_WITHOUT_HEADERS: IncEx = {"facts": {"nodes": {"__all__": {"engines": {"__all__": {"installed": {"__all__": {"header"}}}}}}}}
"""A header is written once and not with every engine that has its file."""


def facts_to_json(facts: FleetFacts) -> str:
    """The document, one JSON object; unknown facts are null."""
    document = FactsDocument(FORMAT_VERSION, facts, dict(sorted(headers_of(facts.nodes.values()).items())))
    return _adapter().dump_json(document, exclude=_WITHOUT_HEADERS).decode() + "\n"


def facts_from_json(text: str | bytes, name: str) -> FleetFacts:
    """Reads a document of facts; `name` is its file, for the error. Raises GpurecError naming the first thing that is wrong."""
    try:
        version, facts, headers = read_document(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        version = ""
    if version != FORMAT_VERSION:
        document = _checked(text, name)
        facts, headers = document.facts, dict(document.headers)
    wrong = _out_of_range(facts)
    if wrong is not None:
        raise GpurecError.of(f"this is no document of facts ({wrong})", Place(name), "make one with gpurec facts --out FILE")
    for key, node in facts.nodes.items():
        if key != node.node or any(engine.id.node != key or engine.id.engine != own for own, engine in node.engines.items()):
            raise GpurecError.of(f"the facts of node {key!r} name another node or engine", Place(name), "make them again with gpurec facts")
    return FleetFacts(facts.at, {at: with_headers(node, headers) for at, node in facts.nodes.items()})


def _checked(text: str | bytes, name: str) -> FactsDocument:
    """The same by pydantic, which says what is wrong and where."""
    from pydantic import ValidationError

    try:
        document = _adapter().validate_json(text)
    except ValidationError as error:
        (wrong,) = what_is_wrong(error)
        raise GpurecError.of(f"this is no document of facts ({wrong})", Place(name), "make one with gpurec facts --out FILE") from None
    if _has_endless(document):
        what = "this is no document of facts (a number in it is infinite, or none)"
        raise GpurecError.of(what, Place(name), "make one with gpurec facts --out FILE")
    return document


def _has_endless(document: object) -> bool:
    """Whether a number in it is infinite or none: pydantic reads text such as "inf" as one."""
    waiting = [document]
    while waiting:
        one = waiting.pop()
        if isinstance(one, float):
            if not math.isfinite(one):
                return True
        elif isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, (list, tuple)):
            waiting += one
        elif is_dataclass(one):
            waiting += [getattr(one, each.name) for each in fields(one)]
    return False


def _out_of_range(facts: FleetFacts) -> str | None:
    """The first number, or id, that no look could have given; values that several nodes share are looked at once."""
    seen: dict[int, object] = {}

    def fresh(several: Sequence[T] | None) -> Sequence[T]:
        if not several or id(several) in seen:
            return ()
        seen[id(several)] = several
        return several

    for name, node in facts.nodes.items():
        if not _fits(node.ram_bytes, MOST_RAM_BYTES):
            return f"the RAM of node {name} is out of range"
        cards = fresh(node.cards)
        if len({card.index for card in cards}) < len(cards):
            return f"two cards of node {name} have one id"
        for card in cards:
            sizes = [card.total_bytes, card.used_bytes, card.foreign_bytes, card.reserved_bytes]
            counts = [card.ecc_errors, card.xid, card.number, *(card.driver or ()), *(card.cuda or ()), *(card.compute_capability or ())]
            sizes += [one.used_bytes for one in card.processes or ()]
            counts += [one.pid for one in card.processes or ()]
            if (
                not all(_fits(size, MOST_CARD_BYTES) for size in sizes)
                or not all(_fits(one, _MOST_COUNT) for one in counts)
                or (isinstance(card.index, int) and not _fits(card.index, MOST_CARDS * 256))
            ):
                return f"a number of card {card.index} of node {name} is out of range"
        for engine in node.engines.values():
            if not _fits(engine.max_residents, _MOST_RESIDENTS):
                return f"max_residents of engine {engine.id} is out of range"
            rows = [(one.size_bytes, one.vram_bytes, one.context) for one in fresh(engine.residents)]
            rows += [(one.size_bytes, one.beside_bytes, one.context) for one in fresh(engine.installed)]
            if not all(_fits(number, MOST_RAM_BYTES) for row in rows for number in row):
                return f"a number of a model of engine {engine.id} is out of range"
    return None


def _fits(number: int | None, most: int) -> bool:
    return number is None or 0 <= number <= most


def as_recorded(recorded: FleetFacts, fleet: Fleet) -> FleetFacts:
    """What the last apply saw itself: of what it could not see the state holds what was known before, for comparison alone."""
    nodes: dict[str, NodeFacts] = {}
    for name, node in recorded.nodes.items():
        if name in fleet.nodes and cards_unread(node):
            node = replace(node, cards=declared_cards(fleet.nodes[name]))
        unseen = {at: _unreachable(one) for at, one in node.engines.items() if not one.reachable}
        nodes[name] = replace(node, engines={**node.engines, **unseen}) if unseen else node
    return FleetFacts(recorded.at, nodes)


def _unreachable(engine: EngineFacts) -> EngineFacts:
    return EngineFacts(engine.id, engine.kind, False, engine.reason, engine.reason_code)


def merge_facts(base: FleetFacts, partial: FleetFacts) -> FleetFacts:
    """`partial` laid over `base`, node by node and engine by engine; the newer time is kept."""
    nodes = dict(base.nodes)
    for name, node in partial.nodes.items():
        below = nodes.get(name)
        if below is None:
            nodes[name] = node
            continue
        known = node.cards is not None
        cards = node.cards if known else below.cards
        probe = node.card_probe if known or node.card_probe is not None else below.card_probe
        ram = node.ram_bytes if node.ram_bytes is not None else below.ram_bytes
        nodes[name] = NodeFacts(name, cards, ram, {**below.engines, **node.engines}, probe)
    return FleetFacts(max(base.at, partial.at), nodes)
