"""The graphs of encoders of llama.cpp b11434 (BERT and its kin): no cache, the whole batch attends to itself.

Sources: `src/models/bert.cpp`, `modern-bert.cpp`, `eurobert.cpp`, `gemma-embedding.cpp`.
"""

from __future__ import annotations

from reconciler.vram.geometry import Geometry, Layer
from reconciler.vram.graph.feed import feed_forward, mixture
from reconciler.vram.graph.model import ModelGraph
from reconciler.vram.graph.tensor import Graph, Tensor
from reconciler.vram.settings import RunSettings

ROTATED = frozenset({"nomic-bert", "nomic-bert-moe", "jina-bert-v3"})
UNGATED = frozenset({"bert", "nomic-bert-moe", "jina-bert-v3"})


def masks(made: ModelGraph) -> dict[bool, Tensor]:
    """What each token may see, for full and for sliding layers."""
    kind = "f16" if made.settings.flash_attention else "f32"
    return {sliding: made.graph.input(kind, made.tokens, made.tokens) for sliding in (False, True)}


def self_attention(made: ModelGraph, il: int, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Attention within the batch, and the output matrix."""
    for one in (query, keys, values):
        made.graph.expand(one)
    current = made.mix(query, keys, values, mask, transposed=False)
    return made.linear(f"blk.{il}.attn_output", current)


def bert_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """BERT, its Nomic and Jina variants: norms after each branch."""
    made = ModelGraph(geometry, settings)
    graph, name = made.graph, geometry.architecture
    positions = made.positions()
    current = made.embedded()
    kinds = made.weight("token_types.weight")
    if kinds is not None:
        row = Tensor("view", "f32", (made.width, 1, 1, 1), (kinds,), root=kinds)
        current = made.add(current, row)
    if name == "bert":
        current = made.add(graph.get_rows(made.need("position_embd.weight"), positions), current)
    current = made.norm(current, "token_embd_norm", "norm")
    mask = masks(made)[False]
    wanted = made.output_rows()
    every = geometry.number("moe_every_n_layers", 0)
    for il, layer in enumerate(geometry.layers):
        residual = current
        query, keys, values = made.projections(il, current, layer)
        query, keys = (_flat_norm(made, il, part, one, layer) for part, one in (("q", query), ("k", keys)))
        if name in ROTATED:
            query, keys = made.rope(il, query, positions, factors=False), made.rope(il, keys, positions, factors=False)
        current = self_attention(made, il, query, keys, values, mask)
        if il == len(geometry.layers) - 1:
            current, residual = graph.get_rows(current, wanted), graph.get_rows(residual, wanted)
        current = made.norm(made.add(current, residual), f"blk.{il}.attn_output_norm", "norm")
        if made.weight(f"blk.{il}.attn_norm_2.weight") is not None:
            current = made.norm(made.add(current, residual), f"blk.{il}.attn_norm_2", "norm")
        between = current
        if every > 0 and il % every == 1:
            current = mixture(made, il, current)
        elif name in UNGATED:
            current = feed_forward(made, il, current)
        else:
            up = made.need(f"blk.{il}.ffn_up.weight")
            fused = made.weight(f"blk.{il}.ffn_gate.weight") is None and up.ne[1] != layer.feed_forward
            current = feed_forward(made, il, current, "fused" if fused else "unary")
        current = made.norm(made.add(current, between), f"blk.{il}.layer_output_norm", "norm")
    current.output = True
    graph.expand(current)
    return graph


def _flat_norm(made: ModelGraph, il: int, part: str, tensor: Tensor, layer: Layer) -> Tensor:
    name = f"blk.{il}.attn_{part}_norm"
    if made.weight(f"{name}.weight") is None:
        return tensor
    return made.graph.reshape(made.norm(made.flat(tensor), name, "norm"), layer.key_length, tensor.ne[1], made.tokens)


def pre_norm_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """Encoders with norms before each branch: ModernBERT, EuroBERT, NeoBERT, Gemma's embedding model."""
    made = ModelGraph(geometry, settings)
    graph, name = made.graph, geometry.architecture
    kind = "norm" if name == "modern-bert" else "rms_norm"
    gemma = name == "gemma-embedding"
    positions = made.positions()
    current = made.embedded(scaled=gemma)
    if name == "modern-bert":
        current = made.norm(current, "token_embd_norm", kind)
    mask = masks(made)
    wanted = made.output_rows()
    for il, layer in enumerate(geometry.layers):
        residual = current
        current = made.norm_if(current, f"blk.{il}.attn_norm", kind)
        query, keys, values = made.projections(il, current, layer)
        if gemma:
            query, keys = made.norm(query, f"blk.{il}.attn_q_norm"), made.norm(keys, f"blk.{il}.attn_k_norm")
        query, keys = made.rope(il, query, positions, factors=False), made.rope(il, keys, positions, factors=False)
        if gemma:
            query = made.scale(query)
        current = self_attention(made, il, query, keys, values, mask[bool(layer.sliding and geometry.slides)])
        if il == len(geometry.layers) - 1:
            current, residual = graph.get_rows(current, wanted), graph.get_rows(residual, wanted)
        if gemma:
            current = made.norm(current, f"blk.{il}.post_attention_norm")
        between = made.add(current, residual)
        current = made.norm(between, f"blk.{il}.ffn_norm", kind)
        current = feed_forward(made, il, current, "fused" if name in {"modern-bert", "neo-bert"} else "unary")
        if gemma:
            current = made.norm(current, f"blk.{il}.post_ffw_norm")
        current = made.add(current, between)
    current = made.norm(current, "enc.output_norm" if name == "neo-bert" else "output_norm", kind)
    current.output = True
    graph.expand(current)
    return graph
