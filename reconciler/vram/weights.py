"""Where the weights of a model lie: on a card with their layer, or on the host.

Classes follow llama.cpp (`src/llama-arch.cpp`, tensor infos): input tensors (`token_embd`, positions, token types, the per-layer embedding)
stay on the host; `blk.N.` tensors go with block N; all others go with the output layer, except a few that go with the first block. An
output tied to `token_embd` is a second copy, with the output layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from reconciler.value_class import value_class
from reconciler.vram.builds import loads_head
from reconciler.vram.families import WITHOUT_OUTPUT
from reconciler.vram.geometry import Geometry
from reconciler.vram.settings import RunSettings
from reconciler.vram.tensors import TensorInfo

_BLOCK = re.compile(r"(?:enc\.|dec\.)?blk\.(\d{1,5})\.")
_INPUT = frozenset({"token_embd.weight", "position_embd.weight", "token_types.weight", "per_layer_token_embd.weight"})
_FIRST_BLOCK = ("token_embd_norm.", "per_layer_model_proj.", "per_layer_proj_norm.", "hrm.z_l_init")
_SHARED = ("rope_freqs.", "rope_factors_long.", "rope_factors_short.")
_LAST_NAMED_FIRST = frozenset({"lfm2", "lfm2moe"})
"""Their files call the output's norm `token_embd_norm`."""


@value_class
class PlacedWeights:
    """Bytes by place: on each card, and on the host."""

    cards: tuple[int, ...]
    host: int

    @property
    def on_cards(self) -> int:
        return sum(self.cards)


def card_of_blocks(geometry: Geometry, settings: RunSettings) -> tuple[int | None, ...]:
    """The card of each block and, last, of the output layer; None: on the host.

    The last `offloaded` of them are on cards; of those, number i of n goes to the first card whose share of the split ends after i/n.
    """
    total = geometry.blocks + 1
    first = max(total - settings.offloaded, 0)
    count = min(settings.offloaded, total)
    weight = sum(settings.split)
    ends, reached = [], 0
    for share in settings.split:
        reached += share
        ends.append(reached)
    places: list[int | None] = [None] * first
    for index in range(total - first):
        places.append(next((card for card, end in enumerate(ends) if end * count > index * weight), len(ends) - 1))
    return tuple(places)


def weights_of(geometry: Geometry, settings: RunSettings) -> PlacedWeights:
    """Bytes of all tensors that are loaded, by place; those of a draft head only where this build loads it."""
    places = card_of_blocks(geometry, settings)
    blocks = geometry.blocks if loads_head(geometry.architecture, settings.build, settings.drafted) else len(geometry.layers)
    cards, host = [0] * len(settings.split), 0
    for tensor in geometry.tensors.values():
        for place in _places(tensor.name, geometry, places, blocks):
            if place is None:
                host += tensor.bytes
            else:
                cards[place] += tensor.bytes
    tied = tied_output(geometry)
    if tied is not None:
        if places[-1] is None:
            pass  # the same buffer type: one copy
        else:
            cards[places[-1]] += tied.bytes
    return PlacedWeights(tuple(cards), host)


def tied_output(geometry: Geometry) -> TensorInfo | None:
    """The embedding, where it is the output matrix too."""
    if "output.weight" in geometry.tensors or geometry.architecture in WITHOUT_OUTPUT:
        return None
    return geometry.tensors.get("token_embd.weight")


def place_of(name: str, geometry: Geometry, places: tuple[int | None, ...]) -> int | None:
    """The place of a tensor's first copy."""
    return next(iter(_places(name, geometry, places, geometry.blocks)), None)


def _places(name: str, geometry: Geometry, places: tuple[int | None, ...], blocks: int) -> Iterable[int | None]:
    if name in _INPUT:
        return (None,)
    block = _BLOCK.match(name)
    if block is not None:
        number = int(block[1])
        return (places[number],) if number < blocks else ()
    if name.startswith(_SHARED):
        return sorted(set(places[: len(geometry.layers)]), key=lambda place: -1 if place is None else place)
    if name.startswith(_FIRST_BLOCK) and not (geometry.architecture in _LAST_NAMED_FIRST and name.startswith("token_embd_norm.")):
        return (places[0],)
    return (places[-1],)
