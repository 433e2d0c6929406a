"""The graphs of Kimi's delta attention of llama.cpp b11434: Kimi Linear and Ling 3, with latent attention every few layers.

Sources: `src/models/kimi-linear.cpp`, `bailingmoe3.cpp`, `delta-net-base.cpp`. Every card is taken to have the fused operator.
"""

from __future__ import annotations

from reconciler.vram.geometry import Geometry
from reconciler.vram.graph.decoders import gating, shares
from reconciler.vram.graph.feed import feed_forward, mixture
from reconciler.vram.graph.latent import latent_attention
from reconciler.vram.graph.model import ModelGraph
from reconciler.vram.graph.recurrent import States, convolution_of
from reconciler.vram.graph.tensor import Graph, Tensor, UnknownGraph
from reconciler.vram.settings import RunSettings


def kda_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """Kimi Linear (no rotation at all) and Ling 3 (which rotates, gates its latent attention, and takes its rows last)."""
    if not geometry.compressed:
        raise UnknownGraph("latent attention that is not compressed")
    made = ModelGraph(geometry, settings)
    graph, kimi = made.graph, geometry.architecture == "kimi-linear"
    current = made.embedded()
    states, inputs = States(made), made.cache_inputs()[False]
    positions = made.positions(4 if geometry.values.get(f"{geometry.architecture}.rope.dimension_sections") else 1)
    wanted = made.output_rows()
    for il, layer in enumerate(geometry.layers):
        residual = current
        current = made.norm(current, f"blk.{il}.attn_norm")
        if kimi:
            graph.expand(current)
        if layer.recurrent:
            current = _delta(made, states, il, current)
        elif kimi:
            current = latent_attention(made, il, layer, current, positions, inputs, None, compressed=True, rotate=False)
        else:
            out = latent_attention(made, il, layer, current, positions, inputs, None, compressed=True, output=False)
            gate = graph.mul_mat(made.need(f"blk.{il}.attn_gate.weight"), current)
            gate = graph.like("unary", graph.reshape(gate, 1, layer.heads, made.tokens))
            value = out.ne[0] // max(1, layer.heads)
            out = graph.like("mul", graph.reshape(out, value, layer.heads, made.tokens), gate)
            current = graph.mul_mat(made.need(f"blk.{il}.attn_output.weight"), graph.cont(out, value * layer.heads, made.tokens))
        if kimi and il == len(geometry.layers) - 1:
            current, residual = graph.get_rows(current, wanted), graph.get_rows(residual, wanted)
        between = made.add(current, residual)
        current = made.add(_feed(made, il, made.norm(between, f"blk.{il}.ffn_norm")), between)
    return made.finish(current, wanted=None if kimi else wanted)


def _feed(made: ModelGraph, il: int, current: Tensor) -> Tensor:
    if il < made.geometry.number("leading_dense_block_count", 0):
        return feed_forward(made, il, current)
    normed = made.geometry.architecture == "kimi-linear" or shares(made, "file")
    out = mixture(made, il, current, normed=normed, scaled=made.scales_experts(), gating=gating(made, "file"))
    return made.add(out, feed_forward(made, il, current, parts="_shexp"))


def _delta(made: ModelGraph, states: States, il: int, current: Tensor) -> Tensor:
    graph, geometry, tokens, each, count = made.graph, made.geometry, made.tokens, states.each, states.count
    kimi = geometry.architecture == "kimi-linear"
    name, heads, head = f"blk.{il}.ssm_", max(one.heads for one in geometry.layers), geometry.number("kda.head_dim")
    inner, kernel = heads * head, geometry.number("ssm.conv_kernel")
    size = (kernel - 1) * inner
    cache = states.stored(il, 3 * size)
    before = states.read(cache, 3 * size)
    sources: list[Tensor | None] = [None, None, None]
    fused = made.weight(f"blk.{il}.attn_qkv.weight")
    if fused is not None:
        both = graph.mul_mat(fused, current)
        sources = [graph.cont(graph.view(both, (inner, tokens), (both.nb[1],))) for _ in range(3)]
    query, keys, values = (
        _convolved(made, states, il, letter, current, source, before, cache, (kernel, inner, heads, head))
        for letter, source in zip("qkv", sources, strict=True)
    )
    factor = graph.reshape(made.need(f"{name}a"), 1, heads, 1)
    gate = graph.mul_mat(made.need(f"{name}f_a.weight"), current)
    if kimi:
        gate = graph.mul_mat(made.need(f"{name}f_b.weight"), gate)
        gate = graph.like("unary", graph.like("add", gate, made.need(f"{name}dt.bias")))
        gate = graph.like("mul", graph.reshape(gate, head, heads, tokens), factor)
    else:
        gate = graph.reshape(graph.like("add", gate, made.need(f"{name}dt.bias")), head, heads, tokens)
        gate = made.scale(graph.like("unary", graph.like("mul", gate, factor)))
    gate = graph.reshape(gate, head, heads, each, count)
    beta = graph.like("unary", graph.reshape(graph.mul_mat(made.need(f"{name}beta.weight"), current), 1, heads, each, count))
    query_normed = keys_normed = None
    if not kimi:
        query_normed, keys_normed = (made.scale(graph.like("rms_norm", one)) for one in (query, keys))
    kept = states.stored(il, head * inner)
    state = graph.reshape(states.read(kept, head * inner), head, head, heads, count)
    if query_normed is None or keys_normed is None:
        query_normed, keys_normed = (made.scale(graph.like("rms_norm", one)) for one in (query, keys))
    lengths = (inner, each * count + head * count)
    result = graph.new("delta_net", "f32", lengths, query_normed, keys_normed, values, gate, beta, state)
    graph.expand(graph.copy(graph.view(result, (head, head, heads, count)), graph.view(kept, (head * inner, count))))
    out = graph.reshape(graph.cont(graph.view(result, (head, heads, each, count))), head, heads, tokens)
    gate = graph.mul_mat(made.need(f"{name}g_a.weight"), graph.reshape(current, current.ne[0], tokens) if kimi else current)
    if kimi:
        gate = graph.mul_mat(made.need(f"{name}g_b.weight"), gate)
    gate = graph.like("unary", graph.reshape(gate, head, heads, tokens))
    out = graph.cont(graph.like("mul", made.norm(out, f"{name}norm"), gate), inner, tokens)
    return graph.mul_mat(made.need(f"blk.{il}.attn_output.weight"), out)


def _convolved(
    made: ModelGraph,
    states: States,
    il: int,
    letter: str,
    current: Tensor,
    source: Tensor | None,
    before: Tensor,
    cache: Tensor,
    lengths: tuple[int, int, int, int],
) -> Tensor:
    """Query, keys or values through their own convolution; its last inputs are kept in a third of the state."""
    graph, (kernel, inner, heads, head) = made.graph, lengths
    each, count = states.each, states.count
    last = graph.view(before, (kernel - 1, inner, count), (4 * (kernel - 1), before.nb[1]))
    rows = graph.mul_mat(made.need(f"blk.{il}.attn_{letter}.weight"), current) if source is None else source
    joined = graph.concat(last, graph.transpose(graph.reshape(rows, inner, each, count)), 0)
    graph.expand(graph.copy(graph.view(joined, (kernel - 1, inner, count), joined.nb[1:3]), graph.view(cache, (kernel - 1, inner, count))))
    weight = graph.reshape(made.need(f"blk.{il}.ssm_conv1d_{letter}.weight"), kernel, inner)
    out = graph.reshape(convolution_of(made, joined, weight, each), inner, made.tokens)
    return graph.reshape(graph.like("unary", out), head, heads, each, count)
