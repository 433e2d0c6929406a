"""The graphs of transformer decoders of llama.cpp b11434, each from the parts of `model.py`. Sources: its `src/models/NAME.cpp`.

Most architectures are one block with differences, which are data (`plain.py`). What the file lacks (a norm, a bias, a gate) is left out.
"""

from __future__ import annotations

from dataclasses import replace

from reconciler.vram.geometry import Geometry, Layer
from reconciler.vram.graph.feed import feed_forward, mixture
from reconciler.vram.graph.model import Inputs, ModelGraph
from reconciler.vram.graph.plain import NO_ROPE_STEP, PLAIN, Plain
from reconciler.vram.graph.tensor import Graph, Tensor
from reconciler.vram.settings import RunSettings


def plain_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """The graph of an architecture that is listed in PLAIN."""
    how = PLAIN[geometry.architecture]
    if how.norm == "file":
        rms = geometry.values.get(f"{geometry.architecture}.attention.layer_norm_rms_epsilon")
        how = replace(how, norm="rms_norm" if rms else "norm")
    made = ModelGraph(geometry, settings)
    graph = made.graph
    current = embed(made, how)
    positions = made.positions(how.positions)
    if how.embedding == "places" and made.weight("position_embd.weight") is not None:
        current = made.add(current, graph.get_rows(made.need("position_embd.weight"), positions))
    inputs = made.cache_inputs()
    wanted = None if how.gather == "never" else made.output_rows()
    last = len(geometry.layers) - 1
    for il, layer in enumerate(geometry.layers):
        residual = current
        normed = made.norm_or_none(residual, f"blk.{il}.attn_norm", how.norm, missing=how.norm == "norm")
        first = made.norm_if(residual, f"blk.{il}.attn_norm_2", how.norm) if how.parallel == "second" else normed
        current = attention(made, how, il, layer, inputs, normed if first is residual else first, positions)
        if how.post_first:
            current = made.norm(current, f"blk.{il}.post_attention_norm", how.norm)
        if il == last and wanted is not None and how.gather == "layer":
            current, residual = graph.get_rows(current, wanted), graph.get_rows(residual, wanted)
            if how.parallel in {"normed", "second", "late"} or (
                how.parallel == "stable" and made.weight(f"blk.{il}.ffn_norm.weight") is None
            ):
                normed = graph.get_rows(normed, wanted)
        current = made.deepened(il, after_attention(made, how, il, current, residual, normed))
    if how.gather == "after" and wanted is not None:
        current.output = True
        current = graph.get_rows(current, wanted)
    return made.finish(
        current,
        norm=how.norm,
        scaled=how.logits == "scaled",
        capped=how.logits == "capped" or made.says("final_logit_softcapping"),
        wanted=wanted if how.gather == "last" else None,
    )


def embed(made: ModelGraph, how: Plain) -> Tensor:
    """The tokens' embeddings as the first block takes them, but for learned positions."""
    current = made.embedded(scaled=how.embedding == "rows", mixed=made.geometry.architecture != "cogvlm")
    if how.embedding == "bare":
        return made.norm(current, None)
    if how.embedding == "scale":
        current = made.scale(current)
    return made.norm(current, "token_embd_norm", "norm") if how.embedding == "norm" else current


def rotates(made: ModelGraph, how: Plain, il: int, layer: Layer) -> bool:
    """Whether this layer rotates its query and keys."""
    if how.rotate == "step":
        whole = made.geometry.architecture == "llama4" and not made.geometry.slides
        return (il + 1) % (len(made.geometry.layers) if whole else NO_ROPE_STEP) != 0
    if how.rotate == "sliding":
        return layer.sliding or not made.geometry.slides
    if how.rotate == "leading":
        return layer.sliding or il < made.geometry.number("leading_dense_block_count", 0)
    if how.rotate == "pattern":
        listed = made.geometry.values.get(f"{made.geometry.architecture}.attention.rope_pattern")
        return not isinstance(listed, tuple) or il >= len(listed) or bool(listed[il])
    if how.rotate == "finetuned":
        return made.geometry.values.get(f"{made.geometry.architecture}.rope.scaling.finetuned") is not False
    if made.geometry.architecture == "baichuan":
        return len(made.geometry.layers) == 32
    return how.rotate == "all"


def attention(
    made: ModelGraph, how: Plain, il: int, layer: Layer, inputs: dict[bool, Inputs], current: Tensor, positions: Tensor
) -> Tensor:
    """Query, keys and values of `current`, normed and rotated as the architecture does, over the cache."""
    graph, tokens = made.graph, made.tokens
    flat = how.heads == "flat" and how.norm == "rms_norm"
    query, keys, values = made.projections(il, current, layer, clamped=made.says("attention.clamp_kqv"), flat=flat)
    if how.copied and query.root is not None and made.weight(f"blk.{il}.attn_qkv.weight") is not None:
        query, keys, values = (
            graph.reshape(graph.cont(made.graph.view(one, (one.ne[0] * one.ne[1], one.ne[2]), (one.nb[2],))), *one.ne)
            for one in (query, keys, values)
        )
    names = (f"blk.{il}.attn_q_norm", f"blk.{il}.attn_k_norm")
    if how.heads == "flat" and made.weight(f"{names[0]}.weight") is not None:
        query = graph.reshape(made.norm(made.flat(query), names[0], how.norm), layer.key_length, layer.heads, tokens)
        keys = graph.reshape(made.norm(made.flat(keys), names[1], how.norm), layer.key_length, layer.kv_heads, tokens)
    if how.heads == "before":
        query, keys = made.norm_if(query, names[0], how.norm), made.norm_if(keys, names[1], how.norm)
    if rotates(made, how, il, layer):
        query, keys = made.rope(il, query, positions), made.rope(il, keys, positions)
    if how.heads == "after":
        query, keys = made.norm_if(query, names[0], how.norm), made.norm_if(keys, names[1], how.norm)
    if made.geometry.architecture == "llama4":
        query, keys = _llama4(made, how, il, layer, query, keys)
    if how.query_scaled:
        query = made.scale(query)
    sliding = bool(layer.sliding and made.geometry.slides)
    gate = made.weight(f"blk.{il}.attn_gate.weight") if how.gated else None
    out = made.attend(
        il, layer, inputs[sliding], query, keys, values,
        keys_last=not made.geometry.slides, soft_cap=how.soft_cap, sinks=f"blk.{il}.attn_sinks.weight" if how.sinks else None,
        output="attn_output" if gate is None else None,
    )  # fmt: skip
    return out if gate is None else made.linear(f"blk.{il}.attn_output", gated(made, gate, layer, current, out))


def gated(made: ModelGraph, gate: Tensor, layer: Layer, current: Tensor, out: Tensor) -> Tensor:
    """Attention's output times a factor of `current`, one an element, or one a head."""
    graph = made.graph
    factor = graph.like("unary", graph.mul_mat(gate, current))
    if factor.ne[0] != layer.heads:
        return graph.like("mul", out, factor)
    heads = graph.reshape(out, layer.value_length, layer.heads, out.ne[1])
    return graph.reshape(graph.like("mul", heads, graph.reshape(factor, 1, layer.heads, out.ne[1])), *out.ne[:2])


def _llama4(made: ModelGraph, how: Plain, il: int, layer: Layer, query: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Layers that rotate norm both (but in the largest model), the others scale the query by the length so far."""
    graph = made.graph
    if not rotates(made, how, il, layer):
        return graph.like("mul", query, made.attention_scale()), keys
    if made.geometry.experts == 128:
        return query, keys
    return graph.like("rms_norm", query), graph.like("rms_norm", keys)


def after_attention(made: ModelGraph, how: Plain, il: int, current: Tensor, residual: Tensor, normed: Tensor) -> Tensor:
    """Residuals and the feed-forward, beside attention or after it."""
    if how.parallel == "normed":
        return made.add(made.add(feed(made, how, il, normed), residual), current)
    if how.parallel == "second":
        return made.add(made.add(feed_forward(made, il, normed, how.act), current), residual)
    if how.parallel == "late":
        return made.add(made.add(current, feed_forward(made, il, normed, how.act)), residual)
    if how.parallel == "own" and made.geometry.values.get(f"{made.geometry.architecture}.use_parallel_residual") is True:
        out = feed_forward(made, il, made.norm(residual, f"blk.{il}.ffn_norm", how.norm), how.act)
        return made.add(made.add(out, residual), current)
    if how.post and not how.post_first:
        current = made.norm(current, f"blk.{il}.post_attention_norm", how.norm)
    if made.says("attention.value_scale"):  # MiMo 2
        current = made.scale(current)
    if how.residual and made.says("residual_scale", minicpm=True):
        current = made.scale(current)
    between = made.add(residual, current) if how.leads == "first" else made.add(current, residual)
    if how.parallel == "stable" and made.weight(f"blk.{il}.ffn_norm.weight") is None:
        current = normed
    else:
        current = made.norm_or_none(between, f"blk.{il}.{how.second}", how.norm, missing=how.norm == "norm")
    current = feed(made, how, il, current)
    if how.post:
        current = made.norm(current, f"blk.{il}.post_ffw_norm", how.norm)
    if how.residual and made.says("residual_scale", minicpm=True):
        current = made.scale(current)
    return made.add(between, current) if how.leads == "last" else made.add(current, between)


def feed(made: ModelGraph, how: Plain, il: int, current: Tensor) -> Tensor:
    """The feed-forward, or the mixture with its shared experts."""
    if made.weight(f"blk.{il}.ffn_gate_inp.weight") is None:
        return feed_forward(made, il, current, how.act)
    first = made.geometry.architecture == "llama4"
    out = mixture(
        made,
        il,
        current,
        normed=shares(made, how.share),
        scaled=made.scales_experts(),
        gating=gating(made, how.experts),
        weight_first=first,
    )
    if made.weight(f"blk.{il}.ffn_up_shexp.weight") is None:
        return made.add(out, feed_forward(made, il, current)) if made.geometry.architecture == "hunyuan-moe" else out
    shared = feed_forward(made, il, current, how.shared, parts="_shexp")
    gate = made.weight(f"blk.{il}.ffn_gate_inp_shexp.weight")
    if gate is not None:
        graph = made.graph
        logits = graph.mul_mat(gate, current)
        shared = graph.like("mul", shared, graph.like("div", graph.like("unary", logits), logits))
    out = made.add(out, shared)
    return made.scale(out) if made.geometry.architecture == "cohere2moe" else out


def gating(made: ModelGraph, how: str) -> str:
    """The routing function, from the file where the architecture leaves it open."""
    if not how.startswith("file"):
        return how
    kind = made.geometry.number("expert_gating_func", 0) or (2 if how == "file_sigmoid" else 1)
    return {2: "sigmoid", 3: "softmax_weight"}.get(kind, "softmax")


def shares(made: ModelGraph, how: str) -> bool:
    return made.geometry.values.get(f"{made.geometry.architecture}.expert_weights_norm") is True if how == "file" else how == "yes"
