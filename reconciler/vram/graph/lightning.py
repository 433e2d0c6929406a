"""The graph of MiniMax 01 of llama.cpp b11434: lightning attention, which keeps a state, with full attention every eighth layer.

Source: `src/models/minimax-01.cpp`.
"""

from __future__ import annotations

from reconciler.value_class import value_class
from reconciler.vram.geometry import Geometry
from reconciler.vram.graph.decoders import attention
from reconciler.vram.graph.feed import mixture
from reconciler.vram.graph.model import ModelGraph
from reconciler.vram.graph.plain import Plain
from reconciler.vram.graph.recurrent import States
from reconciler.vram.graph.tensor import Graph, Tensor
from reconciler.vram.settings import RunSettings


@value_class
class _Decays:
    """What is forgotten: by head, by each token of query and keys, and between all pairs of tokens of a batch."""

    slopes: Tensor
    query: Tensor
    keys: Tensor
    pairs: Tensor


def lightning_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """MiniMax 01: residuals are taken after the norms."""
    made = ModelGraph(geometry, settings)
    graph = made.graph
    current = made.embedded()
    inputs, states = made.cache_inputs(), States(made)
    positions, wanted = made.positions(), made.output_rows()
    heads, each, count = geometry.layers[0].heads, states.each, states.count
    decays = _Decays(
        graph.input("f32", heads),
        graph.input("f32", 1, heads, each, count),
        graph.input("f32", 1, heads, each, count),
        graph.input("f32", each, each, heads, count),
    )
    for il, layer in enumerate(geometry.layers):
        residual = current = made.norm(current, f"blk.{il}.attn_norm")
        if layer.recurrent:
            current = _lightning(made, states, decays, il, current)
        else:
            current = attention(made, Plain(), il, layer, inputs, current, positions)
        if il == len(geometry.layers) - 1:
            current, residual = graph.get_rows(current, wanted), graph.get_rows(residual, wanted)
        residual = current = made.norm(made.add(current, made.scale(residual)), f"blk.{il}.ffn_norm")
        current = mixture(made, il, current, normed=True, scaled=made.scales_experts())
        current = made.add(current, made.scale(residual))
    return made.finish(current)


def _lightning(made: ModelGraph, states: States, decays: _Decays, il: int, current: Tensor) -> Tensor:
    graph, each, count = made.graph, states.each, states.count
    layer = made.geometry.layers[il]
    head, heads = layer.key_length, layer.heads
    graph.expand(states.read(states.stored(il, 0), 0))
    slopes = made.scale(decays.slopes)
    current = graph.reshape(current, current.ne[0], each, 1, count)
    both = graph.like("unary", graph.mul_mat(made.need(f"blk.{il}.attn_qkv.weight"), current))
    both = graph.reshape(both, 3 * head, heads, each, count)
    query, keys, values = (graph.view(both, (head, heads, each, count), both.nb[1:]) for _ in range(3))
    cache = states.stored(il, head * head * heads)
    old = graph.reshape(states.read(cache, head * head * heads), head, head, heads, count)
    of_query, of_keys, of_pairs = (graph.like("unary", made.scale(one)) for one in (decays.query, decays.keys, decays.pairs))
    before = graph.mul_mat(old, graph.permute(graph.like("mul", query, of_query), 0, 2, 1, 3))
    scores = graph.mul_mat(graph.permute(keys, 0, 2, 1, 3), graph.permute(query, 0, 2, 1, 3))
    scores = graph.like("mul", scores, of_pairs)
    turned = graph.cont(graph.permute(values, 1, 2, 0, 3))
    out = graph.expand(made.add(before, graph.mul_mat(turned, scores)))
    block = graph.reshape(graph.like("unary", made.scale(slopes)), 1, 1, heads)
    faded = graph.like("mul", old, block)
    later = graph.cont(graph.permute(graph.like("mul", keys, of_keys), 1, 2, 0, 3))
    new = made.add(faded, graph.mul_mat(later, turned))
    states.write(new, cache)
    out = graph.cont(graph.permute(out, 0, 2, 1, 3))
    out = graph.reshape(out, head * heads, each, 1, count)
    out = made.norm(out, f"blk.{il}.attn_norm_2")
    gate = graph.like("unary", graph.mul_mat(made.need(f"blk.{il}.attn_gate.weight"), current))
    out = graph.mul_mat(made.need(f"blk.{il}.attn_output.weight"), graph.like("mul", gate, out))
    return graph.reshape(out, out.ne[0], made.tokens)
