"""The feed-forward of a block, and mixtures of experts: `build_ffn`, `build_moe_ffn` in `src/llama-graph.cpp` of llama.cpp b11434."""

from __future__ import annotations

from reconciler.vram.graph.model import ModelGraph
from reconciler.vram.graph.tensor import Tensor, UnknownGraph, part


def feed_forward(made: ModelGraph, il: int, current: Tensor, act: str = "silu", *, parts: str = "") -> Tensor:
    """Up, gate where there is one, activation, down. `parts` names a variant of the tensors (`_shexp`)."""
    graph = made.graph
    up = made.linear(f"blk.{il}.ffn_up{parts}", current)
    gated = made.weight(f"blk.{il}.ffn_gate{parts}.weight") is not None
    if act == "fused":
        current = graph.glu_fused(up)
    elif gated:
        current = graph.glu(made.linear(f"blk.{il}.ffn_gate{parts}", current), up)
    elif act == "relu_sqr":
        current = graph.like("sqr", graph.like("unary", up))
    else:
        current = graph.like("unary", up)
    return made.linear(f"blk.{il}.ffn_down{parts}", current)


def mixture(
    made: ModelGraph,
    il: int,
    current: Tensor,
    *,
    normed: bool = False,
    scaled: bool = False,
    gating: str = "softmax",
    act: str = "silu",
    weight_first: bool = False,
    probabilities: Tensor | None = None,
    chosen_by_sigmoid: bool = False,
    parts: str = "exps",
) -> Tensor:
    """A mixture of experts: routing, the experts' feed-forward side by side, and their sum.

    `parts` names a variant of the tensors: `chexps` are GroveMoE's second experts, each for a group of the routed ones."""
    graph, tokens = made.graph, current.ne[1]
    used = made.geometry.experts_used
    if not used:
        raise UnknownGraph("experts of which none is used")
    name = f"blk.{il}.ffn_"
    logits = made.linear(f"{name}gate_inp", current) if probabilities is None else probabilities
    probs = logits if gating == "softmax_weight" else graph.like("soft_max" if gating == "softmax" else "unary", logits)
    experts = probs.ne[0]
    grouped = made.weight(f"{name}up_{parts}.weight") if parts == "chexps" else None
    if grouped is not None:
        used = min(used, grouped.ne[2])
    chosen_by = made.plus(probs, f"blk.{il}.exp_probs_b.bias")
    if weight_first:
        chosen_by = logits
    if chosen_by_sigmoid:
        chosen_by = graph.like("unary", logits)
    groups = made.geometry.number("expert_group_count", 0)
    if groups > 1:
        chosen_by = _within_groups(made, chosen_by, experts, groups, made.geometry.number("expert_group_used_count", 1))
    chosen = graph.top(chosen_by, used)
    if grouped is not None:
        chosen = graph.cast(made.scale(graph.cast(chosen, "f32")), "i32")
    weights = graph.get_rows(graph.reshape(probs, 1, experts, tokens), chosen)
    if gating == "softmax_weight":
        weights = graph.reshape(graph.like("soft_max", graph.reshape(weights, used, tokens)), 1, used, tokens)
    if normed:
        flat = graph.reshape(weights, used, tokens)
        weights = graph.reshape(graph.like("div", flat, graph.like("clamp", graph.sum_rows(flat))), 1, used, tokens)
    if scaled:
        weights = made.scale(weights)
    graph.expand(weights)
    current = graph.reshape(current, current.ne[0], 1, tokens)
    if weight_first:
        current = graph.like("mul", graph.new("repeat", "f32", (current.ne[0], used, tokens), current), weights)
    merged = made.weight(f"{name}gate_up_{parts}.weight")
    if merged is not None:
        both = _expert(made, f"{name}gate_up_{parts}", current, chosen)
        half = both.ne[0] // 2
        gate = graph.view(both, (half, used, tokens), (both.nb[1], both.nb[2]))
        up = graph.view(both, (half, used, tokens), (both.nb[1], both.nb[2]))
        inner = Tensor("glu", "f32", gate.ne, (gate, up))
    else:
        up = _expert(made, f"{name}up_{parts}", current, chosen)
        if made.weight(f"{name}gate_{parts}.weight") is not None:
            inner = graph.glu(_expert(made, f"{name}gate_{parts}", current, chosen), up)
        elif act == "relu_sqr":
            inner = graph.like("sqr", graph.like("unary", up))
        else:
            inner = graph.like("unary", up)
    out = _expert(made, f"{name}down_{parts}", inner, chosen)
    if not weight_first:
        out = graph.like("mul", out, weights)
    graph.expand(out)
    each = [graph.expand(graph.view(out, (out.ne[0], tokens), (out.nb[2],))) for _ in range(used)]
    total = each[0]
    for one in each[1:]:
        total = graph.expand(made.add(total, one))
    return graph.cont(total) if used == 1 else total


def _expert(made: ModelGraph, name: str, current: Tensor, chosen: Tensor) -> Tensor:
    out = made.graph.mul_mat_id(made.need(f"{name}.weight"), current, chosen)
    bias = made.weight(f"{name}.bias")
    return out if bias is None else made.graph.like("add_id", out, bias, chosen)


def _within_groups(made: ModelGraph, probs: Tensor, experts: int, groups: int, used: int) -> Tensor:
    graph, tokens = made.graph, probs.ne[1]
    size = part(experts, groups)
    grouped = graph.reshape(probs, size, groups, tokens)
    best = graph.top(grouped, 2)
    scores = graph.get_rows(graph.reshape(grouped, 1, size, groups, tokens), best)
    scores = graph.sum_rows(graph.reshape(scores, scores.ne[1], scores.ne[2], scores.ne[3]))
    chosen = graph.top(graph.reshape(scores, scores.ne[1], scores.ne[2]), used)
    kept = graph.get_rows(grouped, chosen)
    return graph.reshape(graph.set_rows(graph.like("fill", grouped), kept, chosen), experts, tokens)
