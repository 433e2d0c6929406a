"""Tensor types of GGUF files and the bytes of a tensor, from the block sizes of the format (ggml's type table)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from reconciler.fleet import GpurecError
from reconciler.value_class import value_class


class UnknownLayout(GpurecError):
    """The file uses something whose bytes nobody here knows: a tensor type, a missing or senseless key. Never guessed."""


@value_class
class TensorType:
    """One ggml type: `block` elements are stored in `bytes` bytes, and a row is a whole number of blocks."""

    number: int
    name: str
    block: int
    bytes: int

    @property
    def quantised(self) -> bool:
        return self.block > 1

    def row_bytes(self, elements: int) -> int:
        """Bytes of one row. A row that is not a whole number of blocks is an UnknownLayout."""
        if elements % self.block:
            raise UnknownLayout.of(
                f"a row of {elements} elements is no whole number of {self.name} blocks of {self.block}", hint="use f16 or another type"
            )
        return elements // self.block * self.bytes


_TABLE = (
    (0, "f32", 1, 4), (1, "f16", 1, 2), (2, "q4_0", 32, 18), (3, "q4_1", 32, 20), (6, "q5_0", 32, 22), (7, "q5_1", 32, 24),
    (8, "q8_0", 32, 34), (9, "q8_1", 32, 36), (10, "q2_k", 256, 84), (11, "q3_k", 256, 110), (12, "q4_k", 256, 144),
    (13, "q5_k", 256, 176), (14, "q6_k", 256, 210), (15, "q8_k", 256, 292), (16, "iq2_xxs", 256, 66), (17, "iq2_xs", 256, 74),
    (18, "iq3_xxs", 256, 98), (19, "iq1_s", 256, 50), (20, "iq4_nl", 32, 18), (21, "iq3_s", 256, 110), (22, "iq2_s", 256, 82),
    (23, "iq4_xs", 256, 136), (24, "i8", 1, 1), (25, "i16", 1, 2), (26, "i32", 1, 4), (27, "i64", 1, 8), (28, "f64", 1, 8),
    (29, "iq1_m", 256, 56), (30, "bf16", 1, 2), (34, "tq1_0", 256, 54), (35, "tq2_0", 256, 66), (39, "mxfp4", 32, 17),
    (40, "nvfp4", 64, 36), (41, "q1_0", 128, 18), (42, "q2_0", 64, 18),
)  # fmt: skip

TENSOR_TYPES: Mapping[int, TensorType] = MappingProxyType({row[0]: TensorType(*row) for row in _TABLE})
"""Every type of the format by its number in a file."""

CACHE_TYPES: Mapping[str, TensorType] = MappingProxyType(
    {
        kind.name: kind
        for kind in TENSOR_TYPES.values()
        if kind.name in {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"}
    }
)
"""What llama.cpp's `--cache-type-k` and `-v` take."""

F32, F16, I32, I64 = TENSOR_TYPES[0], TENSOR_TYPES[1], TENSOR_TYPES[26], TENSOR_TYPES[27]


@value_class
class TensorInfo:
    """One row of a file's tensor table; `shape` has the row length first, as in the file."""

    name: str
    shape: tuple[int, ...]
    type: TensorType

    @property
    def bytes(self) -> int:
        count = self.type.row_bytes(self.shape[0])
        for length in self.shape[1:]:
            count *= length
        return count


Scalar = int | float | bool | str


@value_class
class Header:
    """What a GGUF file says about a model, without its weights.

    `values` has scalars and short arrays of numbers by key; an array that is not kept (a vocabulary) is only in `counts`, by its length.
    """

    values: Mapping[str, Scalar | tuple[int | float | bool, ...]]
    counts: Mapping[str, int]
    tensors: tuple[TensorInfo, ...]

    @property
    def architecture(self) -> str:
        found = self.values.get("general.architecture")
        if not isinstance(found, str) or not found:
            raise UnknownLayout.of("the file does not say its architecture (general.architecture)", hint="convert the model again")
        return found
