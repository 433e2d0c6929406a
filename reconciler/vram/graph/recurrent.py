"""The graphs of recurrent and hybrid models of llama.cpp b11434: Mamba 1 and 2 and their hybrids, LFM 2, gated delta nets.

Sources: `src/models/mamba-base.cpp`, `jamba.cpp`, `falcon-h1.cpp`, `granite-hybrid.cpp`, `nemotron-h.cpp`, `lfm2.cpp`, `qwen3next.cpp`,
`delta-net-base.cpp`; `build_rs` in `src/llama-graph.cpp`.
"""

from __future__ import annotations

from collections.abc import Callable

from reconciler.vram.geometry import Geometry
from reconciler.vram.graph.decoders import attention, gating, shares
from reconciler.vram.graph.feed import feed_forward, mixture
from reconciler.vram.graph.model import ModelGraph
from reconciler.vram.graph.plain import PLAIN, Plain
from reconciler.vram.graph.tensor import Graph, Tensor, part
from reconciler.vram.settings import RunSettings

FromStates = Callable[[Tensor, Tensor], Tensor]


class States:
    """The recurrent state of all sequences: where each sequence's state is copied from."""

    def __init__(self, made: ModelGraph) -> None:
        self.made = made
        self.count = made.settings.slots
        self.each = made.tokens // self.count
        graph = made.graph
        self.copy = graph.input("i32", self.count)
        self.main = graph.view(self.copy, (self.count,))
        self.tail = graph.view(self.copy, (self.count - 1,))

    def stored(self, il: int, size: int) -> Tensor:
        return self.made.graph.stored(self.made.places[il], (size, self.count), weight=False, kind="f32")

    def read(self, cache: Tensor, size: int, using: FromStates | None = None) -> Tensor:
        """The states of this batch, (size, sequences), or what `using` makes of them."""
        graph = self.made.graph
        states = graph.reshape(cache, size, self.count)
        zero = graph.view(states, (size,))
        graph.expand(Tensor("scale", "f32", zero.ne, (zero,), nb=zero.nb, root=cache))
        every = graph.get_rows(states, self.tail if using else self.copy)
        found = using(states, self.main) if using else graph.view(every, (size, self.count))
        graph.expand(found)
        graph.expand(graph.copy(graph.view(every, (size, 0)), graph.view(cache, (size, 0))))
        return found

    def write(self, tensor: Tensor, cache: Tensor) -> None:
        self.made.graph.expand(self.made.graph.copy(tensor, graph_view(self.made, cache, tensor.elements)))


def graph_view(made: ModelGraph, cache: Tensor, elements: int) -> Tensor:
    return made.graph.view(cache, (elements,))


def convolved(made: ModelGraph, states: States, il: int, current: Tensor, kernel: int, channels: int) -> Tensor:
    """The last inputs of each sequence in front of `current` (channels, tokens, sequences), the newest kept for next time."""
    graph = made.graph
    cache = states.stored(il, (kernel - 1) * channels)
    before = graph.reshape(states.read(cache, (kernel - 1) * channels), kernel - 1, channels, states.count)
    joined = graph.concat(before, graph.transpose(current), 0)
    states.write(graph.view(joined, (kernel - 1, channels, states.count), (joined.nb[1], joined.nb[2])), cache)
    return joined


def convolution(made: ModelGraph, joined: Tensor, weight: str, each: int) -> Tensor:
    return convolution_of(made, joined, made.need(weight), each)


def convolution_of(made: ModelGraph, joined: Tensor, weight: Tensor, each: int) -> Tensor:
    return made.graph.new("ssm_conv", "f32", (joined.ne[1], each, joined.ne[2]), joined, weight)


def scan(
    made: ModelGraph, cache: Tensor, states: States, size: int, parts: tuple[Tensor, ...], elements: int, lengths: tuple[int, ...]
) -> Tensor:
    """The selective scan over the stored states: its output and the new states in one tensor."""
    graph = made.graph

    def scan(stored: Tensor, ids: Tensor) -> Tensor:
        shaped = graph.reshape(stored, *lengths, states.count)
        return graph.new("ssm_scan", "f32", (elements + size * states.count,), shaped, *parts, ids)

    return states.read(cache, size, scan)


def mamba_layer(made: ModelGraph, states: States, il: int, current: Tensor) -> Tensor:
    """One layer of Mamba 1."""
    geometry, graph = made.geometry, made.graph
    inner, state = geometry.number("ssm.inner_size"), geometry.number("ssm.state_size")
    rank, kernel = geometry.number("ssm.time_step_rank"), geometry.number("ssm.conv_kernel")
    each, count = states.each, states.count
    name = f"blk.{il}.ssm_"
    current = graph.reshape(current, current.ne[0], each, count)
    both = graph.mul_mat(made.need(f"{name}in.weight"), current)
    x = graph.view(both, (inner, each, count), (both.nb[1], both.nb[2]))
    z = graph.view(both, (inner, each, count), (both.nb[1], both.nb[2]))
    joined = convolved(made, states, il, x, kernel, inner)
    x = graph.like("add", convolution(made, joined, f"{name}conv1d.weight", each), made.need(f"{name}conv1d.bias"))
    x = graph.like("unary", x)
    mixed = graph.mul_mat(made.need(f"{name}x.weight"), x)
    dt = graph.view(mixed, (rank, each, count), (mixed.nb[1], mixed.nb[2]))
    b, c = (graph.view(mixed, (state, 1, each, count), (4 * state, mixed.nb[1], mixed.nb[2])) for _ in range(2))
    if made.says("ssm.dt_b_c_rms") or made.weight(f"{name}dt_norm.weight") is not None:
        dt, b, c = made.norm(dt, f"{name}dt_norm"), made.norm(b, f"{name}b_norm"), made.norm(c, f"{name}c_norm")
    else:
        dt = graph.cont(dt)
    dt = graph.like("add", graph.mul_mat(made.need(f"{name}dt.weight"), dt), made.need(f"{name}dt.bias"))
    heads = graph.reshape(x, 1, inner, each, count)
    cache = states.stored(il, state * inner)
    out = scan(made, cache, states, state * inner, (heads, dt, made.need(f"{name}a"), b, c), heads.elements, (state, 1, inner))
    states.write(graph.view(out, (state * inner * count,)), cache)
    y = graph.view(out, (inner, each, count))
    y = made.add(y, graph.like("mul", x, made.need(f"{name}d")))
    y = graph.glu(graph.cont(z), y)
    return _rows(made, graph.mul_mat(made.need(f"{name}out.weight"), y))


def mamba2_layer(made: ModelGraph, states: States, il: int, current: Tensor) -> Tensor:
    """One layer of Mamba 2."""
    geometry, graph = made.geometry, made.graph
    inner, state = geometry.number("ssm.inner_size"), geometry.number("ssm.state_size")
    heads, groups = geometry.number("ssm.time_step_rank"), geometry.number("ssm.group_count")
    kernel, each, count = geometry.number("ssm.conv_kernel"), states.each, states.count
    head = part(inner, heads)
    channels = inner + 2 * groups * state
    name = f"blk.{il}.ssm_"
    both = graph.mul_mat(made.need(f"{name}in.weight"), current)
    both = graph.reshape(both, both.ne[0], each, count)
    z = graph.view(both, (head, heads, each, count), (4 * head, both.nb[1], both.nb[2]))
    mixed = graph.view(both, (channels, each, count), (both.nb[1], both.nb[2]))
    dt = graph.view(both, (heads, each, count), (both.nb[1], both.nb[2]))
    joined = convolved(made, states, il, mixed, kernel, channels)
    mixed = made.plus(convolution(made, joined, f"{name}conv1d.weight", each), f"{name}conv1d.bias")
    mixed = graph.like("unary", mixed)
    x = graph.view(mixed, (head, heads, each, count), (4 * head, mixed.nb[1], mixed.nb[2]))
    b, c = (graph.view(mixed, (state, groups, each, count), (4 * state, mixed.nb[1], mixed.nb[2])) for _ in range(2))
    dt = graph.like("add", graph.cont(dt), made.need(f"{name}dt.bias"))
    cache = states.stored(il, state * inner)
    out = scan(made, cache, states, state * inner, (x, dt, made.need(f"{name}a"), b, c), x.elements, (state, head, heads))
    states.write(graph.view(out, (state * inner, count)), cache)
    y = graph.view(out, (head, heads, each, count))
    y = made.add(y, graph.like("mul", x, made.need(f"{name}d")))
    y = graph.glu(graph.cont(z), y)
    if made.weight(f"{name}norm.weight") is not None:
        y = made.norm(graph.reshape(y, part(inner, groups), groups, each, count), f"{name}norm")
    return graph.mul_mat(made.need(f"{name}out.weight"), graph.reshape(y, inner, each * count))


def _rows(made: ModelGraph, tensor: Tensor) -> Tensor:
    return made.graph.reshape(tensor, tensor.ne[0], made.tokens)


def mamba_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """Mamba 1 and 2 alone."""
    made = ModelGraph(geometry, settings)
    graph = made.graph
    current = made.embedded()
    states = States(made)
    wanted = made.output_rows()
    layer_of = mamba2_layer if geometry.architecture == "mamba2" else mamba_layer
    for il in range(len(geometry.layers)):
        residual = current
        current = layer_of(made, states, il, made.norm(current, f"blk.{il}.attn_norm"))
        if il == len(geometry.layers) - 1:
            current, residual = graph.get_rows(current, wanted), graph.get_rows(residual, wanted)
        current = made.add(current, residual)
    return made.finish(current)


def hybrid_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """Jamba, Falcon H1, Granite 4: Mamba and attention, in turns or side by side."""
    made = ModelGraph(geometry, settings)
    graph, name = made.graph, geometry.architecture
    current = made.embedded()
    if name == "granitehybrid" and made.says("embedding_scale"):
        current = graph.expand(made.scale(current))
    inputs, states = made.cache_inputs(), States(made)
    positions, wanted = made.positions(), made.output_rows()
    how = Plain(rotate="finetuned" if name == "granitehybrid" else "none" if name == "jamba" else "all")
    for il, layer in enumerate(geometry.layers):
        residual = current
        normed = made.norm(current, f"blk.{il}.attn_norm")
        if name == "falcon-h1":
            current = attention(made, how, il, layer, inputs, normed, positions)
            again = made.norm(residual, f"blk.{il}.attn_norm")  # the graph norms twice
            current = made.add(current, mamba2_layer(made, states, il, again))
        elif layer.recurrent:
            current = (mamba_layer if name == "jamba" else mamba2_layer)(made, states, il, normed)
        else:
            current = attention(made, how, il, layer, inputs, normed, positions)
        if name == "falcon-h1":
            residual = made.add(current, residual)
            if il == len(geometry.layers) - 1:
                residual = graph.get_rows(residual, wanted)
            out = feed_forward(made, il, made.norm(residual, f"blk.{il}.ffn_norm"))
            current = made.add(out, residual)
            continue
        if il == len(geometry.layers) - 1:
            current, residual = graph.get_rows(current, wanted), graph.get_rows(residual, wanted)
        scaled = made.says("residual_scale")
        between = made.add(made.scale(current) if scaled else current, residual)
        if name == "jamba":
            between = made.add(residual, current)
        current = made.norm(between, f"blk.{il}.ffn_norm")
        current = _feed(made, il, current, normed=name != "jamba")
        current = made.scale(current) if scaled else current
        current = made.add(between, current) if name == "jamba" else made.add(current, between)
    return made.finish(current, scaled=made.says("logit_scale"))


def _feed(made: ModelGraph, il: int, current: Tensor, *, normed: bool) -> Tensor:
    if made.weight(f"blk.{il}.ffn_gate_inp.weight") is None:
        return feed_forward(made, il, current)
    out = mixture(made, il, current, normed=normed, scaled=made.scales_experts())
    if made.weight(f"blk.{il}.ffn_up_shexp.weight") is None:
        return out
    return made.add(out, feed_forward(made, il, current, parts="_shexp"))


def nemotron_h_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """Nemotron H: each layer is Mamba 2, attention, or a feed-forward."""
    made = ModelGraph(geometry, settings)
    graph = made.graph
    current = made.embedded()
    inputs, states = made.cache_inputs(), States(made)
    positions, wanted = made.positions(), made.output_rows()
    for il, layer in enumerate(geometry.layers):
        residual = current
        current = made.norm(current, f"blk.{il}.attn_norm")
        if layer.recurrent:
            current = mamba2_layer(made, states, il, current)
        elif layer.feed_forward == 0:
            current = attention(made, Plain(rotate="none"), il, layer, inputs, current, positions)
        elif made.weight(f"blk.{il}.ffn_gate_inp.weight") is None:
            current = feed_forward(made, il, current, "relu_sqr")
        else:
            current = _latent_mixture(made, il, current)
        current = made.add(current, residual)
    current.output = True
    return made.finish(graph.get_rows(current, wanted))


def _latent_mixture(made: ModelGraph, il: int, current: Tensor) -> Tensor:
    graph, name = made.graph, f"blk.{il}.ffn_"
    down, up = made.weight(f"{name}latent_down.weight"), made.weight(f"{name}latent_up.weight")
    latent = current if down is None else graph.mul_mat(down, current)
    logits = graph.mul_mat(made.need(f"{name}gate_inp.weight"), current)
    out = mixture(
        made, il, latent, normed=shares(made, "file"), scaled=made.scales_experts(), gating="sigmoid", act="relu_sqr", probabilities=logits
    )
    if up is not None:
        out = graph.mul_mat(up, out)
    return made.add(out, feed_forward(made, il, current, "relu_sqr", parts="_shexp"))


def lfm2_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """LFM 2: short convolutions with some attention between."""
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
            current = _short_conv(made, states, il, current)
        else:
            current = attention(made, PLAIN["qwen3"], il, layer, inputs, current, positions)
        if il == len(geometry.layers) - 1:
            current, residual = graph.get_rows(current, wanted), graph.get_rows(residual, wanted)
        current = made.add(residual, current)
        normed = made.norm(current, f"blk.{il}.ffn_norm")
        if made.weight(f"blk.{il}.ffn_gate_inp.weight") is None:
            out = feed_forward(made, il, normed)
        else:
            out = mixture(made, il, normed, normed=True, scaled=made.scales_experts(), gating=gating(made, "file"))
        current = made.add(current, out)
    norm = "output_norm" if made.weight("output_norm.weight") is not None else "token_embd_norm"
    return made.finish(current, named=norm)


def _short_conv(made: ModelGraph, states: States, il: int, current: Tensor) -> Tensor:
    graph, width, each, count = made.graph, made.width, states.each, states.count
    kernel = made.geometry.number("shortconv.l_cache")
    current = graph.reshape(current, width, each, count)
    both = graph.mul_mat(made.need(f"blk.{il}.shortconv.in_proj.weight"), current)
    b, c, x = (graph.view(both, (width, each, count), (both.nb[1], both.nb[2])) for _ in range(3))
    joined = convolved(made, states, il, graph.like("mul", b, x), kernel, width)
    out = graph.like("mul", c, convolution(made, joined, f"blk.{il}.shortconv.conv.weight", each))
    return _rows(made, graph.mul_mat(made.need(f"blk.{il}.shortconv.out_proj.weight"), out))


__all__ = ["States", "convolution", "convolution_of", "convolved", "hybrid_graph", "lfm2_graph", "mamba_graph", "nemotron_h_graph", "scan"]
