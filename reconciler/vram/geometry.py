"""The geometry of a model as a value: what its cache, its state and its compute graph are made of.

Read from the keys of a GGUF header (`ARCH.block_count`, `ARCH.attention.head_count_kv`, …) with the defaults of llama.cpp b11434
(`llama_model_base::load_hparams`). A key that is missing where llama.cpp needs it, or that makes no sense, is an UnknownLayout.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.fleet import GpurecError
from reconciler.value_class import value_class
from reconciler.vram.families import ENCODERS, HYBRID, INDEXED, INTERVAL, KNOWN_CACHE, RECURRENT, WINDOWS, WITHOUT_FLASH
from reconciler.vram.tensors import Header, TensorInfo, UnknownLayout

MOST_LAYERS = 512
"""llama.cpp refuses more (LLAMA_MAX_LAYERS in src/llama-hparams.h)."""
LARGEST_WIDTH = 2**24
MOST_EXPERTS_USED = 256
LONGEST_CONTEXT = 2**32


@value_class
class Layer:
    """One block: heads, widths of one head, whether it keeps keys and values itself, slides, or keeps a recurrent state; and the width of
    the keys that its indexer keeps (0: it has none)."""

    heads: int
    kv_heads: int
    key_length: int
    value_length: int
    feed_forward: int
    cached: bool
    sliding: bool
    recurrent: bool
    index_length: int = 0

    @property
    def key_width(self) -> int:
        return self.key_length * self.kv_heads

    @property
    def value_width(self) -> int:
        return self.value_length * self.kv_heads


@value_class
class Geometry:
    """A model's shape. `layers` are those that run; `blocks` counts the ones that only a draft head uses too.

    `head` are the blocks of a draft head (MTP), after those of the model itself. `cache_known` is False for architectures whose cache has
    a layout of its own that is not worked out here. `conv_state` and `inner_state` are elements (f32) a recurrent layer and sequence.
    """

    architecture: str
    embedding: int
    vocabulary: int
    context: int
    blocks: int
    layers: tuple[Layer, ...]
    head: tuple[Layer, ...]
    window: int
    experts: int
    experts_used: int
    compressed: bool
    conv_state: int
    inner_state: int
    causal: bool
    cache_known: bool
    values: Mapping[str, object]
    tensors: Mapping[str, TensorInfo]

    @property
    def encoder(self) -> bool:
        return self.architecture in ENCODERS

    @property
    def flash_attention(self) -> bool:
        """Whether llama.cpp runs this architecture with flash attention where it is asked to."""
        return self.architecture not in WITHOUT_FLASH

    @property
    def slides(self) -> bool:
        return self.window > 0 and any(layer.sliding for layer in self.layers)

    def keeper(self, il: int) -> int:
        """The layer whose cache this one reads: its own, or where layers share (Gemma 3n, 4) the last one that keeps keys of its kind."""
        if il >= len(self.layers) or self.layers[il].cached or not any(layer.cached for layer in self.layers):
            return il
        first_shared = next(at for at, layer in enumerate(self.layers) if not layer.cached)
        return max(0, first_shared - (2 if self.layers[il].sliding else 1))

    def number(self, key: str, default: int | None = None) -> int:
        return _Keys(self.architecture, self.values).number(key, default)

    def width(self, tensor: str, axis: int) -> int | None:
        """Length of one axis of a tensor of the file; None when the file has no such tensor."""
        found = self.tensors.get(tensor)
        return None if found is None else (found.shape[axis] if axis < len(found.shape) else 1)


class _Keys:
    def __init__(self, architecture: str, values: Mapping[str, object]) -> None:
        self.architecture, self.values = architecture, values

    def find(self, key: str) -> object | None:
        return self.values.get(f"{self.architecture}.{key}")

    def number(self, key: str, default: int | None = None) -> int:
        found = self.find(key)
        if found is None and default is not None:
            return default
        if isinstance(found, tuple) and found and all(one == found[0] for one in found):
            found = found[0]
        if isinstance(found, bool) or not isinstance(found, int):
            raise self.unknown(key, found)
        if not 0 <= found < 2**40:
            raise UnknownLayout.of(f"{self.architecture}.{key} is {found}, which no model has", hint="convert the model again")
        return found

    def unknown(self, key: str, found: object) -> GpurecError:
        said = "is missing" if found is None else "is not a number"
        return UnknownLayout.of(f"{self.architecture}.{key} {said}", hint="convert the model again, or say vram: for it")

    def whole(self, key: str, found: tuple[object, ...]) -> tuple[int, ...]:
        """The entries of an array as counts; a fraction, a number that is none, a negative or an absurd one is an UnknownLayout."""
        for one in found:
            if not isinstance(one, int) or not 0 <= one < 2**31:
                raise UnknownLayout.of(f"{self.architecture}.{key} has the entry {one}, which is no count", hint="convert the model again")
        return tuple(int(one) for one in found if isinstance(one, int))

    def each(self, key: str, count: int, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """One number a block, from a number or an array of exactly that many."""
        found = self.find(key)
        if found is None and default is not None:
            return default
        if isinstance(found, tuple):
            if len(found) != count:
                raise UnknownLayout.of(
                    f"{self.architecture}.{key} has {len(found)} entries for {count} blocks", hint="convert the model again"
                )
            return self.whole(key, found)
        return (self.number(key),) * count


def geometry_of(header: Header) -> Geometry:
    """The geometry of a header; UnknownLayout when a needed key is missing or senseless."""
    architecture = header.architecture
    keys = _Keys(architecture, header.values)
    blocks = keys.number("block_count")
    if not 0 < blocks <= MOST_LAYERS:
        raise UnknownLayout.of(f"{architecture}.block_count is {blocks}", hint="convert the model again")
    embedding = _width(keys.number("embedding_length"), "embedding_length")
    trunk = blocks - min(blocks, keys.number("nextn_predict_layers", 0))
    heads = keys.each("attention.head_count", blocks, (0,) * blocks)
    kv_heads = keys.each("attention.head_count_kv", blocks, heads)
    feed_forward = keys.each("feed_forward_length", blocks, (0,) * blocks)
    for one in (*heads, *kv_heads, *feed_forward):
        _width(one, "a head count or feed_forward_length")
    default = embedding // heads[0] if heads[0] else 0
    key, value = keys.number("attention.key_length", default), keys.number("attention.value_length", default)
    if not heads[0] and architecture not in HYBRID:
        key = value = 0
    key_sliding = _width(keys.number("attention.key_length_swa", key), "key_length_swa")
    value_sliding = _width(keys.number("attention.value_length_swa", value), "value_length_swa")
    _width(key, "key_length")
    _width(value, "value_length")
    window, sliding = _window(architecture, keys, blocks, trunk, kv_heads)
    recurrent = _recurrent(architecture, keys, blocks, trunk, kv_heads, feed_forward)
    compressed = bool(keys.number("attention.key_length_mla", 0)) and bool(keys.number("attention.value_length_mla", 0))
    first_shared = _first_shared(architecture, keys, blocks)
    indexes = _indexes(architecture, keys, blocks, trunk)
    layers = tuple(
        Layer(
            heads=heads[il],
            kv_heads=kv_heads[il],
            key_length=key_sliding if sliding[il] else key,
            value_length=value_sliding if sliding[il] else value,
            feed_forward=feed_forward[il],
            cached=_cached(architecture, il, first_shared, recurrent[il], feed_forward[il]),
            sliding=sliding[il],
            recurrent=recurrent[il],
            index_length=indexes[il],
        )
        for il in range(blocks)
    )
    layers, head = (layers[:trunk], layers[trunk:]) if trunk else (layers, ())
    if architecture == "nanbeige":  # all blocks run that many times, each time with a cache of their own
        loops = keys.number("num_loops", 1)
        if not 0 < loops * blocks <= MOST_LAYERS:
            raise UnknownLayout.of(f"{architecture}.num_loops is {loops}", hint="convert the model again")
        layers, blocks = layers * loops, blocks * loops
    conv, inner = _state(architecture, keys, embedding, heads[0]) if any(recurrent) else (0, 0)
    tensors = {tensor.name: tensor for tensor in header.tensors}
    causal = keys.find("attention.causal")
    return Geometry(
        architecture=architecture,
        embedding=embedding,
        vocabulary=_vocabulary(keys, header, tensors),
        context=_context(keys),
        blocks=blocks,
        layers=layers,
        head=head,
        window=window,
        experts=keys.number("expert_count", 0),
        experts_used=_experts_used(keys),
        compressed=compressed,
        conv_state=conv,
        inner_state=inner,
        causal=causal is not False,
        cache_known=architecture in KNOWN_CACHE,
        values=header.values,
        tensors=tensors,
    )


def _width(number: int, name: str) -> int:
    if number > LARGEST_WIDTH:
        raise UnknownLayout.of(f"{name} is {number}, which no model has", hint="convert the model again")
    return number


def _context(keys: _Keys) -> int:
    found = keys.number("context_length")
    if not 0 < found <= LONGEST_CONTEXT:
        raise UnknownLayout.of(f"{keys.architecture}.context_length is {found}, which no model has", hint="say --context")
    return found


def _experts_used(keys: _Keys) -> int:
    found = keys.find("expert_used_count")
    used = max(keys.whole("expert_used_count", found), default=0) if isinstance(found, tuple) else keys.number("expert_used_count", 0)
    if not 0 <= used <= MOST_EXPERTS_USED:
        raise UnknownLayout.of(f"{keys.architecture}.expert_used_count is {used}", hint="convert the model again")
    return used


def _vocabulary(keys: _Keys, header: Header, tensors: Mapping[str, TensorInfo]) -> int:
    for name in ("output.weight", "token_embd.weight"):
        found = tensors.get(name)
        if found is not None and len(found.shape) > 1:
            return found.shape[1]
    return keys.number("vocab_size", header.counts.get("tokenizer.ggml.tokens", 0))


def _window(architecture: str, keys: _Keys, blocks: int, trunk: int, kv_heads: tuple[int, ...]) -> tuple[int, tuple[bool, ...]]:
    """Window in tokens (0: none) and which blocks slide."""
    none = (False,) * blocks
    size = keys.number("attention.sliding_window", 0)
    if architecture in {"lfm2", "lfm2moe"} and size:
        return size, tuple(count > 0 for count in kv_heads)
    known = WINDOWS.get(architecture)
    if known is None:
        return 0, none
    if known.forced:
        found = keys.find("attention.sliding_window")
        size = (known.size or 0) if found != 0 and (found is not None or architecture == "llama4") else 0
    elif not size:
        size = known.size or 0
    if architecture == "exaone4" and trunk != 64:  # the large model only
        return 0, none
    if not size:
        return 0, none
    pattern = keys.find("attention.sliding_window_pattern")
    if isinstance(pattern, tuple):
        if len(pattern) < trunk:
            raise UnknownLayout.of(f"{architecture}.attention.sliding_window_pattern has {len(pattern)} entries for {trunk} blocks")
        return size, tuple(bool(pattern[il]) if il < trunk else False for il in range(blocks))
    if known.explicit:
        raise keys.unknown("attention.sliding_window_pattern", pattern)
    period = keys.number("attention.sliding_window_pattern", known.period)
    full = 0 if known.full_first else period - 1
    return size, tuple(il < trunk and (period == 0 or il % period != full) for il in range(blocks))


def _recurrent(
    architecture: str, keys: _Keys, blocks: int, trunk: int, kv_heads: tuple[int, ...], feed_forward: tuple[int, ...]
) -> tuple[bool, ...]:
    if architecture in RECURRENT or architecture == "falcon-h1":
        return (True,) * blocks
    if architecture not in HYBRID:
        return (False,) * blocks
    if architecture in INTERVAL:
        listed = keys.find("attention.recurrent_layers")
        if isinstance(listed, tuple) and len(listed) == blocks:
            return tuple(bool(one) for one in listed)
        interval = keys.number("full_attention_interval", 8 if architecture == "minimax-01" else 4)
        return tuple(il < trunk and (il + 1) % max(1, interval) != 0 for il in range(blocks))
    if architecture.startswith("nemotron_h"):
        return tuple(il < trunk and kv_heads[il] == 0 and feed_forward[il] == 0 for il in range(blocks))
    return tuple(il < trunk and kv_heads[il] == 0 for il in range(blocks))


def _first_shared(architecture: str, keys: _Keys, blocks: int) -> int:
    """The first block that reads another's keys and values and holds none (gemma3n, gemma4)."""
    if architecture == "gemma3n":
        return 20
    if architecture == "gemma4":
        return blocks - min(blocks, keys.number("attention.shared_kv_layers", 0))
    return blocks


def _indexes(architecture: str, keys: _Keys, blocks: int, trunk: int) -> tuple[int, ...]:
    """Width of the indexer's keys of each block; 0 where it has none or takes the choice of one before."""
    if architecture not in INDEXED:
        return (0,) * blocks
    length = _width(keys.number("attention.indexer.key_length"), "attention.indexer.key_length")
    listed = keys.find("attention.indexer.types") if architecture == "glm-dsa" else None
    if isinstance(listed, tuple):
        return tuple(length if il < min(trunk, len(listed)) and listed[il] else 0 for il in range(blocks))
    if architecture == "glm-dsa" and (listed is not None or keys.number("context_length") >= 2**20):
        raise keys.unknown("attention.indexer.types", listed)
    return (length,) * blocks


def _cached(architecture: str, il: int, first_shared: int, recurrent: bool, feed_forward: int) -> bool:
    if architecture in RECURRENT or architecture in ENCODERS or il >= first_shared:
        return False
    if architecture == "falcon-h1":
        return True
    if architecture.startswith("nemotron_h"):
        return not recurrent and feed_forward == 0
    return not recurrent


def _state(architecture: str, keys: _Keys, embedding: int, heads: int) -> tuple[int, int]:
    """Elements of the convolution's and the inner state of one recurrent layer and sequence."""
    head = keys.number("wkv.head_size", 0)
    if head:
        return keys.number("token_shift_count", 2) * embedding, embedding * head
    short = keys.number("shortconv.l_cache", 0)
    if short:
        return embedding * (short - 1), 0
    kernel = keys.number("ssm.conv_kernel", 0)
    kda = keys.number("kda.head_dim", 0)
    if kda:
        return 3 * (kernel - 1 if kernel else 3) * heads * kda, kda * kda * heads
    if architecture == "minimax-01":
        linear = keys.number("attention.key_length", embedding // heads if heads else 0)
        return 0, linear * linear * heads
    inner, state = keys.number("ssm.inner_size"), keys.number("ssm.state_size")
    conv = (kernel - 1 if kernel else 0) * (inner + 2 * keys.number("ssm.group_count", 0) * state)
    return conv, state * inner
