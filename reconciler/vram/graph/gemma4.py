"""The graph of Gemma 4 of llama.cpp b11434: layers that share keys and values, embeddings for each layer, experts beside the feed-forward.

Source: `src/models/gemma4.cpp`.
"""

from __future__ import annotations

from reconciler.vram.geometry import Geometry, Layer
from reconciler.vram.graph.feed import feed_forward, mixture
from reconciler.vram.graph.model import Inputs, ModelGraph
from reconciler.vram.graph.tensor import Graph, Tensor
from reconciler.vram.settings import RunSettings


def gemma4_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """Gemma 4, dense or with experts, with or without embeddings for each layer."""
    made = ModelGraph(geometry, settings)
    graph = made.graph
    current = made.embedded(scaled=True)
    positions = made.positions()
    inputs = made.cache_inputs()
    wanted = made.output_rows()
    each = (
        each_layer(made, current, geometry.number("embedding_length_per_layer_input"))
        if made.weight("per_layer_token_embd.weight") is not None
        else None
    )
    for il, layer in enumerate(geometry.layers):
        residual = current
        current = made.norm(current, f"blk.{il}.attn_norm")
        current = _attention(made, il, layer, inputs[bool(layer.sliding and geometry.slides)], current, positions)
        between = made.add(made.norm(current, f"blk.{il}.post_attention_norm"), residual)
        current = made.norm(_feed(made, il, between), f"blk.{il}.post_ffw_norm")
        current = made.add(current, between)
        if each is not None:
            inner = graph.like("unary", graph.mul_mat(made.need(f"blk.{il}.inp_gate.weight"), current))
            inner = graph.like("mul", inner, graph.view(each, (each.ne[0], each.ne[1]), (each.nb[1],)))
            inner = made.norm(graph.mul_mat(made.need(f"blk.{il}.proj.weight"), inner), f"blk.{il}.post_norm")
            current = made.add(current, inner)
        scale = made.weight(f"blk.{il}.layer_output_scale.weight")
        if scale is not None:
            current = graph.like("mul", current, scale)
    current = made.norm(current, "output_norm")
    current.output = True
    rows = graph.get_rows(current, wanted)
    rows.output = True
    logits = made.linear("output", rows)
    if made.says("final_logit_softcapping"):
        logits = made.scale(graph.like("unary", made.scale(logits)))
    logits.output = True
    graph.expand(logits)
    return graph


def each_layer(made: ModelGraph, embedded: Tensor, width: int) -> Tensor:
    """An input of its own for every layer: from the tokens, and from what they embed to. (width, tokens, layers)."""
    graph, count = made.graph, len(made.geometry.layers)
    rows = graph.get_rows(made.need("per_layer_token_embd.weight"), graph.input("i32", made.tokens))
    rows = graph.expand(made.scale(graph.reshape(rows, width, count, made.tokens)))
    projected = made.scale(graph.mul_mat(made.need("per_layer_model_proj.weight"), embedded))
    projected = made.norm(graph.reshape(projected, width, count, made.tokens), "per_layer_proj_norm")
    return graph.cont(graph.permute(made.scale(made.add(projected, rows)), 0, 2, 1, 3))


def _attention(made: ModelGraph, il: int, layer: Layer, inputs: Inputs, current: Tensor, positions: Tensor) -> Tensor:
    graph, tokens, head = made.graph, made.tokens, layer.key_length
    factors = not layer.sliding
    query = graph.reshape(made.linear(f"blk.{il}.attn_q", current), head, layer.heads, tokens)
    query = made.rope(il, made.norm(query, f"blk.{il}.attn_q_norm"), positions, factors=factors)
    if not layer.cached:
        return made.attend(il, layer, inputs, query, None, None, keys_last=False)
    key_rows = made.linear(f"blk.{il}.attn_k", current)
    own = made.weight(f"blk.{il}.attn_v.weight") is not None
    value_rows = made.linear(f"blk.{il}.attn_v", current) if own else key_rows
    keys = graph.reshape(key_rows, head, layer.kv_heads, tokens)
    values = graph.reshape(value_rows, layer.value_length, layer.kv_heads, tokens)
    keys = made.rope(il, made.norm(keys, f"blk.{il}.attn_k_norm"), positions, factors=factors)
    return made.attend(il, layer, inputs, query, keys, graph.like("rms_norm", values), keys_last=False)


def _feed(made: ModelGraph, il: int, between: Tensor) -> Tensor:
    dense = feed_forward(made, il, made.norm(between, f"blk.{il}.ffn_norm"))
    if made.weight(f"blk.{il}.ffn_gate_inp.weight") is None:
        return dense
    graph = made.graph
    dense = made.norm(dense, f"blk.{il}.post_ffw_norm_1")
    routed = made.norm(between, f"blk.{il}.pre_ffw_norm_2")
    router = graph.like("mul", made.scale(graph.like("rms_norm", between)), made.need(f"blk.{il}.ffn_gate_inp.scale"))
    logits = graph.mul_mat(made.need(f"blk.{il}.ffn_gate_inp.weight"), router)
    routed = mixture(made, il, routed, normed=True, probabilities=logits)
    return made.add(dense, made.norm(routed, f"blk.{il}.post_ffw_norm_2"))
