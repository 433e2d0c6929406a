"""The graph of PLaMo 2 of llama.cpp b11434: a Mamba of its own with attention between, norms before and after each branch.

Source: `src/models/plamo2.cpp`.
"""

from __future__ import annotations

from reconciler.vram.geometry import Geometry
from reconciler.vram.graph.decoders import attention
from reconciler.vram.graph.feed import feed_forward
from reconciler.vram.graph.model import ModelGraph
from reconciler.vram.graph.plain import Plain
from reconciler.vram.graph.recurrent import States, convolution, scan
from reconciler.vram.graph.tensor import Graph, Tensor, part
from reconciler.vram.settings import RunSettings


def plamo2_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """PLaMo 2."""
    made = ModelGraph(geometry, settings)
    graph = made.graph
    current = made.embedded()
    positions = made.positions()
    inputs, states = made.cache_inputs(), States(made)
    wanted = made.output_rows()
    for il, layer in enumerate(geometry.layers):
        residual = current
        current = made.norm(current, f"blk.{il}.attn_norm")
        if layer.recurrent:
            current = _mamba(made, states, il, current)
        else:
            current = attention(made, Plain(heads="before"), il, layer, inputs, current, positions)
        if il == len(geometry.layers) - 1:
            current, residual = graph.get_rows(current, wanted), graph.get_rows(residual, wanted)
        residual = current = made.add(made.norm(current, f"blk.{il}.post_attention_norm"), residual)
        current = feed_forward(made, il, made.norm(current, f"blk.{il}.ffn_norm"), "fused")
        current = made.add(made.norm(current, f"blk.{il}.post_ffw_norm"), residual)
    return made.finish(current)


def _mamba(made: ModelGraph, states: States, il: int, current: Tensor) -> Tensor:
    geometry, graph, each, count = made.geometry, made.graph, states.each, states.count
    inner, state = geometry.number("ssm.inner_size"), geometry.number("ssm.state_size")
    heads, kernel = geometry.number("ssm.time_step_rank"), geometry.number("ssm.conv_kernel")
    head, rank, name = part(inner, heads), max(64, made.width // 16), f"blk.{il}.ssm_"
    before = states.stored(il, (kernel - 1) * inner)
    last = graph.reshape(states.read(before, (kernel - 1) * inner), kernel - 1, inner, count)
    both = graph.mul_mat(made.need(f"{name}in.weight"), graph.reshape(current, current.ne[0], each, count))
    both = graph.cont(graph.permute(both, 0, 2, 1, 3), 2 * head, heads, each, count)
    x = graph.cont(graph.view(both, (head, heads, each, count), both.nb[1:]), inner, each, count)
    z = graph.view(both, (head, heads, each, count), both.nb[1:])
    joined = graph.concat(last, graph.transpose(x), 0)
    states.write(graph.view(joined, (kernel - 1, inner, count), joined.nb[1:3]), before)
    x = graph.like("unary", convolution(made, joined, f"{name}conv1d.weight", each))
    mixed = graph.mul_mat(made.need(f"{name}x.weight"), x)
    b, c = (graph.view(mixed, (state, each, count), mixed.nb[1:3]) for _ in range(2))
    dt = graph.view(mixed, (rank, each, count), mixed.nb[1:3])
    b, c, dt = made.norm(b, f"{name}b_norm"), made.norm(c, f"{name}c_norm"), made.norm(dt, f"{name}dt_norm")
    dt = graph.like("add", graph.mul_mat(made.need(f"{name}dt.weight"), dt), made.need(f"{name}dt.bias"))
    a = graph.reshape(made.need(f"{name}a"), 1, heads)
    x = graph.view(x, (head, heads, each, count), (4 * head, 4 * inner, 4 * inner * each))
    b, c = (graph.view(one, (state, 1, each, count), (4 * state, one.nb[1], one.nb[2])) for one in (b, c))
    cache = states.stored(il, state * inner)
    out = scan(made, cache, states, state * inner, (x, dt, a, b, c), x.elements, (state, head, heads))
    states.write(graph.view(out, (state * inner * count,)), cache)
    y = graph.view(out, (head, heads, each, count))
    y = made.add(y, graph.like("mul", x, graph.reshape(made.need(f"{name}d"), 1, heads)))
    y = graph.glu(graph.cont(z), y)
    y = graph.mul_mat(made.need(f"{name}out.weight"), graph.view(y, (inner, each, count), y.nb[2:]))
    return graph.reshape(y, y.ne[0], made.tokens)
