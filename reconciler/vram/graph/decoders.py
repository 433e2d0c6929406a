"""The graphs of decoder architectures of llama.cpp b11434, each from the parts of `model.py`. Sources: its `src/models/NAME.cpp`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from reconciler.vram.geometry import Geometry
from reconciler.vram.graph.model import ModelGraph
from reconciler.vram.graph.tensor import Graph, Tensor
from reconciler.vram.settings import RunSettings


@dataclass(frozen=True, slots=True)
class Plain:
    """How an architecture differs from Llama's block: norm, attention, add, norm, feed-forward, add.

    `norm`: operator. `embedding`: `scaled` by a row of factors, `multiplied` by one number, or neither. `act`: activation without a gate.
    `head_norm`: query and keys are normed `before` the rotation, `after` it, or `flat` (all heads as one row). `post`: norms after attention and
    feed-forward. `query_scaled`: the query is scaled before attention. `gather`: output rows are taken in the last `layer`, or `after` it.
    """

    norm: str = "rms_norm"
    embedding: str = ""
    act: str = "silu"
    head_norm: str = ""
    post: bool = False
    second_norm: str = "ffn_norm"
    query_scaled: bool = False
    residual_scaled: bool = False
    logits_scaled: bool = False
    capped: bool = False
    soft_cap: bool = False
    sinks: bool = False
    gather: str = "layer"
    gating: str = "softmax"
    normed_experts: bool = False
    clamped: bool = False
    rotated: bool = True


PLAIN: Mapping[str, Plain] = MappingProxyType(
    {
        "llama": Plain(normed_experts=True),
        "qwen2": Plain(),
        "qwen3": Plain(head_norm="before"),
        "qwen3moe": Plain(head_norm="before", normed_experts=True),
        "gemma3": Plain(embedding="scaled", head_norm="before", post=True, query_scaled=True),
        "gpt-oss": Plain(second_norm="post_attention_norm", sinks=True, gather="after", gating="softmax_weight"),
        "granite": Plain(embedding="multiplied", residual_scaled=True, logits_scaled=True, normed_experts=True),
    }
)


def plain_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """The graph of an architecture that is listed in PLAIN."""
    how = PLAIN[geometry.architecture]
    made = ModelGraph(geometry, settings)
    graph = made.graph
    current = made.embedded(scaled=how.embedding == "scaled", multiplied=how.embedding == "multiplied")
    positions = made.positions()
    inputs = made.cache_inputs()
    wanted = made.output_rows()
    last = len(geometry.layers) - 1
    for il, layer in enumerate(geometry.layers):
        residual = current
        current = made.norm(residual, f"blk.{il}.attn_norm", how.norm)
        query, keys, values = made.projections(il, current, layer, clamped=how.clamped)
        if how.head_norm == "before":
            query = made.norm(query, f"blk.{il}.attn_q_norm")
        if how.rotated:
            query = made.rope(il, query, positions)
        if how.head_norm == "before":
            keys = made.norm(keys, f"blk.{il}.attn_k_norm")
        if how.rotated:
            keys = made.rope(il, keys, positions)
        if how.query_scaled:
            query = made.scale(query)
        sliding = bool(layer.sliding and geometry.slides)
        current = made.attend(
            il, layer, inputs[sliding], query, keys, values,
            keys_last=not geometry.slides, soft_cap=how.soft_cap, sinks=f"blk.{il}.attn_sinks.weight" if how.sinks else None,
        )  # fmt: skip
        if il == last and how.gather == "layer":
            current, residual = graph.get_rows(current, wanted), graph.get_rows(residual, wanted)
        if how.post:
            current = made.norm(current, f"blk.{il}.post_attention_norm", how.norm)
        if how.residual_scaled:
            current = made.scale(current)
        between = made.add(current, residual)
        current = made.norm(between, f"blk.{il}.{how.second_norm}", how.norm)
        if made.weight(f"blk.{il}.ffn_gate_inp.weight") is not None:
            current = made.mixture(il, current, normed=how.normed_experts, gating=how.gating)
        else:
            current = made.feed_forward(il, current, how.act)
        if how.post:
            current = made.norm(current, f"blk.{il}.post_ffw_norm", how.norm)
        if how.residual_scaled:
            current = made.scale(current)
        current = made.add(current, between)
    if how.gather == "after":
        current.output = True
        current = graph.get_rows(current, wanted)
    return made.finish(current, norm=how.norm, scaled=how.logits_scaled, capped=how.capped)


DECODERS: Mapping[str, Callable[[Geometry, RunSettings], Graph]] = MappingProxyType(dict.fromkeys(PLAIN, plain_graph))
_ = Tensor
