"""The types that a quantisation gives to the tensors of a file, as llama-quantize mixes them.

Source: `llama_tensor_get_type` in llama.cpp's `src/llama-quant.cpp`, b11434, without an importance matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from reconciler.value_class import value_class
from reconciler.vram.tensors import F16, F32, TENSOR_TYPES, TensorType

_TYPES = {kind.name: kind for kind in TENSOR_TYPES.values()}


class Quantisation(StrEnum):
    """What a name's `q4_K_M` and the like stand for."""

    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"
    Q6_K = "q6_k"
    Q4_K_M = "q4_k_m"
    Q4_0 = "q4_0"


UNCERTAIN_PERCENT: Mapping[Quantisation, int] = MappingProxyType(
    {
        Quantisation.F16: 1, Quantisation.BF16: 1, Quantisation.Q8_0: 2, Quantisation.Q6_K: 2,
        Quantisation.Q4_K_M: 8, Quantisation.Q4_0: 8,
    }
)  # fmt: skip
"""How far the weights may be off to both sides, where only the name says how a file was quantised. Among four bits the mixes differ, and
registries have exchanged one for the other under the same name: Llama 3.1 8B takes 4156 MiB of a card as Q4_0 and 4403 as Q4_K_M."""
_NARROW = {"q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0"}
_PLAIN = frozenset({Quantisation.F16, Quantisation.BF16})


@value_class
class Mixed:
    """What the mix depends on besides the tensor: the model's layers, heads, experts, and whether its embedding is its output too."""

    layers: int
    heads: int
    kv_heads: int
    experts: int
    tied: bool


def tensor_type(quantisation: Quantisation, name: str, shape: tuple[int, ...], of: Mixed) -> TensorType:
    """The type of one tensor of a file of that quantisation."""
    if len(shape) < 2 or "norm" in name or "gate_inp" in name or not name.endswith(".weight"):
        return F32
    if quantisation in _PLAIN:
        return _TYPES[quantisation.value]
    return _whole_blocks(_mixed(quantisation, name, of), shape[0])


def _mixed(quantisation: Quantisation, name: str, of: Mixed) -> str:
    base = "q4_k" if quantisation is Quantisation.Q4_K_M else quantisation.value
    if name == "output.weight" or (of.tied and name == "token_embd.weight"):
        return base if base == "q8_0" else "q6_k"
    if of.experts == 8 and ("attn_v." in name or "attn_k." in name):
        return "q8_0"
    if quantisation is not Quantisation.Q4_K_M or not name.startswith("blk."):
        return base
    block = int(name.split(".")[1])
    eighth = of.layers // 8
    more = block < eighth or block >= 7 * of.layers // 8 or (block - eighth) % 3 == 2
    if more and ("attn_v." in name or "ffn_down" in name):
        return "q6_k"
    if "attn_v." in name and (of.layers, of.heads, of.kv_heads) == (80, 64, 8):
        return "q5_k"
    return base


def _whole_blocks(kind: str, row: int) -> TensorType:
    """The type, or what takes its place for rows that are no whole number of its blocks."""
    if row % _TYPES[kind].block:
        kind = _NARROW.get(kind, kind)
    return _TYPES[kind] if row % _TYPES[kind].block == 0 else F16
