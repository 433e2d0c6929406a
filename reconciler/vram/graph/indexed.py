"""The graphs of sparse attention with an indexer (DSA) of llama.cpp b11434: DeepSeek 3.2, GLM 5.

Sources: `src/models/deepseek32.cpp`, `glm-dsa.cpp`; `build_attn` of `llm_graph_input_attn_k_dsa` in `src/llama-graph.cpp`. Every card is
taken to have the fused indexer.
"""

from __future__ import annotations

from reconciler.value_class import value_class
from reconciler.vram.geometry import Geometry
from reconciler.vram.graph.decoders import gating, shares
from reconciler.vram.graph.feed import feed_forward, mixture
from reconciler.vram.graph.model import Inputs, ModelGraph
from reconciler.vram.graph.rotation import rotation_width
from reconciler.vram.graph.tensor import Graph, Tensor, UnknownGraph
from reconciler.vram.settings import RunSettings


@value_class
class _Indexer:
    """Inputs of the indexers' caches: places, a mask (f16 always), and the rotation of their keys and queries."""

    places: Tensor
    mask: Tensor
    rotation: Tensor


def indexed_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """Latent attention to the tokens that an indexer chooses; a layer without one takes the choice of the layer before."""
    if not geometry.compressed:
        raise UnknownGraph("an indexer over attention that is not compressed")
    made = ModelGraph(geometry, settings)
    graph = made.graph
    current = made.embedded()
    positions = made.positions()
    inputs = made.cache_inputs()[False]
    indexer = _indexer(made, inputs)
    wanted = made.output_rows()
    chosen: Tensor | None = None
    for il, layer in enumerate(geometry.layers):
        residual = current
        current = made.norm(current, f"blk.{il}.attn_norm")
        low = made.norm(graph.mul_mat(made.need(f"blk.{il}.attn_q_a.weight"), current), f"blk.{il}.attn_q_a_norm")
        if layer.index_length:
            chosen = _chosen(made, il, indexer, inputs.cells, current, low, positions)
        if chosen is None:
            raise UnknownGraph("a shared indexer without one before it")
        current = _attention(made, il, inputs, current, low, positions, chosen)
        if il == len(geometry.layers) - 1:
            current, residual = graph.get_rows(current, wanted), graph.get_rows(residual, wanted)
        between = made.add(current, residual)
        current = made.norm(between, f"blk.{il}.ffn_norm")
        if il < geometry.number("leading_dense_block_count", 0):
            current = feed_forward(made, il, current)
        else:
            how = "file_sigmoid" if geometry.architecture == "glm-dsa" else "file"
            out = mixture(made, il, current, normed=shares(made, "file"), scaled=made.scales_experts(), gating=gating(made, how))
            current = made.add(out, feed_forward(made, il, current, parts="_shexp"))
        current = made.add(current, between)
    return made.finish(current)


def _indexer(made: ModelGraph, inputs: Inputs) -> _Indexer:
    size = rotation_width(made.geometry.number("attention.indexer.key_length"), grow=True)
    graph, streams = made.graph, made.streams
    mask = graph.input("f16", inputs.cells, made.tokens // streams, 1, streams)
    return _Indexer(graph.input("i64", made.tokens), mask, graph.input("f32", size, size))


def _chosen(made: ModelGraph, il: int, indexer: _Indexer, cells: int, current: Tensor, low: Tensor, positions: Tensor) -> Tensor:
    """The places of the tokens with the best scores, for each token of the batch: (places, tokens of a stream, 1, streams)."""
    graph, geometry, tokens, streams = made.graph, made.geometry, made.tokens, made.streams
    heads, length = geometry.number("attention.indexer.head_count"), geometry.number("attention.indexer.key_length")
    name = f"blk.{il}.indexer"
    query = graph.reshape(graph.mul_mat(made.need(f"{name}.attn_q_b.weight"), low), length, heads, tokens)
    query = made.rope(il, query, positions, factors=False)
    keys = made.norm(graph.mul_mat(made.need(f"{name}.attn_k.weight"), current), f"{name}.k_norm", "norm")
    keys = made.rope(il, graph.reshape(keys, length, 1, tokens), positions, factors=False)
    query, keys = graph.mul_mat(indexer.rotation, query), graph.mul_mat(indexer.rotation, keys)
    cache = made.cache(il, made.settings.key_type, length, cells)
    rows = graph.view(keys, (length, tokens), (keys.nb[2],))
    graph.expand(graph.set_rows(graph.reshape(cache, length, cells * streams) if streams > 1 else cache, rows, indexer.places))
    weights = graph.mul_mat(made.need(f"{name}.proj.weight"), current)
    row = made.settings.key_type.row_bytes(length)
    stored = graph.view(cache, (length, 1, cells, streams), (row, row, row * cells))
    each = tokens // streams
    query = graph.view(query, (length, heads, each, streams), (query.nb[1], query.nb[2], query.nb[2] * each))
    weights = made.scale(graph.view(weights, (heads, each, 1, streams), (weights.nb[1], weights.nb[1] * each, weights.nb[1] * each)))
    scores = graph.new("lightning_indexer", "f32", (cells, each, 1, streams), query, stored, weights, indexer.mask)
    count = min(cells, geometry.number("attention.indexer.top_k"))
    return graph.cont(graph.new("top_k", "i32", (count, each, 1, streams), scores))


def _attention(made: ModelGraph, il: int, inputs: Inputs, current: Tensor, low: Tensor, positions: Tensor, chosen: Tensor) -> Tensor:
    graph, geometry, tokens, streams, cells = made.graph, made.geometry, made.tokens, made.streams, inputs.cells
    heads, key = geometry.layers[il].heads, geometry.number("attention.key_length_mla")
    rank, rotated = geometry.number("attention.kv_lora_rank"), geometry.number("rope.dimension_count")
    query = graph.mul_mat(made.need(f"blk.{il}.attn_q_b.weight"), low)
    steps = (4 * key, 4 * key * heads)
    plain = graph.view(query, (key - rotated, heads, tokens), steps)
    turned = made.rope(il, graph.view(query, (rotated, heads, tokens), steps), positions, factors=False)
    both = graph.mul_mat(made.need(f"blk.{il}.attn_kv_a_mqa.weight"), current)
    latent = graph.view(both, (rank, tokens), (both.nb[1],))
    key_rotated = made.rope(il, graph.view(both, (rotated, 1, tokens), (both.nb[1], both.nb[1])), positions, factors=False)
    latent = made.norm(latent, f"blk.{il}.attn_kv_a_norm")
    absorbed = graph.mul_mat(made.need(f"blk.{il}.attn_k_b.weight"), graph.permute(plain, 0, 2, 1, 3))
    query = graph.concat(graph.permute(absorbed, 0, 2, 1, 3), turned, 0)
    values = graph.reshape(latent, rank, 1, tokens)
    keys = graph.concat(values, key_rotated, 0)
    for one in (query, values, keys):
        graph.expand(one)
    width = keys.ne[0]
    cache = made.cache(il, made.settings.key_type, width, cells)
    rows = graph.view(keys, (width, tokens), (keys.nb[2],))
    graph.expand(graph.set_rows(graph.reshape(cache, width, cells * streams) if streams > 1 else cache, rows, inputs.key_places))
    row = made.settings.key_type.row_bytes(width)
    read_keys = graph.view(cache, (width, 1, cells, streams), (row, row, row * cells))
    read_values = graph.view(read_keys, (rank, 1, cells, streams), (row, row, row * cells))
    up = made.need(f"blk.{il}.attn_v_b.weight")
    mask = _masked(made, inputs.mask, chosen)
    out = made.mix(query, read_keys, read_values, mask, transposed=False, value_up=up)
    return made.linear(f"blk.{il}.attn_output", out)


def _masked(made: ModelGraph, mask: Tensor, chosen: Tensor) -> Tensor:
    """The mask with all but the chosen tokens hidden."""
    graph = made.graph
    cells, each, _, streams = mask.ne
    hidden = graph.like("fill", mask)
    hidden = graph.view(hidden, (1, cells, each, streams), hidden.nb[:3])
    places = graph.view(chosen, (chosen.ne[0], each, streams), chosen.nb[1:3])
    shown = graph.like("fill", Tensor("none", "f32", (1, chosen.ne[0], each, streams)))
    found = graph.set_rows(hidden, shown, places)
    return graph.like("add", graph.view(found, (cells, each, 1, streams), (found.nb[2], found.nb[3], found.nb[3])), mask)
