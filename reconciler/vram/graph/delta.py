"""The graphs of gated delta nets of llama.cpp b11434: Qwen 3 Next, Qwen 3.5.

Sources: `src/models/qwen3next.cpp`, `qwen35.cpp`, `qwen35moe.cpp`, `delta-net-base.cpp`.
Every card is taken to have the fused operator.
"""

from __future__ import annotations

from reconciler.vram.builds import states_kept
from reconciler.vram.geometry import Geometry, Layer
from reconciler.vram.graph.feed import feed_forward, mixture
from reconciler.vram.graph.model import Inputs, ModelGraph
from reconciler.vram.graph.recurrent import States, convolution, convolved
from reconciler.vram.graph.tensor import Graph, Tensor, part
from reconciler.vram.settings import RunSettings


def delta_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """Gated delta net layers with a gated full attention every few layers."""
    made = ModelGraph(geometry, settings)
    graph = made.graph
    current = made.embedded()
    inputs, states = made.cache_inputs()[False], States(made)
    positions = made.positions(1 if geometry.architecture == "qwen3next" else 4)
    wanted = made.output_rows()
    for il, layer in enumerate(geometry.layers):
        residual = current
        current = graph.expand(made.norm(current, f"blk.{il}.attn_norm"))
        current = _delta(made, states, il, current) if layer.recurrent else _gated_attention(made, il, layer, inputs, current, positions)
        between = made.add(current, residual)
        current = made.norm(between, f"blk.{il}.post_attention_norm")
        current = made.add(_feed(made, il, current), between)
    current = made.norm(current, "output_norm")
    current.output = True
    rows = graph.get_rows(current, wanted)
    rows.output = True
    logits = made.linear("output", rows)
    logits.output = True
    graph.expand(logits)
    return graph


def delta_head_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """The head that drafts (`graph_mtp`): the next token's embedding beside the model's last row, and one block with gated attention."""
    made = ModelGraph(geometry, settings)
    graph, il, layer = made.graph, len(geometry.layers), geometry.head[0]
    name = f"blk.{il}.nextn"
    table = made.weight(f"{name}.embed_tokens.weight") or made.need("token_embd.weight")
    embedded = graph.get_rows(table, graph.input("i32", made.tokens))
    hidden = graph.input("f32", made.width, made.tokens)
    positions, inputs, wanted = made.positions(4), made.cache_inputs()[False], made.output_rows()
    joined = graph.concat(made.norm(embedded, f"{name}.enorm"), made.norm(hidden, f"{name}.hnorm"), 0)
    current = residual = made.linear(f"{name}.eh_proj", joined)
    current = _gated_attention(made, il, layer, inputs, made.norm(current, f"blk.{il}.attn_norm"), positions)
    between = made.add(current, residual)
    current = made.add(_feed(made, il, made.norm(between, f"blk.{il}.post_attention_norm")), between)
    own = made.weight(f"{name}.shared_head_norm.weight") is not None
    current = made.norm(current, f"{name}.shared_head_norm" if own else "output_norm")
    current.output = True
    own = made.weight(f"{name}.shared_head_head.weight") is not None
    logits = made.linear(f"{name}.shared_head_head" if own else "output", graph.get_rows(current, wanted))
    logits.output = True
    graph.expand(logits)
    return graph


def _gated_attention(made: ModelGraph, il: int, layer: Layer, inputs: Inputs, current: Tensor, positions: Tensor) -> Tensor:
    """Attention whose query comes with a gate of the same size for its output."""
    graph, tokens, head, heads = made.graph, made.tokens, layer.key_length, layer.heads
    both = made.linear(f"blk.{il}.attn_q", current)
    steps = (8 * head, 8 * head * heads)
    if made.geometry.architecture == "qwen3next":
        both = graph.reshape(both, 2 * head, heads, tokens)
    query = graph.view(both, (head, heads, tokens), steps)
    gate = graph.view(both, (head, heads, tokens), steps)
    keys = graph.reshape(made.linear(f"blk.{il}.attn_k", current), head, layer.kv_heads, tokens)
    values = graph.reshape(made.linear(f"blk.{il}.attn_v", current), head, layer.kv_heads, tokens)
    query = made.rope(il, made.norm(query, f"blk.{il}.attn_q_norm"), positions, factors=False)
    keys = made.rope(il, made.norm(keys, f"blk.{il}.attn_k_norm"), positions, factors=False)
    current = made.attend(il, layer, inputs, query, keys, values, output=None)
    gate = graph.like("unary", graph.cont(gate, head * heads, tokens))
    return made.linear(f"blk.{il}.attn_output", graph.like("mul", current, gate))


def _delta(made: ModelGraph, states: States, il: int, current: Tensor) -> Tensor:
    geometry, graph = made.geometry, made.graph
    inner, key = geometry.number("ssm.inner_size"), geometry.number("ssm.state_size")
    key_heads, value_heads = geometry.number("ssm.group_count"), geometry.number("ssm.time_step_rank")
    value = part(inner, value_heads)
    each, count = states.each, states.count
    channels = inner + 2 * key_heads * key
    mixed, z = _projections(made, il, current, key, key_heads, value, value_heads, states)
    beta, gate = _beta_and_gate(made, il, current, key_heads, value_heads, states)
    kernel = made.need(f"blk.{il}.ssm_conv1d.weight").ne[0]
    joined = convolved(made, states, il, mixed, kernel, channels)
    size = key * inner
    cache = states.stored(il, size)
    state = graph.reshape(states.read(cache, size), value, value, value_heads, count)
    out = graph.like("unary", convolution(made, joined, f"blk.{il}.ssm_conv1d.weight", each))
    row = 4 * channels
    query, keys = (graph.view(out, (key, key_heads, each, count), (4 * key, row, row * each)) for _ in range(2))
    values = graph.view(out, (value, value_heads, each, count), (4 * value, row, row * each))
    query, keys = (made.scale(graph.like("rms_norm", one)) for one in (query, keys))
    if key_heads != value_heads and geometry.architecture == "qwen3next":
        times = part(value_heads, key_heads)
        query, keys = (
            graph.reshape(
                graph.new("repeat", "f32", (key, times, key_heads, each * count), graph.reshape(one, key, 1, key_heads, each * count)),
                key, value_heads, each, count,
            )
            for one in (query, keys)
        )  # fmt: skip
    kept = states_kept(geometry.architecture, made.settings.build, made.settings.drafted)
    result = graph.new(
        "delta_net", "f32", (value * value_heads, each * count + kept * value * count), query, keys, values, gate, beta, state
    )
    graph.expand(graph.copy(graph.view(result, (value, value, value_heads, count)), graph.view(cache, (size, count))))
    output = graph.view(result, (value, value_heads, each, count))
    z = graph.reshape(z, value, value_heads, each, count)
    output = graph.like("mul", made.norm(output, f"blk.{il}.ssm_norm"), graph.like("unary", z))
    output = graph.reshape(output, inner, each, count)
    return graph.reshape(graph.mul_mat(made.need(f"blk.{il}.ssm_out.weight"), output), made.width, made.tokens)


def _projections(
    made: ModelGraph, il: int, current: Tensor, key: int, key_heads: int, value: int, value_heads: int, states: States
) -> tuple[Tensor, Tensor]:
    """Query, keys and values as channels (channels, tokens, sequences), and the output's gate."""
    graph, each, count = made.graph, states.each, states.count
    fused = made.weight(f"blk.{il}.attn_qkv.weight")
    if fused is not None:
        mixed = graph.mul_mat(fused, current)
        return graph.reshape(mixed, mixed.ne[0], each, count), graph.mul_mat(made.need(f"blk.{il}.attn_gate.weight"), current)
    every = graph.mul_mat(made.need(f"blk.{il}.ssm_in.weight"), current)
    group = part(value * value_heads, key_heads)
    every = graph.reshape(every, 2 * key + 2 * group, key_heads, each, count)
    steps = every.nb[1:]
    query, keys = (graph.cont(graph.view(every, (key, key_heads, each, count), steps), key * key_heads, each, count) for _ in range(2))
    values = graph.cont(graph.view(every, (group, key_heads, each, count), steps), value * value_heads, each, count)
    z = graph.cont(graph.view(every, (group, key_heads, each, count), steps))
    return graph.concat(graph.concat(query, keys, 0), values, 0), z


def _beta_and_gate(made: ModelGraph, il: int, current: Tensor, key_heads: int, heads: int, states: States) -> tuple[Tensor, Tensor]:
    graph, each, count = made.graph, states.each, states.count
    together = made.weight(f"blk.{il}.ssm_ba.weight")
    if together is not None:
        both = graph.reshape(graph.mul_mat(together, current), part(2 * heads, key_heads), key_heads, each, count)
        lengths = (part(heads, key_heads), key_heads, each, count)
        beta = graph.reshape(graph.like("unary", graph.cont(graph.view(both, lengths, both.nb[1:]))), 1, heads, each, count)
        alpha = graph.cont(graph.view(both, lengths, both.nb[1:]), heads, each, count)
    else:
        beta = graph.like("unary", graph.reshape(graph.mul_mat(made.need(f"blk.{il}.ssm_beta.weight"), current), 1, heads, each, count))
        alpha = graph.reshape(graph.mul_mat(made.need(f"blk.{il}.ssm_alpha.weight"), current), heads, each, count)
    gate = graph.like("unary", graph.like("add", alpha, made.need(f"blk.{il}.ssm_dt.bias")))
    gate = graph.like("mul", gate, made.need(f"blk.{il}.ssm_a"))
    return beta, graph.reshape(gate, 1, heads, each, count)


def _feed(made: ModelGraph, il: int, current: Tensor) -> Tensor:
    if made.weight(f"blk.{il}.ffn_gate_inp.weight") is None:
        return feed_forward(made, il, current)
    graph = made.graph
    out = mixture(made, il, current, normed=True, scaled=made.scales_experts())
    if made.weight(f"blk.{il}.ffn_up_shexp.weight") is None:
        return out
    shared = feed_forward(made, il, current, parts="_shexp")
    gate = graph.like("unary", graph.mul_mat(made.need(f"blk.{il}.ffn_gate_inp_shexp.weight"), current))
    return made.add(out, graph.like("mul", shared, gate))
