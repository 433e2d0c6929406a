"""One resident model, and where its bytes go: the coarse prediction, and llama-server's fit (Ollama llm/llama_server.go)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.sim.cards import Allocation, Card, split
from reconciler.sim.errors import OutOfMemory
from reconciler.sim.ollama import shapes
from reconciler.sim.ollama.library import Installed
from reconciler.sim.ollama.options import RunnerOptions
from reconciler.sim.spec import MIB, SimModel

_BATCH_SURCHARGE = ((2048, 2048 * MIB), (1024, 768 * MIB))


@dataclass(slots=True, eq=False)
class Runner:
    """A process that holds one blob. `entry` is the name that loaded it first; `keep` its keep-alive in seconds, infinite for ever.

    `size` and `size_vram` are what /api/ps says; both 0 on a server without cards, as seen on 0.34.0.
    """

    entry: Installed
    options: RunnerOptions
    keep: float
    allocation: Allocation
    size: int
    size_vram: int
    expires_at: datetime
    in_flight: int = 0
    doomed: bool = False
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Fit:
    """How a model would lie: bytes a card and in RAM, overhead included, and the reported share on the cards."""

    parts: tuple[tuple[Card, int], ...]
    on_cards: int


def predicted_bytes(model: SimModel, options: RunnerOptions, parallel: int) -> int:
    """What the scheduler thinks before a load: the file, a cache at this context by the heads that /api/show tells, and a surcharge for a
    large batch that was asked for: one that it picks itself it lowers until it costs nothing (server/sched.go)."""
    asked = not options.batch_auto and not model.embedding
    surcharge = next((extra for batch, extra in _BATCH_SURCHARGE if options.num_batch >= batch), 0) if asked else 0
    cache = 2 * model.layers * shapes.kv_heads(model) * (model.embedding_length // shapes.heads(model)) * 2
    return model.size + cache * options.num_ctx * parallel + surcharge


def fit(model: SimModel, total: int, num_gpu: int, cards: Sequence[Card], ram: Card, margin: int) -> Fit:
    """Where `total` bytes go on the memory that is really free now.

    With `num_gpu` -1 as many layers as fit (the output counts as one), the rest in RAM; with a number just that many layers.
    Raises OutOfMemory when a given number has no room, or the RAM has none for the rest.
    """
    steps = model.layers + 1
    layers = steps if num_gpu < 0 else min(num_gpu, steps)
    if not cards or layers == 0:
        return _beside(total, [], 0, ram)
    if num_gpu < 0:
        room = sum(max(0, card.free - margin) for card in cards) - model.overhead
        layers = steps if room >= total else max(0, room * steps // max(1, total))
        if layers == 0:
            return _beside(total, [], 0, ram)
    on_cards = total * layers // steps
    taken = split(on_cards + model.overhead, cards, margin if num_gpu < 0 else 0)
    return _beside(total, taken, on_cards, ram)


def _beside(total: int, taken: list[tuple[Card, int]], on_cards: int, ram: Card) -> Fit:
    rest = total - on_cards
    if rest > ram.free:
        raise OutOfMemory(f"model requires more system memory ({rest / 2**30:.1f} GiB) than is available ({ram.free / 2**30:.1f} GiB)")
    return Fit((*taken, (ram, rest)), on_cards)
