"""What every way to ask for cards gives, and how it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Protocol

from reconciler.fleet import CardFacts, GpurecError, NodeSpec, Place, Problem
from reconciler.value_class import value_class


@value_class
class ProcessTable:
    """Processes of a node as far as could be seen: the parent of each, which of them listens on a TCP port (by port), names, and the ids of
    the containers that they are in."""

    parents: Mapping[int, int] = field(default_factory=dict)
    listeners: Mapping[int, int] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    containers: Mapping[int, str] = field(default_factory=dict)


@value_class
class Seen:
    """What one look at a node gave. `cards` None: the look says nothing about cards. `clock` is the node's time in seconds since 1970.

    `lost` has a sentence for each card that is surely there and could not be asked; `partly` is why others may be missing: a tool that
    failed beside one that answered.
    """

    cards: tuple[CardFacts, ...] | None
    notes: tuple[str, ...] = ()
    ram_bytes: int | None = None
    table: ProcessTable | None = None
    clock: float | None = None
    lost: tuple[str, ...] = ()
    partly: ProbeError | None = None


class ProbeError(GpurecError):
    """Cards could not be asked for in one way. `code` is a word such as `no_driver`, `timeout` or `refused`."""

    def __init__(self, problem: Problem, code: str) -> None:
        super().__init__(problem)
        self.code = code


class CardSource(Protocol):
    """One way to ask a node for its cards. A look reads only; it takes at most the node's `probe.timeout`, and raises ProbeError."""

    @property
    def name(self) -> str: ...

    async def look(self, node: NodeSpec, at: str) -> Seen: ...


def probe_error(code: str, node: str, what: str, hint: str | None = None) -> ProbeError:
    return ProbeError(Problem(what, Place(node), hint), code)
