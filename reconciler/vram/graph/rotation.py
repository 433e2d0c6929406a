"""The rotation that llama.cpp applies to keys and values before it quantises them, and always to the keys of an indexer.

Source: the constructor of `llama_kv_cache` in `src/llama-kv-cache.cpp` of llama.cpp b11434.
"""

from __future__ import annotations

from reconciler.vram.tensors import TensorType

SMALLEST = 64


def rotation_width(length: int, *, grow: bool) -> int:
    """Width of the square matrix for heads of `length`: 64, or where it may `grow` the largest power of two that divides them."""
    size = SMALLEST
    while grow and length and length % (2 * size) == 0:
        size *= 2
    return size


def cache_rotation(kind: TensorType, lengths: set[int], *, grow: bool) -> int:
    """The same for a cache of this type whose layers have heads of these lengths; 0 where it is not rotated."""
    if not kind.quantised or len(lengths) != 1:
        return 0
    length = next(iter(lengths))
    return 0 if not length or length % SMALLEST else rotation_width(length, grow=grow)
