"""Reads a document of facts by msgspec: about ten times as fast as pydantic, which is asked only to say what is wrong with one.

Text that is equal becomes one object: engines that have the same models installed, or hold the same, share the value, and so do nodes with
the same cards. Values are frozen, so nobody can tell but by their identity.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Raw

from reconciler.fleet import (
    CardFacts,
    CardProbe,
    EngineFacts,
    EngineId,
    EngineKind,
    FleetFacts,
    Installed,
    ModelHeader,
    NodeFacts,
    Resident,
)

T = TypeVar("T")
_NULL = Raw(b"null")


class _Document(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    format_version: str
    facts: _Facts
    headers: dict[str, ModelHeader] = {}


class _Facts(msgspec.Struct, gc=False):
    at: str
    nodes: dict[str, _Node]


class _Node(msgspec.Struct, gc=False):
    node: str
    cards: Raw = _NULL
    ram_bytes: int | None = None
    engines: dict[str, _Engine] = {}
    card_probe: Raw = _NULL


class _Engine(msgspec.Struct, gc=False):
    """The fields of `EngineFacts`, in its order."""

    id: EngineId
    kind: EngineKind
    reachable: bool
    reason: str | None = None
    reason_code: str | None = None
    build: str | None = None
    mode: str | None = None
    max_residents: int | None = None
    installed: Raw = _NULL
    residents: Raw = _NULL
    probe_seconds: float = 0.0
    clock_skew: float | None = None
    notes: tuple[str, ...] = ()


class _Shared(Generic[T]):
    """Values by the text that they were read from."""

    def __init__(self, decoder: msgspec.json.Decoder[T]) -> None:
        self._decoder = decoder
        self._known: dict[bytes, T] = {}

    def read(self, raw: Raw) -> T:
        text = bytes(raw)
        found = self._known.get(text)
        if found is None and text not in self._known:
            found = self._known[text] = self._decoder.decode(text)
        return found  # type: ignore[return-value] # a known None is a value of T


@cache
def _decoders() -> tuple[msgspec.json.Decoder[Any], ...]:
    kinds: tuple[Any, ...] = (
        _Document,
        tuple[CardFacts, ...] | None,
        CardProbe | None,
        tuple[Installed, ...] | None,
        tuple[Resident, ...] | None,
    )
    return tuple(msgspec.json.Decoder(kind) for kind in kinds)


def read_document(text: str | bytes) -> tuple[str, FleetFacts, dict[str, ModelHeader]]:
    """The version of the format, the facts without headers, and the headers. msgspec.MsgspecError or UnicodeError: it is no such document,
    or holds something that only pydantic understands."""
    of_document, *others = _decoders()
    cards, probe, installed, residents = (_Shared(decoder) for decoder in others)
    document: _Document = of_document.decode(text)

    def engine(one: _Engine) -> EngineFacts:
        return EngineFacts(
            one.id, one.kind, one.reachable, one.reason, one.reason_code, one.build, one.mode, one.max_residents,
            installed.read(one.installed), residents.read(one.residents), one.probe_seconds, one.clock_skew, one.notes,
        )  # fmt: skip

    nodes = {
        name: NodeFacts(
            one.node, cards.read(one.cards), one.ram_bytes, {own: engine(at) for own, at in one.engines.items()}, probe.read(one.card_probe)
        )
        for name, one in document.facts.nodes.items()
    }
    return document.format_version, FleetFacts(document.facts.at, nodes), document.headers
