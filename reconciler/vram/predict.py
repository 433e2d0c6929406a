"""How many bytes a model will take on its cards, term by term, with an interval: computed from its metadata, never guessed."""

from __future__ import annotations

from dataclasses import replace

from reconciler.fleet.units import MIB
from reconciler.value_class import value_class
from reconciler.vram.builds import REFERENCE_BUILD, SLOT_ROWS
from reconciler.vram.cache import kv_bytes, state_bytes
from reconciler.vram.compute import ComputeBuffers, compute_buffers, head_buffers
from reconciler.vram.geometry import Geometry
from reconciler.vram.settings import RunSettings
from reconciler.vram.weights import card_of_blocks, weights_of

FIXED_START, FIXED_LOW, FIXED_HIGH = 450 * MIB, 162 * MIB, 893 * MIB
"""What a process takes on a card besides (context, cuBLAS, graphs): nothing derives it. A start value, until it is measured on the node
for (GPU model, driver, build); the ends are the least and the most that people saw on their cards, over all backends."""
COMPUTED = "computed"


@value_class
class CardNeed:
    """Bytes on one card by term; None: not known for this layout. `extra` is what is loaded beside the model, as far as it is known. `low`
    and `high` are the ends of the interval of the sum."""

    weights: int
    kv: int | None
    state: int | None
    compute: int | None
    fixed: int
    extra: int
    low: int
    high: int | None
    extra_known: bool = True

    @property
    def total(self) -> int | None:
        if not self.extra_known:
            return None
        terms = (self.weights, self.kv, self.state, self.compute, self.fixed, self.extra)
        known = [term for term in terms if term is not None]
        return sum(known) if len(known) == len(terms) else None


@value_class
class HostNeed:
    """Bytes on the host by term."""

    weights: int
    kv: int | None
    compute: int | None

    @property
    def total(self) -> int | None:
        return None if self.kv is None or self.compute is None else self.weights + self.kv + self.compute


@value_class
class Prediction:
    """What a load will take: each card, the host, and what could not be told, in sentences."""

    cards: tuple[CardNeed, ...]
    host: HostNeed
    unknown: tuple[str, ...]
    source: str = COMPUTED


def predict(geometry: Geometry, settings: RunSettings, extra: int = 0, fixed: tuple[int, int, int] | None = None) -> Prediction:
    """The need of `geometry` run as `settings` say.

    `extra` bytes (projector, adapters, a draft model) go whole to the first card. `fixed` is (low, expected, high) of the cost of a
    process on a card where it was measured. A term that nobody can tell is None, and so is then the upper end.
    """
    if not geometry.flash_attention:
        settings = replace(settings, flash_attention=False)
    low_fixed, expected_fixed, high_fixed = fixed or (FIXED_LOW, FIXED_START, FIXED_HIGH)
    places = card_of_blocks(geometry, settings)
    weights = weights_of(geometry, settings)
    unknown: list[str] = []
    count = len(settings.split)
    kv: list[int | None] = [0] * (count + 1)
    state: list[int | None] = [0] * (count + 1)
    if geometry.cache_known:
        for term, bytes_of in ((kv, kv_bytes), (state, state_bytes)):
            for place, used in zip(places, bytes_of(geometry, settings), strict=False):
                at = count if place is None else place
                term[at] = (term[at] or 0) + used
    else:
        kv, state = [None] * (count + 1), [None] * (count + 1)
        unknown.append(f"the cache of {geometry.architecture} has a layout that is not worked out here")
    compute = compute_buffers(geometry, settings) if geometry.cache_known else None
    if compute is None:
        from reconciler.vram.graph.families import GRAPHS

        known = geometry.cache_known and geometry.architecture in GRAPHS
        unknown.append(
            f"the keys and tensors of the file do not make a graph of {geometry.architecture}"
            if known
            else f"the compute graph of {geometry.architecture} is not worked out here"
        )
    if settings.drafted and compute is not None:
        of_head = head_buffers(geometry, settings)
        if of_head is None:
            unknown.append(f"the compute graph of the draft head of {geometry.architecture} is not worked out here")
        compute = None if of_head is None else compute.plus(of_head)
    cards = tuple(
        _card(
            settings,
            (weights.cards[card], kv[card], state[card], None if compute is None else compute.cards[card]),
            extra if card == 0 else 0,
            (low_fixed, expected_fixed, high_fixed),
            compute,
        )
        for card in range(count)
    )
    host_kv = kv[count]
    host_state = state[count]
    resident = None if host_kv is None or host_state is None else host_kv + host_state
    return Prediction(cards, HostNeed(weights.host, resident, None if compute is None else compute.host), tuple(unknown))


def ram_bytes(prediction: Prediction, settings: RunSettings, beside: int = 0) -> int | None:
    """The upper end of what a model takes in RAM that was predicted with no layer on a card; None where a term is not known."""
    host = prediction.host
    if host.kv is None or host.compute is None:
        return None
    return host.weights + host.kv + host.compute + max(MIB, host.compute * _uncertain_percent(settings.build) // 100) + beside


def _uncertain_percent(build: int) -> int:
    """How far a compute buffer may be off: the graph is that of one build, and graphs change."""
    if build == REFERENCE_BUILD:
        return 2
    return 10 if SLOT_ROWS.holds(build) else 15


def _card(
    settings: RunSettings,
    terms: tuple[int, int | None, int | None, int | None],
    extra: int,
    fixed: tuple[int, int, int],
    compute: ComputeBuffers | None,
) -> CardNeed:
    weights, kv, state, buffer = terms
    certain = weights + (kv or 0) + (state or 0) + extra
    slack = 0 if buffer is None or compute is None else max(MIB, buffer * _uncertain_percent(settings.build) // 100)
    low = certain + max(0, (buffer or 0) - slack) + fixed[0]
    high = None if kv is None or state is None or buffer is None else certain + buffer + slack + fixed[2]
    return CardNeed(weights, kv, state, buffer, fixed[1], extra, low, high)
