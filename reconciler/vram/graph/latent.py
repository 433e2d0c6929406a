"""The graphs of models with latent attention (MLA) of llama.cpp b11434: DeepSeek 2 and 3 with and without absorption, MiniCPM 3.

Sources: `src/models/deepseek2.cpp`, `src/models/minicpm3.cpp`.
"""

from __future__ import annotations

from reconciler.vram.geometry import Geometry, Layer
from reconciler.vram.graph.decoders import gating, shares
from reconciler.vram.graph.feed import feed_forward, mixture
from reconciler.vram.graph.model import Inputs, ModelGraph
from reconciler.vram.graph.tensor import Graph, Tensor
from reconciler.vram.settings import RunSettings


def deepseek2_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """DeepSeek 2 and 3 and what shares their graph. Compressed caches hold one latent row a token; older files unfold it to heads."""
    made = ModelGraph(geometry, settings)
    graph = made.graph
    current = made.embedded()
    attention_scale = graph.input("f32", 1, 1, made.tokens) if made.says("attention.temperature_scale") else None
    positions = made.positions()
    inputs = made.cache_inputs()[False]
    wanted = made.output_rows()
    for il, layer in enumerate(geometry.layers):
        residual = current
        current = made.norm(current, f"blk.{il}.attn_norm")
        current = latent_attention(made, il, layer, current, positions, inputs, attention_scale, compressed=geometry.compressed)
        if il == len(geometry.layers) - 1:
            current, residual = graph.get_rows(current, wanted), graph.get_rows(residual, wanted)
        between = made.add(current, residual)
        current = made.norm(between, f"blk.{il}.ffn_norm")
        if il < geometry.number("leading_dense_block_count", 0):
            current = feed_forward(made, il, current)
        else:
            out = mixture(made, il, current, normed=shares(made, "file"), scaled=made.scales_experts(), gating=_gating(made))
            current = made.add(out, feed_forward(made, il, current, parts="_shexp"))
        current = made.add(current, between)
    return made.finish(current)


def _gating(made: ModelGraph) -> str:
    geometry = made.geometry
    if geometry.number("expert_gating_func", 0) == 0 and len(geometry.layers) in {47, 48} and geometry.vocabulary == 154880:
        return "sigmoid"
    return gating(made, "file")


def latent_attention(
    made: ModelGraph,
    il: int,
    layer: Layer,
    current: Tensor,
    positions: Tensor,
    inputs: Inputs,
    attention_scale: Tensor | None,
    *,
    compressed: bool,
    rotate: bool = True,
    output: bool = True,
) -> Tensor:
    """Latent attention. Without `rotate` nothing is rotated (Kimi); without `output` the last matrix is left to the caller."""
    geometry, graph, tokens, heads = made.geometry, made.graph, made.tokens, layer.heads
    key = geometry.number("attention.key_length_mla", 0) if compressed else layer.key_length
    value = layer.value_length
    rank, rotated = geometry.number("attention.kv_lora_rank"), geometry.number("rope.dimension_count")
    plain = key - rotated
    if made.weight(f"blk.{il}.attn_q.weight") is not None:
        query = graph.mul_mat(made.need(f"blk.{il}.attn_q.weight"), current)
    else:
        query = made.norm(graph.mul_mat(made.need(f"blk.{il}.attn_q_a.weight"), current), f"blk.{il}.attn_q_a_norm")
        query = graph.mul_mat(made.need(f"blk.{il}.attn_q_b.weight"), query)
    query = graph.reshape(query, key, heads, tokens)
    both = graph.mul_mat(made.need(f"blk.{il}.attn_kv_a_mqa.weight"), current)
    latent = graph.view(both, (rank, tokens), (both.nb[1],))
    key_rotated = graph.view(both, (rotated, 1, tokens), (both.nb[1], both.nb[1]))
    if rotate:
        key_rotated = made.rope(il, key_rotated, positions, factors=_factors(made))
    latent = made.norm(latent, f"blk.{il}.attn_kv_a_norm")
    if compressed:
        head = graph.view(query, (plain, heads, tokens), (query.nb[1], query.nb[2]))
        query_rotated = graph.view(query, (rotated, heads, tokens), (query.nb[1], query.nb[2]))
        if rotate:
            query_rotated = made.rope(il, query_rotated, positions, factors=False)
        absorbed = graph.permute(graph.mul_mat(made.need(f"blk.{il}.attn_k_b.weight"), graph.permute(head, 0, 2, 1, 3)), 0, 2, 1, 3)
        query = graph.concat(absorbed, query_rotated, 0)
        latent = graph.reshape(latent, rank, 1, tokens)
        keys = graph.concat(latent, key_rotated, 0)
        if attention_scale is not None:
            query = graph.like("mul", query, attention_scale)
        out = _attend_compressed(made, il, inputs, query, keys, latent)
        return made.linear(f"blk.{il}.attn_output", out) if output else out
    unfolded = graph.mul_mat(made.need(f"blk.{il}.attn_kv_b.weight"), latent)
    step = 4 * (plain + value)
    key_plain = graph.view(unfolded, (plain, heads, tokens), (step, step * heads))
    values = graph.cont(graph.view(unfolded, (value, heads, tokens), (step, step * heads)))
    query = made.rope(il, query, positions, factors=_factors(made))
    keys = graph.concat(key_plain, graph.new("repeat", "f32", (rotated, heads, tokens), key_rotated), 0)
    if attention_scale is not None:
        query = graph.like("mul", query, attention_scale)
    return made.attend(il, layer, inputs, query, keys, values)


def _factors(made: ModelGraph) -> bool:
    return made.geometry.architecture == "minicpm3"


def _attend_compressed(made: ModelGraph, il: int, inputs: Inputs, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One latent row a token serves all heads as key and, its first part, as value."""
    graph, cells, streams = made.graph, inputs.cells, made.streams
    for one in (query, values, keys):
        graph.expand(one)
    width = keys.ne[0]
    cache = made.cache(il, made.settings.key_type, width, cells)
    rows = graph.view(keys, (width, made.tokens), (keys.nb[2],))
    graph.expand(graph.set_rows(graph.reshape(cache, width, cells * streams) if streams > 1 else cache, rows, inputs.key_places))
    row = cache.nb[1]
    read_keys = graph.view(cache, (width, 1, cells, streams), (row, row, row * cells))
    read_values = graph.view(read_keys, (values.ne[0], 1, cells, streams), (row, row, row * cells))
    up = made.need(f"blk.{il}.attn_v_b.weight")
    return made.mix(query, read_keys, read_values, inputs.mask, transposed=False, value_up=up)


def minicpm3_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """MiniCPM 3: latent attention unfolded to heads, scaled embedding, branches and logits."""
    made = ModelGraph(geometry, settings)
    graph = made.graph
    current = made.scale(made.embedded())
    positions = made.positions()
    inputs = made.cache_inputs()[False]
    wanted = made.output_rows()
    for il, layer in enumerate(geometry.layers):
        residual = current
        current = made.norm(current, f"blk.{il}.attn_norm")
        current = latent_attention(made, il, layer, current, positions, inputs, None, compressed=False)
        if il == len(geometry.layers) - 1:
            current, residual = graph.get_rows(current, wanted), graph.get_rows(residual, wanted)
        between = made.add(made.scale(current), residual)
        current = feed_forward(made, il, made.norm(between, f"blk.{il}.ffn_norm"))
        current = made.add(made.scale(current), between)
    return made.finish(current, before=True)
