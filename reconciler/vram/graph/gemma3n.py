"""The graph of Gemma 3n of llama.cpp b11434: four streams of which one is active, low-rank detours, an input of its own for every layer.

Source: `src/models/gemma3n.cpp`.
"""

from __future__ import annotations

from reconciler.vram.geometry import Geometry
from reconciler.vram.graph.gemma4 import each_layer
from reconciler.vram.graph.model import ModelGraph
from reconciler.vram.graph.tensor import Graph, Tensor
from reconciler.vram.settings import RunSettings

STREAMS, SPARSE_LAYERS, OWN_WIDTH = 4, 10, 256
"""Streams, the first layers whose feed-forward keeps only its largest activations, the width of a layer's own input: all fixed."""


def gemma3n_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """Gemma 3n E2B and E4B."""
    made = ModelGraph(geometry, settings)
    graph, width, tokens = made.graph, made.width, made.tokens
    current = made.embedded(scaled=True)
    positions = made.positions()
    inputs = made.cache_inputs()
    each = each_layer(made, current, OWN_WIDTH)
    magnitude = _magnitude(graph, current)
    others = graph.mul_mat(made.need("altup_proj.weight"), graph.new("repeat", "f32", (width, tokens, STREAMS - 1), current))
    others = graph.like("div", graph.like("mul", others, magnitude), _magnitude(graph, others))
    current = graph.concat(current, others, 2)
    wanted = made.output_rows()
    for il, layer in enumerate(geometry.layers):
        predictions = _predicted(made, il, current)
        active = _slice(graph, predictions)
        normed = made.norm(active, f"blk.{il}.attn_norm")
        detour = _detour(made, il, normed)
        query = graph.reshape(made.linear(f"blk.{il}.attn_q", normed), layer.key_length, layer.heads, tokens)
        kept = inputs[bool(layer.sliding and geometry.slides)]
        if layer.cached:
            keys = graph.reshape(made.linear(f"blk.{il}.attn_k", normed), layer.key_length, layer.kv_heads, tokens)
            values = graph.reshape(made.linear(f"blk.{il}.attn_v", normed), layer.value_length, layer.kv_heads, tokens)
            query = made.rope(il, made.norm(query, f"blk.{il}.attn_q_norm"), positions, factors=False)
            keys = made.rope(il, made.norm(keys, f"blk.{il}.attn_k_norm"), positions, factors=False)
            out = made.attend(il, layer, kept, query, keys, graph.like("rms_norm", values), keys_last=False)
        else:
            query = made.rope(il, made.norm(query, f"blk.{il}.attn_q_norm"), positions, factors=False)
            out = made.attend(il, layer, kept, query, None, None, keys_last=False)
        out = made.add(made.norm(out, f"blk.{il}.post_attention_norm"), active)
        between = made.scale(made.add(out, detour))
        out = made.norm(between, f"blk.{il}.ffn_norm")
        up, gate = made.linear(f"blk.{il}.ffn_up", out), made.linear(f"blk.{il}.ffn_gate", out)
        if il < SPARSE_LAYERS:
            gate = _largest(made, gate)
        out = made.linear(f"blk.{il}.ffn_down", graph.like("mul", up, graph.like("unary", gate)))
        out = made.add(made.norm(out, f"blk.{il}.post_ffw_norm"), between)
        corrected = _corrected(made, il, predictions, out)
        current = _with_own_input(made, il, corrected, each)
    return _ended(made, current, wanted)


def _magnitude(graph: Graph, tensor: Tensor) -> Tensor:
    return graph.like("sqrt", graph.sum_rows(graph.like("sqr", tensor)))


def _slice(graph: Graph, tensor: Tensor) -> Tensor:
    return graph.view(tensor, tensor.ne[:2], (tensor.nb[1],))


def _detour(made: ModelGraph, il: int, current: Tensor) -> Tensor:
    low = made.graph.mul_mat(made.need(f"blk.{il}.laurel_l.weight"), current)
    back = made.graph.mul_mat(made.need(f"blk.{il}.laurel_r.weight"), low)
    return made.add(made.norm(back, f"blk.{il}.laurel_post_norm"), current)


def _routed(made: ModelGraph, il: int, current: Tensor) -> Tensor:
    inputs = made.scale(made.norm(current, f"blk.{il}.altup_router_norm"))
    return made.graph.like("unary", made.graph.mul_mat(made.need(f"blk.{il}.altup_router.weight"), inputs))


def _predicted(made: ModelGraph, il: int, current: Tensor) -> Tensor:
    graph = made.graph
    routed = _routed(made, il, _slice(graph, current))
    mixing = graph.reshape(graph.mul_mat(made.need(f"blk.{il}.altup_predict_coef.weight"), routed), STREAMS, STREAMS, made.tokens)
    turned = graph.cont(graph.permute(current, 1, 2, 0, 3))
    predicted = graph.cont(graph.permute(graph.mul_mat(turned, mixing), 0, 2, 1, 3))
    return made.add(predicted, current)


def _corrected(made: ModelGraph, il: int, predictions: Tensor, activated: Tensor) -> Tensor:
    graph = made.graph
    routed = _routed(made, il, activated)
    new = graph.like("sub", activated, _slice(graph, predictions))
    mixing = made.scale(graph.mul_mat(made.need(f"blk.{il}.altup_correct_coef.weight"), routed))
    mixing = graph.cont(graph.transpose(mixing), 1, made.tokens, STREAMS)
    spread = graph.new("repeat", "f32", (made.width, made.tokens, STREAMS), new)
    return made.add(graph.like("mul", spread, mixing), predictions)


def _with_own_input(made: ModelGraph, il: int, corrected: Tensor, each: Tensor) -> Tensor:
    graph = made.graph
    first = graph.like("mul", _slice(graph, corrected), made.need(f"blk.{il}.altup_correct_scale.weight"))
    first = graph.like("unary", graph.mul_mat(made.need(f"blk.{il}.inp_gate.weight"), first))
    first = graph.like("mul", first, _slice(graph, each))
    first = made.norm(graph.mul_mat(made.need(f"blk.{il}.proj.weight"), first), f"blk.{il}.post_norm")
    rest = graph.view(corrected, (made.width, made.tokens, STREAMS - 1), corrected.nb[1:3])
    return graph.concat(_slice(graph, corrected), made.add(rest, first), 2)


def _largest(made: ModelGraph, tensor: Tensor) -> Tensor:
    graph = made.graph
    mean = graph.new("mean", "f32", (1, *tensor.ne[1:]), tensor)
    spread = made.scale(graph.sum_rows(graph.like("sqr", graph.like("sub", tensor, mean))))
    cut = made.add(mean, made.scale(graph.like("sqrt", spread)))
    return graph.like("unary", graph.like("sub", tensor, cut))


def _ended(made: ModelGraph, current: Tensor, wanted: Tensor) -> Graph:
    graph = made.graph
    magnitude = _magnitude(graph, _slice(graph, current))
    rest = graph.view(current, (made.width, made.tokens, STREAMS - 1), current.nb[1:3])
    rest = graph.mul_mat(made.need("altup_unembd_proj.weight"), rest)
    rest = graph.like("div", graph.like("mul", rest, magnitude), _magnitude(graph, rest))
    current = _slice(graph, current)
    for _ in range(STREAMS - 1):
        current = made.add(current, _slice(graph, rest))
    return made.finish(graph.get_rows(made.scale(current), wanted), capped=True)
