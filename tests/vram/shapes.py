"""Models with true shapes and no weights: the keys and the tensor table of a GGUF file, written sparse.

The quantisation follows llama-quantize's Q4_K_M: output, part of the values and of the down projections in Q6_K, the rest in Q4_K,
norms and routers in f32. A row that is no whole number of 256 falls back to Q5_0 or Q8_0, as there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.vram import TENSOR_TYPES

NUMBERS = {kind.name: kind for kind in TENSOR_TYPES.values()}
Value = int | float | bool | str | Sequence[int] | Sequence[bool] | Sequence[float] | Sequence[str]


@dataclass
class Model:
    """Keys (without the architecture in front) and tensors (name → shape and, where it is not left to the quantisation, its type)."""

    arch: str
    keys: dict[str, Value]
    tensors: dict[str, tuple[tuple[int, ...], str | None]] = field(default_factory=dict)
    quant: str = "q4_k_m"
    vocab: int = 0

    def put(self, name: str, *shape: int, kind: str | None = None) -> None:
        self.tensors[name] = (shape, kind)

    def typed(self) -> Iterator[tuple[str, tuple[int, ...], str]]:
        layers = int(self.keys["block_count"])  # type: ignore[call-overload]
        experts = int(self.keys.get("expert_count", 0))  # type: ignore[call-overload]
        tied = "output.weight" not in self.tensors
        for name, (shape, kind) in self.tensors.items():
            if kind is None:
                kind = self._kind(name, shape, layers, experts, tied)
            yield name, shape, kind

    def _kind(self, name: str, shape: tuple[int, ...], layers: int, experts: int, tied: bool) -> str:
        if (
            len(shape) < 2
            or "norm" in name
            or "gate_inp" in name
            or not name.endswith(".weight")
            or name.startswith(("position_", "token_types"))
        ):
            return "f32"
        if any(part in name for part in ("ssm_conv1d", "ssm_a", "ssm_d", "shortconv.conv", "time_mix", "altup", "laurel", "lerp")):
            return "f32"
        if self.quant != "q4_k_m":
            return self.quant if shape[0] % NUMBERS[self.quant].block == 0 else "f16"
        kind = "q4_k"
        if name == "output.weight" or (tied and name == "token_embd.weight"):
            kind = "q6_k"
        elif name.startswith("blk."):
            il = int(name.split(".")[1])
            more = il < layers // 8 or il >= 7 * layers // 8 or (il - layers // 8) % 3 == 2
            if "attn_v." in name:
                kind = "q6_k" if more else "q4_k"
                heads, shared = self.keys.get("attention.head_count"), self.keys.get("attention.head_count_kv")
                if layers == 80 and heads == 64 and shared == 8 and kind == "q4_k":
                    kind = "q5_k"
                if experts == 8:
                    kind = "q8_0"
            elif "attn_k." in name and experts == 8:
                kind = "q8_0"
            elif "attn_qkv." in name:
                kind = "q5_k"
            elif "ffn_down" in name and more:
                kind = "q6_k"
        if shape[0] % 256:
            kind = {"q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0"}[kind]
            if shape[0] % 32:
                kind = "f16"
        return kind


def write(path: Path, model: Model) -> Path:
    """The model as a GGUF file whose tensor data is one hole."""
    keys: dict[str, Value] = {"general.architecture": model.arch, "general.name": path.stem}
    keys |= {
        f"{model.arch}.{key}" if not key.startswith(("tokenizer.", "general.", "xielu.")) else key: value
        for key, value in model.keys.items()
    }
    if model.vocab:
        keys |= {f"{model.arch}.vocab_size": model.vocab, "tokenizer.ggml.model": "no_vocab"}
    tensors = list(model.typed())
    head = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)))
    for key, value in keys.items():
        head += _text(key) + _value(value)
    offset = 0
    for name, shape, kind in tensors:
        info = NUMBERS[kind]
        head += (
            _text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", info.number, offset)
        )
        size = shape[0] // info.block * info.bytes
        for length in shape[1:]:
            size *= length
        offset += -(-size // 32) * 32
    start = -(-len(head) // 32) * 32
    with path.open("wb") as file:
        file.write(head)
        file.truncate(start + offset)
    return path


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Value) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    items = list(value)
    if isinstance(items[0], bool):
        return struct.pack("<IIQ", 9, 7, len(items)) + bytes(items)
    if isinstance(items[0], str):
        return struct.pack("<IIQ", 9, 8, len(items)) + b"".join(map(_text, items))
    if isinstance(items[0], float):
        return struct.pack("<IIQ", 9, 6, len(items)) + struct.pack(f"<{len(items)}f", *items)
    return struct.pack("<IIQ", 9, 5, len(items)) + struct.pack(f"<{len(items)}i", *items)


def keys_of(
    *, layers: int, embedding: int, heads: int, kv_heads: int, ff: int, context: int = 131072, head: int = 0, rope: int = 0, **more: Value
) -> dict[str, Value]:
    """The keys that every transformer has. `head`: width of one head where it is not embedding / heads."""
    keys: dict[str, Value] = {
        "context_length": context,
        "embedding_length": embedding,
        "block_count": layers,
        "feed_forward_length": ff,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": rope or head or embedding // heads,
    }
    if head:
        keys |= {"attention.key_length": head, "attention.value_length": head}
    return keys | {name.replace("__", "."): value for name, value in more.items()}


def transformer(
    arch: str,
    keys: dict[str, Value],
    vocab: int,
    *,
    tied: bool = False,
    norms: Sequence[str] = ("attn_norm", "ffn_norm"),
    head_norms: bool = False,
    bias: Sequence[str] = (),
    norm_bias: bool = False,
    gate: bool = True,
    fused: bool = False,
    experts: Mapping[str, int] | None = None,
    dense_first: int = 0,
    output_norm: bool = True,
    quant: str = "q4_k_m",
) -> Model:
    """The tensors of a plain transformer. `bias` names the parts that have one; `experts` has `count`, `width` and maybe `shared`."""
    model = Model(arch, keys, quant=quant, vocab=vocab)
    width, layers = _int(keys, "embedding_length"), _int(keys, "block_count")
    heads, shared = _int(keys, "attention.head_count"), _int(keys, "attention.head_count_kv")
    key = _int(keys, "attention.key_length", width // heads)
    value = _int(keys, "attention.value_length", width // heads)
    ff = _int(keys, "feed_forward_length")
    model.put("token_embd.weight", width, vocab)
    if output_norm:
        model.put("output_norm.weight", width)
        if norm_bias:
            model.put("output_norm.bias", width)
    if not tied:
        model.put("output.weight", width, vocab)
        if "output" in bias:
            model.put("output.bias", vocab)
    for il in range(layers):
        for name in norms:
            model.put(f"blk.{il}.{name}.weight", width)
            if norm_bias:
                model.put(f"blk.{il}.{name}.bias", width)
        parts = {"attn_qkv": (width, key * heads + key * shared + value * shared)} if fused else {
            "attn_q": (width, key * heads), "attn_k": (width, key * shared), "attn_v": (width, value * shared)
        }  # fmt: skip
        parts["attn_output"] = (value * heads, width)
        if experts is None or il < dense_first:
            parts |= {"ffn_up": (width, ff), "ffn_down": (ff, width)} | ({"ffn_gate": (width, ff)} if gate else {})
        else:
            count, inner = experts["count"], experts["width"]
            model.put(f"blk.{il}.ffn_gate_inp.weight", width, count)
            for name, one in (("ffn_up_exps", (width, inner)), ("ffn_gate_exps", (width, inner)), ("ffn_down_exps", (inner, width))):
                model.put(f"blk.{il}.{name}.weight", *one, count)
                if "experts" in bias:
                    model.put(f"blk.{il}.{name}.bias", one[1], count)
            if "experts" in bias:
                model.put(f"blk.{il}.ffn_gate_inp.bias", count)
            if experts.get("shared"):
                both = experts["shared"]
                parts |= {"ffn_up_shexp": (width, both), "ffn_gate_shexp": (width, both), "ffn_down_shexp": (both, width)}
        for name, one in parts.items():
            model.put(f"blk.{il}.{name}.weight", *one)
            if name in bias:
                model.put(f"blk.{il}.{name}.bias", one[1])
        if head_norms:
            model.put(f"blk.{il}.attn_q_norm.weight", key)
            model.put(f"blk.{il}.attn_k_norm.weight", key)
    return model


def _int(keys: Mapping[str, Value], name: str, default: int = 0) -> int:
    found = keys.get(name, default)
    assert isinstance(found, int)
    return found
