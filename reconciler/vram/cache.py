"""Bytes of the KV cache and of the recurrent state, layer by layer. Exact for llama.cpp.

Sources: `src/llama-kv-cache.cpp`, `llama-kv-cache-iswa.cpp`, `llama-memory-recurrent.cpp`.
"""

from __future__ import annotations

from reconciler.vram.builds import states_kept
from reconciler.vram.geometry import Geometry, Layer
from reconciler.vram.settings import RunSettings, padded
from reconciler.vram.tensors import F32, UnknownLayout


def ubatch_of(geometry: Geometry, settings: RunSettings) -> int:
    """Tokens of one pass: a causal model's batch is no longer than its context (before it is padded)."""
    batch = min(2048, settings.requested) if geometry.causal else 2048
    return min(batch, settings.ubatch)


def layer_cells(geometry: Geometry, settings: RunSettings, layer: Layer) -> int:
    """Cells of one stream in this layer: the whole context, or the window and one batch."""
    if not (layer.sliding and geometry.window):
        return settings.cells
    sequences = settings.slots if settings.one_stream else 1
    return padded(min(settings.cells, geometry.window * sequences + ubatch_of(geometry, settings)))


def kv_bytes(geometry: Geometry, settings: RunSettings) -> tuple[int, ...]:
    """Bytes of keys and values by layer, then by block of a head that drafts; 0 for a layer that keeps none."""
    if geometry.encoder:
        return (0,) * len(geometry.layers)
    kept = [_layer_bytes(geometry, settings, layer) if layer.cached else 0 for layer in geometry.layers]
    if settings.drafted:
        kept += [_layer_bytes(geometry, settings.of_head, layer) for layer in geometry.head]
    return tuple(kept)


def _layer_bytes(geometry: Geometry, settings: RunSettings, layer: Layer) -> int:
    for kind, length in ((settings.key_type, layer.key_length), (settings.value_type, layer.value_length)):
        if length % kind.block:
            raise UnknownLayout.of(
                f"llama.cpp refuses a {kind.name} cache for heads of {length}", hint="use f16, or a type whose blocks fit"
            )
    cells = layer_cells(geometry, settings, layer) * settings.streams
    keys = settings.key_type.row_bytes(layer.key_width)
    if geometry.compressed:
        return cells * (keys + settings.key_type.row_bytes(layer.index_length))
    return cells * (keys + settings.value_type.row_bytes(_value_width(geometry, settings, layer)))


def _value_width(geometry: Geometry, settings: RunSettings, layer: Layer) -> int:
    """Without flash attention values lie transposed; where layers differ, all take the widest."""
    if settings.flash_attention:
        return layer.value_width
    widths = {one.value_width for one in geometry.layers}
    return max(widths) if len(widths) > 1 else layer.value_width


def state_bytes(geometry: Geometry, settings: RunSettings) -> tuple[int, ...]:
    """Bytes of recurrent state by layer, for all sequences."""
    states = settings.slots * states_kept(geometry.architecture, settings.build, settings.drafted)
    one = (geometry.conv_state + geometry.inner_state) * F32.bytes * states
    return tuple(one if layer.recurrent else 0 for layer in geometry.layers)
