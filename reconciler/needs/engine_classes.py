"""Engines that run a model the same way: the same kind and build, the same declared environment, cards of the same models and sizes."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from reconciler.fleet import EngineKind
from reconciler.needs.engine import KnownEngine
from reconciler.vram import OllamaServer, ollama_server


@dataclass(frozen=True, slots=True, eq=False)
class Alike:
    """One such class of engines. `build` is the version as they say it, `gpu` the names of the cards (`2 × NVIDIA A40`); empty: not known.
    `server` None: not an Ollama."""

    kind: EngineKind
    build: str
    gpu: str
    server: OllamaServer | None


class AlikeEngines:
    """The classes of one run, each one object, so that they are told apart without comparing them."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Alike] = {}
        self._of: dict[KnownEngine, Alike] = {}

    def of(self, slot: KnownEngine) -> Alike:
        alike = self._of.get(slot)
        if alike is None:
            cards = slot.cards
            sizes = None if cards is None else tuple(card.total for card in cards)
            names = () if cards is None else tuple((card.facts.name if card.facts is not None else None) or "" for card in cards)
            abilities = () if cards is None else tuple(card.facts.compute_capability if card.facts is not None else None for card in cards)
            build = slot.facts.build if slot.facts is not None else None
            key = (slot.kind, build, tuple(sorted(slot.spec.env.items())), sizes, names, abilities)
            if key not in self._known:
                server = None
                if slot.kind is EngineKind.OLLAMA:
                    total = None if sizes is None or None in sizes else sum(size for size in sizes if size is not None)
                    server = ollama_server(build, slot.spec.env, total, abilities)
                self._known[key] = Alike(slot.kind, build or "", gpu_words(names), server)
            alike = self._of[slot] = self._known[key]
        return alike


def gpu_words(names: tuple[str, ...]) -> str:
    """The names of an engine's cards as one text, however they are ordered; empty where one is not known."""
    if not all(names):
        return ""
    return " + ".join(name if (count := names.count(name)) == 1 else f"{count} × {name}" for name in sorted(set(names)))
