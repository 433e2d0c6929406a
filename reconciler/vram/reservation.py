"""What a vLLM takes: a share of each card, whatever the model; and whether the model and one request of full length fit inside it.

Sources, vLLM 0.32: `v1/worker/utils.py` (`request_memory`: ceil(total × utilisation), which must be free at start),
`v1/kv_cache_interface.py` (blocks of a request: full attention ceil(length / block), a window ceil(min(window − 1 + batch, length) / block)
+ 1), `config/model.py` (KV heads of a card: at least one). Activations and CUDA graphs are measured by vLLM as it starts; here they are an
estimate with its interval.
"""

from __future__ import annotations

from fractions import Fraction

from reconciler.fleet.units import GIB, MIB
from reconciler.value_class import value_class
from reconciler.vram.checkpoint import Checkpoint
from reconciler.vram.tensors import UnknownLayout

UTILIZATION = Fraction(92, 100)
"""vLLM's default since 0.2x; 0.9 before."""
BLOCK = 16
BATCHED_TOKENS = 2048
"""The default of a server on cards below 70 GiB (engine/arg_utils.py)."""
SEQUENCES = 256
FIXED_LOW, FIXED_START, FIXED_HIGH = 400 * MIB, GIB, 2 * GIB
"""Context, libraries and captured graphs of a process on a card."""
CACHE_BYTES = {"auto": None, "f16": 2, "bf16": 2, "fp8": 1}


@value_class
class VllmSettings:
    """`context` is `--max-model-len`, `cards` `--tensor-parallel-size`, `batch` `--max-num-batched-tokens`, `cache` `--kv-cache-dtype`."""

    context: int
    cards: int = 1
    batch: int = BATCHED_TOKENS
    cache: str = "auto"


@value_class
class VllmNeed:
    """Bytes on each card by term: what must fit into the reservation. None: not known. `kv` is that of one request of full length."""

    weights: int | None
    kv: int | None
    compute: int
    low: int
    high: int | None
    unknown: tuple[str, ...]
    fixed: int = FIXED_START

    @property
    def total(self) -> int | None:
        return None if self.weights is None or self.kv is None else self.weights + self.kv + self.compute + self.fixed


@value_class
class Reservation:
    """What a vLLM reserves on a card of `total` bytes, and whether its need fits: True, False, or None where the interval spans it.
    `tokens` is about how many the rest holds as cache; None where that is not known."""

    total: int
    utilization: Fraction
    bytes: int
    fits: bool | None
    tokens: int | None


def vllm_need(of: Checkpoint, weight_bytes: int | None, settings: VllmSettings) -> VllmNeed:
    """The need on each of the cards. `weight_bytes` is what the files hold, None where nobody counted them.

    UnknownLayout: heads that do not divide by the cards, or a cache type that is not known.
    """
    if settings.cache not in CACHE_BYTES:
        raise UnknownLayout.of(f"{settings.cache!r} is no cache type of vLLM", hint=f"known are {', '.join(CACHE_BYTES)}")
    if of.heads % settings.cards:
        raise UnknownLayout.of(f"{of.heads} heads cannot be split over {settings.cards} cards", hint="use a number that divides them")
    weights = loaded_bytes(of, weight_bytes)
    unknown = []
    if weights is None:
        unknown.append(f"the weights of {of.kind} are not counted here; their files, or model.safetensors.index.json, would tell")
    kv = request_bytes(of, settings)
    if kv is None:
        unknown.append(f"the cache of {of.kind} has a layout that is not worked out here")
    part = None if weights is None else -(-weights // settings.cards)
    compute = activation_bytes(of, settings)
    certain = (part or 0) + (kv or 0)
    slack = 0 if part is None or settings.cards == 1 else part // 50
    high = None if part is None or kv is None else certain + slack + 2 * compute + FIXED_HIGH
    return VllmNeed(part, kv, compute, certain + compute // 2 + FIXED_LOW, high, tuple(unknown))


def loaded_bytes(of: Checkpoint, weight_bytes: int | None) -> int | None:
    """Bytes of all weights as vLLM holds them: those of the files (halved where a float32 checkpoint is served in 16 bits), else counted
    from the config; a quantised one is not counted."""
    if weight_bytes is not None:
        return weight_bytes if of.quantised else weight_bytes * of.served // of.stored
    return None if of.parameters is None or of.quantised else of.parameters * of.served


def request_bytes(of: Checkpoint, settings: VllmSettings) -> int | None:
    """Bytes of the cache of one request of full length on a card."""
    if not of.cache_known:
        return None
    element = CACHE_BYTES[settings.cache] or of.served
    heads = max(1, of.kv_heads // settings.cards)
    row = (of.latent or 2 * heads * of.head_width) * element
    blocks = 0
    for window in of.windows:
        length = settings.context if window is None else min(window - 1 + settings.batch, settings.context)
        blocks += -(-length // BLOCK) + (window is not None)
    return blocks * BLOCK * row


def activation_bytes(of: Checkpoint, settings: VllmSettings) -> int:
    """About what a pass takes at its widest: gate, up and their product, four rows of the embedding, and the logits of every sequence."""
    tokens = min(settings.batch, max(settings.context, SEQUENCES))
    rows = tokens * (3 * of.feed_forward // settings.cards + 4 * of.embedding) * of.served
    return rows + SEQUENCES * of.vocabulary * 4


def reservation(need: VllmNeed, of: Checkpoint, settings: VllmSettings, total: int, utilization: Fraction = UTILIZATION) -> Reservation:
    """The share of a card of `total` bytes that is reserved, and whether the need fits inside."""
    held = -(-total * utilization.numerator // utilization.denominator)
    fits: bool | None = None
    if need.high is not None and need.high <= held:
        fits = True
    elif need.low > held:
        fits = False
    tokens = None
    if need.weights is not None and need.kv:
        left = held - need.weights - need.compute - need.fixed
        tokens = max(0, left * settings.context // need.kv)
    return Reservation(total, utilization, held, fits, tokens)
