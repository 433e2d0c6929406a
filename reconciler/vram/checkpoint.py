"""The shape of a Hugging Face checkpoint from its `config.json`: what its weights and its cache are made of.

Sources: the parameter tables of `transformers` (`models/NAME/modeling_NAME.py`) for the types in PARAMETERS; for the others only the size
of the files tells the weights. A type whose cache is not listed has none that is known. Nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reconciler.value_class import value_class
from reconciler.vram.tensors import UnknownLayout

LARGEST = 2**32
MOST_LAYERS = 1024
_DENSE = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "granite"})
_MIXTURE = frozenset({"mixtral", "qwen2_moe", "qwen3_moe"})
PARAMETERS = _DENSE | _MIXTURE
"""Types whose parameters are counted here from the config alone."""
LATENT = frozenset({"deepseek_v2", "deepseek_v3"})
"""Types with compressed latent attention: one row of keys a token, not split over cards."""
CACHED = PARAMETERS | LATENT
_TYPES = {"float32": 4, "bfloat16": 2, "float16": 2}
_SERVED = {"float32": 2, "bfloat16": 2, "float16": 2}
"""vLLM's `--dtype auto` runs a float32 checkpoint in 16 bits (vllm/config/model.py)."""


@value_class
class Checkpoint:
    """Numbers of one checkpoint. `windows` has each layer's sliding window in tokens (None: full attention). `latent` is the width of a
    compressed row, 0 elsewhere. `parameters` None: not counted. `stored` and `served` are bytes of an unquantised element."""

    kind: str
    layers: int
    embedding: int
    heads: int
    kv_heads: int
    head_width: int
    feed_forward: int
    vocabulary: int
    context: int
    windows: tuple[int | None, ...]
    latent: int
    parameters: int | None
    stored: int
    served: int
    quantised: bool
    cache_known: bool


class _Config:
    def __init__(self, values: Mapping[str, object]) -> None:
        self.values = values

    def number(self, *names: str, default: int | None = None, least: int = 0) -> int:
        for name in names:
            found = self.values.get(name)
            if found is None:
                continue
            if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= LARGEST:
                raise UnknownLayout.of(f"{name} is {str(found)[:40]!r}, no count that a model can have")
            return found
        if default is None:
            raise UnknownLayout.of(f"the config has no {names[0]}", hint="give the config.json of a language model")
        return default

    def flag(self, name: str, default: bool = False) -> bool:
        found = self.values.get(name)
        return found if isinstance(found, bool) else default


def checkpoint_of(config: Mapping[str, object]) -> Checkpoint:
    """The shape that a `config.json` describes; of one for text and images, its text part. UnknownLayout says which key is wrong."""
    inner = config.get("text_config")
    text = {**config, **inner} if isinstance(inner, Mapping) else config
    keys = _Config(text)
    kind = text.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise UnknownLayout.of("the config has no model_type", hint="give the config.json of a language model")
    layers = keys.number("num_hidden_layers", least=1)
    if layers > MOST_LAYERS:
        raise UnknownLayout.of(f"num_hidden_layers is {layers}; {MOST_LAYERS} is the most")
    embedding, heads = keys.number("hidden_size", least=1), keys.number("num_attention_heads", least=1)
    latent = keys.number("kv_lora_rank") + keys.number("qk_rope_head_dim") if kind in LATENT else 0
    stored = text.get("dtype") or text.get("torch_dtype") or "float32"
    element = _TYPES.get(stored) if isinstance(stored, str) else None
    if element is None or not isinstance(stored, str):
        raise UnknownLayout.of(f"the dtype {str(stored)[:40]!r} is not known", hint=f"known are {', '.join(_TYPES)}")
    found = Checkpoint(
        kind=kind,
        layers=layers,
        embedding=embedding,
        heads=heads,
        kv_heads=keys.number("num_key_value_heads", default=heads, least=1),
        head_width=keys.number("head_dim", default=embedding // heads, least=1),
        feed_forward=keys.number("intermediate_size", default=0),
        vocabulary=keys.number("vocab_size", least=1),
        context=keys.number("max_position_embeddings", default=2048, least=1),
        windows=_windows(kind, keys, layers),
        latent=latent,
        parameters=None,
        stored=element,
        served=_SERVED[stored],
        quantised=text.get("quantization_config") is not None or config.get("quantization_config") is not None,
        cache_known=kind in CACHED,
    )
    counted = _parameters(found, keys) if kind in PARAMETERS and inner is None else None
    return replace(found, parameters=counted)


def _windows(kind: str, keys: _Config, layers: int) -> tuple[int | None, ...]:
    window = keys.number("sliding_window", default=0) or None
    if window is None or (kind.startswith("qwen") and not keys.flag("use_sliding_window")):
        return (None,) * layers
    listed = keys.values.get("layer_types")
    if isinstance(listed, list) and len(listed) == layers:
        return tuple(window if one == "sliding_attention" else None for one in listed)
    if kind == "gemma2":
        return tuple(window if il % 2 == 0 else None for il in range(layers))
    if kind.startswith("gemma3"):
        period = keys.number("sliding_window_pattern", default=6, least=1)
        return tuple(None if (il + 1) % period == 0 else window for il in range(layers))
    if kind.startswith("qwen"):
        since = keys.number("max_window_layers", default=layers)
        return tuple(window if il >= since else None for il in range(layers))
    return (window,) * layers


def _parameters(of: Checkpoint, keys: _Config) -> int:
    """Elements of all tensors."""
    wide, narrow = of.heads * of.head_width, of.kv_heads * of.head_width
    embedding = of.embedding
    attention = embedding * (wide + 2 * narrow) + wide * embedding
    if of.kind in {"qwen2", "qwen2_moe"}:
        attention += wide + 2 * narrow
    elif keys.flag("attention_bias"):
        attention += wide + 2 * narrow + embedding
    norms = 2 * embedding
    if of.kind in {"gemma2", "gemma3_text"}:
        norms = 4 * embedding
    if of.kind in {"qwen3", "qwen3_moe", "gemma3_text"}:
        norms += 2 * of.head_width
    gated = 3 * embedding * of.feed_forward + (2 * of.feed_forward + embedding if keys.flag("mlp_bias") else 0)
    if of.kind in _MIXTURE:
        experts = keys.number("num_local_experts", "num_experts", least=1)
        width = of.feed_forward if of.kind == "mixtral" else keys.number("moe_intermediate_size", least=1)
        mixture = embedding * experts + 3 * embedding * width * experts
        if of.kind == "qwen2_moe":
            mixture += 3 * embedding * keys.number("shared_expert_intermediate_size", least=1) + embedding
        step = keys.number("decoder_sparse_step", default=1, least=1)
        only = keys.values.get("mlp_only_layers")
        dense = {il for il in only if isinstance(il, int)} if isinstance(only, list) else set()
        sparse = sum(1 for il in range(of.layers) if il not in dense and (il + 1) % step == 0)
    else:
        mixture, sparse = 0, 0
    tied = keys.flag("tie_word_embeddings", default=of.kind.startswith("gemma"))
    outer = of.vocabulary * embedding * (1 if tied else 2) + embedding
    return outer + of.layers * (attention + norms) + sparse * mixture + (of.layers - sparse) * gated
