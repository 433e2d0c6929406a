"""Decoders that add a thing of their own to Llama's block: Talkie, Chameleon, GroveMoE; and those whose blocks run more than once.

Sources: `src/models/talkie.cpp`, `chameleon.cpp`, `grovemoe.cpp`, `nanbeige.cpp`, `hrm-text.cpp` of llama.cpp b11434.
"""

from __future__ import annotations

from reconciler.vram.geometry import Geometry
from reconciler.vram.graph.decoders import attention, gated
from reconciler.vram.graph.feed import feed_forward, mixture
from reconciler.vram.graph.model import ModelGraph
from reconciler.vram.graph.plain import Plain
from reconciler.vram.graph.tensor import Graph, Tensor
from reconciler.vram.settings import RunSettings

IMAGE_TOKENS = 8192
"""Chameleon's tokens of images, whose logits are overwritten."""


def talkie_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """Norms without weights, and the embedding added to every block's output."""
    made = ModelGraph(geometry, settings)
    graph, tokens = made.graph, made.tokens
    current = skipped = made.norm(made.embedded(), None)
    positions, inputs, wanted = made.positions(), made.cache_inputs()[False], made.output_rows()
    for il, layer in enumerate(geometry.layers):
        residual = current
        query, keys, values = made.projections(il, made.norm(current, None), layer)
        query, keys = made.rope(il, query, positions, factors=False), made.rope(il, keys, positions, factors=False)
        query, keys = made.norm(query, f"blk.{il}.attn_q_norm"), made.norm(keys, None)
        current = made.attend(il, layer, inputs, query, keys, values)
        if il == len(geometry.layers) - 1:
            current, residual, skipped = (graph.get_rows(one, wanted) for one in (current, residual, skipped))
        between = made.add(current, residual)
        current = made.add(feed_forward(made, il, made.norm(between, None)), between)
        current = made.add(current, graph.like("mul", skipped, made.need(f"blk.{il}.layer_output_scale.weight")))
    current = made.norm(current, None)
    current.output = True
    logits = made.scale(graph.mul_mat(made.need("output.weight"), current))
    logits.output = tokens > 0
    graph.expand(logits)
    return graph


def chameleon_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """Norms before or, in the larger model, after each branch; no image tokens are given out."""
    made = ModelGraph(geometry, settings)
    graph = made.graph
    after = geometry.values.get("chameleon.swin_norm") is True
    current = made.embedded()
    positions, inputs, wanted = made.positions(), made.cache_inputs()[False], made.output_rows()
    for il, layer in enumerate(geometry.layers):
        residual = current
        normed = current if after else made.norm(current, f"blk.{il}.attn_norm")
        query, keys, values = made.projections(il, normed, layer)
        query = made.norm_if(query, f"blk.{il}.attn_q_norm", "norm")
        keys = made.norm_if(keys, f"blk.{il}.attn_k_norm", "norm")
        query, keys = made.rope(il, query, positions, factors=False), made.rope(il, keys, positions, factors=False)
        current = made.attend(il, layer, inputs, query, keys, values)
        if il == len(geometry.layers) - 1:
            current, residual = graph.get_rows(current, wanted), graph.get_rows(residual, wanted)
        if after:
            current = made.norm(current, f"blk.{il}.attn_norm")
        between = made.add(current, residual)
        current = feed_forward(made, il, current if after else made.norm(between, f"blk.{il}.ffn_norm"))  # as there: not the sum
        if after:
            current = made.norm(current, f"blk.{il}.ffn_norm")
        current = made.add(current, between)
    current = made.norm(current, "output_norm")
    current.output = True
    logits = graph.mul_mat(made.need("output.weight"), current)
    silenced = graph.like("clamp", Tensor("none", "f32", (IMAGE_TOKENS, 1, 1, 1)))
    logits = graph.like("set", logits, silenced)
    logits.output = True
    graph.expand(logits)
    return graph


def grove_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """A second, smaller mixture whose experts each serve a group of the first one's."""
    made = ModelGraph(geometry, settings)
    graph = made.graph
    current = made.embedded()
    positions, inputs, wanted = made.positions(), made.cache_inputs(), made.output_rows()
    for il, layer in enumerate(geometry.layers):
        residual = current
        normed = made.norm(current, f"blk.{il}.attn_norm")
        current = attention(made, Plain(heads="before"), il, layer, inputs, normed, positions)
        if il == len(geometry.layers) - 1:
            current, residual = graph.get_rows(current, wanted), graph.get_rows(residual, wanted)
        between = made.add(current, residual)
        normed = made.norm(between, f"blk.{il}.ffn_norm")
        logits = graph.mul_mat(made.need(f"blk.{il}.ffn_gate_inp.weight"), normed)
        scaled = made.scales_experts()
        current = mixture(made, il, normed, normed=True, scaled=scaled, probabilities=logits, chosen_by_sigmoid=True)
        again = mixture(made, il, current, normed=True, scaled=scaled, probabilities=logits, chosen_by_sigmoid=True, parts="chexps")
        current = made.add(made.add(current, made.scale(again)), between)
    return made.finish(current)


def looped_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """Nanbeige: all blocks run several times, each time with caches of their own, with the last norm between."""
    made = ModelGraph(geometry, settings)
    graph = made.graph
    loops = geometry.number("num_loops", 1)
    blocks = len(geometry.layers) // max(1, loops)
    bare = geometry.values.get("nanbeige.skip_loop_final_norm") is True
    current = made.embedded()
    positions, inputs, wanted = made.positions(), made.cache_inputs()[False], made.output_rows()
    last = len(geometry.layers) - 1
    for slot, layer in enumerate(geometry.layers):
        il = slot % blocks
        residual = current
        query, keys, values = made.projections(il, made.norm(current, f"blk.{il}.attn_norm"), layer)
        query, keys = made.rope(il, query, positions), made.rope(il, keys, positions)
        current = made.linear(f"blk.{il}.attn_output", made.attend(slot, layer, inputs, query, keys, values, output=None))
        if slot == last:
            current, residual = graph.get_rows(current, wanted), graph.get_rows(residual, wanted)
        between = made.add(current, residual)
        current = made.add(feed_forward(made, il, made.norm(between, f"blk.{il}.ffn_norm")), between)
        if il == blocks - 1 and slot < last and not bare:
            current = made.norm(current, "output_norm")
    return made.finish(current)


def hrm_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """HRM: a low stack several times, then a high one, several times over; the states of both are added."""
    made = ModelGraph(geometry, settings)
    graph = made.graph
    size, high_cycles, low_cycles = (geometry.number(f"hrm.{key}") for key in ("layers_per_stack", "h_cycles", "l_cycles"))
    high = made.embedded()
    if made.says("embedding_scale"):
        high = made.scale(high)
    positions, inputs, wanted = made.positions(), made.cache_inputs()[False], made.output_rows()
    low = made.need("hrm.z_l_init")
    slot = 0
    for _ in range(high_cycles):
        for cycle in range(low_cycles + 1):
            current = made.add(high, low)
            first = size if cycle == low_cycles else 0
            for il in range(first, first + size):
                layer = geometry.layers[slot]
                residual, normed = current, made.norm(current, None)
                query, keys, values = made.projections(il, normed, layer)
                query, keys = made.rope(il, query, positions, factors=False), made.rope(il, keys, positions, factors=False)
                out = made.attend(slot, layer, inputs, query, keys, values, output=None)
                out = gated(made, made.need(f"blk.{il}.attn_gate.weight"), layer, normed, out)
                between = made.add(graph.mul_mat(made.need(f"blk.{il}.attn_output.weight"), out), residual)
                current = made.add(feed_forward(made, il, made.norm(between, None)), between)
                slot += 1
            current = made.norm(current, None)
            if cycle == low_cycles:
                high = current
            else:
                low = current
    rows = graph.get_rows(high, wanted)
    rows.output = True
    logits = graph.mul_mat(made.need("output.weight"), rows)
    logits.output = True
    graph.expand(logits)
    return graph
