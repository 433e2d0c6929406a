"""The graphs of T5 of llama.cpp b11434. A server reserves the decoder's, with as many tokens of the encoder as it was trained for.

Source: `src/models/t5.cpp`; `build_pos_bias` in `src/llama-graph.cpp`. Positions are a bias on the scores, so self-attention runs without
flash attention whatever is asked.
"""

from __future__ import annotations

from reconciler.vram.geometry import Geometry, Layer
from reconciler.vram.graph.encoders import masks
from reconciler.vram.graph.model import ModelGraph
from reconciler.vram.graph.tensor import Graph, Tensor, UnknownGraph
from reconciler.vram.settings import RunSettings


def t5_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """T5's decoder, which is what the buffers are reserved for."""
    if settings.streams > 1 or geometry.number("decoder_block_count", geometry.blocks) != geometry.blocks:
        raise UnknownGraph("T5 with several streams, or with stacks of different heights")
    made = ModelGraph(geometry, settings)
    graph = made.graph
    current = made.embedded()
    trained = geometry.context
    encoded = graph.input("f32", made.width, trained)
    inputs = made.cache_inputs()[False]
    buckets = graph.input("i32", inputs.cells, made.tokens)
    cross_mask = graph.input("f16" if settings.flash_attention else "f32", trained, made.tokens)
    wanted = made.output_rows()
    for il, layer in enumerate(geometry.layers):
        name = f"dec.blk.{il}."
        residual = current
        query, keys, values = _projections(made, f"{name}attn", made.norm(current, f"{name}attn_norm"), layer)
        bias = _bias(made, _own_or_first(made, "dec", il), buckets)
        current = made.attend(il, layer, inputs, query, keys, values, bias=bias, output=None)
        crossed = made.add(graph.mul_mat(made.need(f"{name}attn_o.weight"), current), residual)
        normed = made.norm(crossed, f"{name}cross_attn_norm")
        query = _heads(made, f"{name}cross_attn_q", normed, layer.heads, layer.key_length)
        keys = _heads(made, f"{name}cross_attn_k", encoded, layer.kv_heads, layer.key_length)
        values = _heads(made, f"{name}cross_attn_v", encoded, layer.kv_heads, layer.value_length)
        for one in (query, keys, values):
            graph.expand(one)
        current = made.mix(query, keys, values, cross_mask, transposed=False)
        current = graph.mul_mat(made.need(f"{name}cross_attn_o.weight"), current)
        if il == len(geometry.layers) - 1:
            current, crossed = graph.get_rows(current, wanted), graph.get_rows(crossed, wanted)
        between = made.add(current, crossed)
        current = made.add(_feed(made, name, made.norm(between, f"{name}ffn_norm")), between)
    return made.finish(current, named="dec.output_norm")


def t5_encoder_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """T5's encoder alone."""
    made = ModelGraph(geometry, settings)
    graph = made.graph
    current = made.embedded()
    buckets = graph.input("i32", made.tokens, made.tokens)
    mask = masks(made)[False]
    wanted = made.output_rows()
    for il, layer in enumerate(geometry.layers):
        name = f"enc.blk.{il}."
        residual = current
        query, keys, values = _projections(made, f"{name}attn", made.norm(current, f"{name}attn_norm"), layer)
        bias = _bias(made, _own_or_first(made, "enc", il), buckets)
        for one in (query, keys, values):
            graph.expand(one)
        current = made.mix(query, keys, values, mask, transposed=False, bias=bias)
        current = graph.mul_mat(made.need(f"{name}attn_o.weight"), current)
        if il == len(geometry.layers) - 1:
            current, residual = graph.get_rows(current, wanted), graph.get_rows(residual, wanted)
        between = made.add(current, residual)
        current = made.add(_feed(made, name, made.norm(between, f"{name}ffn_norm")), between)
    current = made.norm(current, "enc.output_norm")
    current.output = True
    graph.expand(current)
    return graph


def _heads(made: ModelGraph, name: str, current: Tensor, heads: int, length: int) -> Tensor:
    rows = made.graph.mul_mat(made.need(f"{name}.weight"), current)
    return made.graph.reshape(rows, length, heads, current.ne[1])


def _projections(made: ModelGraph, name: str, current: Tensor, layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
    return (
        _heads(made, f"{name}_q", current, layer.heads, layer.key_length),
        _heads(made, f"{name}_k", current, layer.kv_heads, layer.key_length),
        _heads(made, f"{name}_v", current, layer.kv_heads, layer.value_length),
    )


def _own_or_first(made: ModelGraph, side: str, il: int) -> Tensor:
    return made.weight(f"{side}.blk.{il}.attn_rel_b.weight") or made.need(f"{side}.blk.0.attn_rel_b.weight")


def _bias(made: ModelGraph, table: Tensor, buckets: Tensor) -> Tensor:
    graph = made.graph
    rows = graph.get_rows(table, graph.reshape(buckets, buckets.ne[0] * buckets.ne[1]))
    rows = graph.reshape(rows, rows.ne[0], buckets.ne[0], buckets.ne[1])
    return graph.cont(graph.permute(rows, 2, 0, 1, 3))


def _feed(made: ModelGraph, name: str, current: Tensor) -> Tensor:
    graph = made.graph
    up = graph.mul_mat(made.need(f"{name}ffn_up.weight"), current)
    gate = made.weight(f"{name}ffn_gate.weight")
    inner = graph.like("unary", up) if gate is None else graph.glu(graph.mul_mat(gate, current), up)
    return graph.mul_mat(made.need(f"{name}ffn_down.weight"), inner)
