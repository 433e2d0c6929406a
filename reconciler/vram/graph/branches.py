"""Decoders whose block has a branch more than Llama's: Trinity (AFMoE), Arctic, SmallThinker, BitNet; and diffusion models without a cache.

Sources: `src/models/NAME.cpp` of llama.cpp b11434.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from reconciler.vram.geometry import Geometry, Layer
from reconciler.vram.graph.decoders import attention, feed
from reconciler.vram.graph.encoders import masks, self_attention
from reconciler.vram.graph.feed import feed_forward, mixture
from reconciler.vram.graph.model import Inputs, ModelGraph
from reconciler.vram.graph.plain import NO_ROPE_STEP, Plain
from reconciler.vram.graph.tensor import Graph, Tensor
from reconciler.vram.settings import RunSettings

_SIGMOID_OR_SOFTMAX: Mapping[int, str] = MappingProxyType({1: "softmax", 2: "sigmoid", 3: "softmax_weight"})

Block = Callable[[ModelGraph, int, Layer, dict[bool, Inputs], Tensor, Tensor, "Tensor | None"], Tensor]
"""One block: graph, its number and layer, inputs of the caches, what comes in, positions, and the rows that go out (the last block's)."""


def afmoe_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """Trinity: the attention's output is gated before its matrix; norms after both branches."""
    return _decoder(geometry, settings, _afmoe_block, scaled=True)


def arctic_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """A dense feed-forward after attention, and a mixture beside both on the block's input."""
    return _decoder(geometry, settings, _arctic_block)


def smallthinker_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """Experts are chosen by the block's input, before attention."""
    return _decoder(geometry, settings, _smallthinker_block)


def bitnet_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """A norm before each of the two last matrices of a block; the output is the embedding."""
    return _decoder(geometry, settings, _bitnet_block, matrix="token_embd")


def deci_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """Llama with blocks that a search made smaller: without attention, with one matrix in its place, or without a feed-forward."""
    made = ModelGraph(geometry, settings)
    graph = made.graph
    current = made.embedded()
    positions = made.positions()
    inputs = made.cache_inputs()
    wanted = made.output_rows()
    for il, layer in enumerate(geometry.layers):
        residual, between = current, current
        if layer.heads:
            between = made.norm(current, f"blk.{il}.attn_norm")
            if not layer.kv_heads:
                between = graph.mul_mat(made.need(f"blk.{il}.attn_output.weight"), between)
            else:
                between = attention(made, Plain(), il, layer, inputs, between, positions)
        if il == len(geometry.layers) - 1:
            between, residual = _gathered(made, wanted, between, residual)
        if not layer.feed_forward:
            continue
        if layer.heads:
            between = made.add(between, residual)
        current = made.add(feed_forward(made, il, made.norm(between, f"blk.{il}.ffn_norm")), between)
    return made.finish(current)


def grok_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """Norms after both branches, a mixture and, in the second model, a dense feed-forward whose sum is scaled."""
    return _decoder(geometry, settings, _grok_block, scaled=True, capped=_capped(geometry))


def _capped(geometry: Geometry) -> bool:
    found = geometry.values.get("grok.final_logit_softcapping")
    return isinstance(found, (int, float)) and found != 0


def _grok_block(
    made: ModelGraph, il: int, layer: Layer, inputs: dict[bool, Inputs], residual: Tensor, positions: Tensor, wanted: Tensor | None
) -> Tensor:
    normed = made.norm(residual, f"blk.{il}.attn_norm")
    query, keys, values = made.projections(il, normed, layer)
    query, keys = made.rope(il, query, positions, factors=False), made.rope(il, keys, positions, factors=False)
    current = made.attend(il, layer, inputs[False], query, keys, values, soft_cap=True)
    current, residual = _gathered(made, wanted, current, residual)
    between = made.add(made.norm(current, f"blk.{il}.attn_output_norm"), residual)
    normed = made.norm(between, f"blk.{il}.ffn_norm")
    out = mixture(made, il, normed, normed=True, scaled=made.scales_experts())
    if made.weight(f"blk.{il}.ffn_up.weight") is not None:
        out = made.scale(made.add(feed_forward(made, il, normed), out))
    last = "layer_output_norm" if made.weight(f"blk.{il}.layer_output_norm.weight") is not None else "post_ffw_norm"
    return made.add(made.norm(out, f"blk.{il}.{last}"), between)


def _decoder(
    geometry: Geometry, settings: RunSettings, block: Block, *, scaled: bool = False, capped: bool | None = None, matrix: str = "output"
) -> Graph:
    """The blocks between embedding and logits; `capped` None: the logits are not even scaled."""
    made = ModelGraph(geometry, settings)
    current = made.embedded()
    if scaled:
        current = made.scale(current)
    positions = made.positions()
    inputs = made.cache_inputs()
    wanted = made.output_rows()
    last = len(geometry.layers) - 1
    for il, layer in enumerate(geometry.layers):
        current = block(made, il, layer, inputs, current, positions, wanted if il == last else None)
    return made.finish(current, matrix=matrix, scaled=capped is not None, capped=bool(capped))


def _gathered(made: ModelGraph, wanted: Tensor | None, *tensors: Tensor) -> tuple[Tensor, ...]:
    return tensors if wanted is None else tuple(made.graph.get_rows(one, wanted) for one in tensors)


def _afmoe_block(
    made: ModelGraph, il: int, layer: Layer, inputs: dict[bool, Inputs], residual: Tensor, positions: Tensor, wanted: Tensor | None
) -> Tensor:
    graph, geometry = made.graph, made.geometry
    normed = made.norm(residual, f"blk.{il}.attn_norm")
    query, keys, values = made.projections(il, normed, layer)
    gate = made.linear(f"blk.{il}.attn_gate", normed)
    query, keys = made.norm(query, f"blk.{il}.attn_q_norm"), made.norm(keys, f"blk.{il}.attn_k_norm")
    if (il + 1) % NO_ROPE_STEP:
        query, keys = made.rope(il, query, positions, factors=False), made.rope(il, keys, positions, factors=False)
    sliding = bool(layer.sliding and geometry.slides)
    current = made.attend(il, layer, inputs[sliding], query, keys, values, keys_last=not geometry.slides, output=None)
    current = made.linear(f"blk.{il}.attn_output", graph.like("mul", current, graph.like("unary", gate)))
    current = made.norm(current, f"blk.{il}.post_attention_norm")
    current, residual = _gathered(made, wanted, current, residual)
    between = made.add(current, residual)
    routing = _SIGMOID_OR_SOFTMAX.get(geometry.number("expert_gating_func", 2), "sigmoid")
    current = feed(made, Plain(experts=routing, share="file"), il, made.norm(between, f"blk.{il}.ffn_norm"))
    return made.add(made.norm(current, f"blk.{il}.post_ffw_norm"), between)


def _arctic_block(
    made: ModelGraph, il: int, layer: Layer, inputs: dict[bool, Inputs], residual: Tensor, positions: Tensor, wanted: Tensor | None
) -> Tensor:
    query, keys, values = made.projections(il, made.norm(residual, f"blk.{il}.attn_norm"), layer)
    query, keys = made.rope(il, query, positions, factors=False), made.rope(il, keys, positions, factors=False)
    current = made.attend(il, layer, inputs[False], query, keys, values)
    current, residual = _gathered(made, wanted, current, residual)
    between = made.add(current, residual)
    dense = made.add(feed_forward(made, il, made.norm(between, f"blk.{il}.ffn_norm")), between)
    experts = mixture(made, il, made.norm(residual, f"blk.{il}.ffn_norm_exps"), normed=True, scaled=made.scales_experts())
    return made.add(experts, dense)


def _smallthinker_block(
    made: ModelGraph, il: int, layer: Layer, inputs: dict[bool, Inputs], residual: Tensor, positions: Tensor, wanted: Tensor | None
) -> Tensor:
    geometry = made.geometry
    routing = made.graph.mul_mat(made.need(f"blk.{il}.ffn_gate_inp.weight"), residual)
    query, keys, values = made.projections(il, made.norm(residual, f"blk.{il}.attn_norm"), layer)
    if not geometry.slides or len(geometry.layers) == NO_ROPE_STEP or il % NO_ROPE_STEP:
        query, keys = made.rope(il, query, positions, factors=False), made.rope(il, keys, positions, factors=False)
    sliding = bool(layer.sliding and geometry.slides)
    current = made.attend(il, layer, inputs[sliding], query, keys, values, keys_last=not geometry.slides)
    current, residual, routing = _gathered(made, wanted, current, residual, routing)
    between = made.add(current, residual)
    gating = _SIGMOID_OR_SOFTMAX.get(geometry.number("expert_gating_func", 1), "softmax")
    normed = made.norm(between, f"blk.{il}.ffn_norm")
    out = mixture(made, il, normed, normed=True, scaled=made.scales_experts(), gating=gating, probabilities=routing)
    return made.add(out, between)


def _bitnet_block(
    made: ModelGraph, il: int, layer: Layer, inputs: dict[bool, Inputs], residual: Tensor, positions: Tensor, wanted: Tensor | None
) -> Tensor:
    graph = made.graph
    query, keys, values = made.projections(il, made.norm(residual, f"blk.{il}.attn_norm"), layer)
    query, keys = made.rope(il, query, positions, factors=False), made.rope(il, keys, positions, factors=False)
    current = made.attend(il, layer, inputs[False], query, keys, values, output=None)
    current = made.linear(f"blk.{il}.attn_output", made.norm(current, f"blk.{il}.attn_sub_norm"))
    current, residual = _gathered(made, wanted, current, residual)
    between = made.add(current, residual)
    normed = made.norm(between, f"blk.{il}.ffn_norm")
    up = made.linear(f"blk.{il}.ffn_up", normed)
    inner = made.norm(graph.glu(made.linear(f"blk.{il}.ffn_gate", normed), up), f"blk.{il}.ffn_sub_norm")
    return made.add(made.linear(f"blk.{il}.ffn_down", inner), between)


def diffusion_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """Dream, LLaDA, RND1, and Llama as an embedder: blocks of a decoder, attention over the batch alone."""
    made = ModelGraph(geometry, settings)
    graph = made.graph
    current = made.embedded()
    positions = made.positions()
    mask = masks(made)[False]
    wanted = made.output_rows()
    how = Plain(share="no" if geometry.architecture == "llada-moe" else "yes")
    for il, layer in enumerate(geometry.layers):
        residual = current
        query, keys, values = made.projections(il, made.norm(current, f"blk.{il}.attn_norm"), layer)
        names = (f"blk.{il}.attn_q_norm", f"blk.{il}.attn_k_norm")
        query, keys = made.norm_if(query, names[0]), made.norm_if(keys, names[1])
        query, keys = made.rope(il, query, positions), made.rope(il, keys, positions)
        current = self_attention(made, il, query, keys, values, mask)
        if il == len(geometry.layers) - 1:
            current, residual = graph.get_rows(current, wanted), graph.get_rows(residual, wanted)
        between = made.add(current, residual)
        current = made.add(feed(made, how, il, made.norm(between, f"blk.{il}.ffn_norm")), between)
    if geometry.architecture != "llama-embed":
        return made.finish(current)
    current = made.norm(current, "output_norm")
    current.output = True
    graph.expand(current)
    return graph
