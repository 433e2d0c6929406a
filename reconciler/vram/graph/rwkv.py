"""The graphs of RWKV 6 and 7 of llama.cpp b11434, alone and with Qwen's feed-forward in place of the channel mix (QRWKV, ARWKV).

Sources: `src/models/rwkv6-base.cpp`, `rwkv6.cpp`, `rwkv6qwen2.cpp`, `rwkv7-base.cpp`, `rwkv7.cpp`, `arwkv7.cpp`.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.vram.geometry import Geometry
from reconciler.vram.graph.feed import feed_forward
from reconciler.vram.graph.model import ModelGraph
from reconciler.vram.graph.recurrent import States
from reconciler.vram.graph.tensor import Graph, Tensor, part
from reconciler.vram.settings import RunSettings

MIXED = 5
"""Inputs of RWKV 6's time mix that are mixed apart: decay, key, value, receptance, gate."""


@dataclass(slots=True)
class _Mixing:
    """What the blocks share: the graph, the states, and the first block's values (RWKV 7 adds them to those of all later ones)."""

    made: ModelGraph
    states: States
    first_values: Tensor | None = None

    def wide(self, tensor: Tensor) -> Tensor:
        """(width, tokens of a sequence, sequences)."""
        return self.made.graph.reshape(tensor, self.made.width, self.states.each, self.states.count)

    def flat(self, tensor: Tensor) -> Tensor:
        return self.made.graph.reshape(tensor, self.made.width, self.made.tokens)

    def previous(self, shift: Tensor, normed: Tensor) -> Tensor:
        """Each token's predecessor: the last of the batch before, then all but the last of this one."""
        graph, lengths = self.made.graph, (self.made.width, self.states.each - 1, self.states.count)
        return graph.concat(shift, graph.view(normed, lengths, normed.nb[1:3]), 1)

    def newest(self, normed: Tensor) -> Tensor:
        return self.made.graph.view(normed, (self.made.width, 1, self.states.count), normed.nb[1:3])


def rwkv_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """RWKV 6 and 7, with their own channel mix."""
    made = ModelGraph(geometry, settings)
    graph, width = made.graph, made.width
    current = made.norm(made.embedded(), "token_embd_norm", "norm")
    states = States(made)
    mixing = _Mixing(made, states)
    wanted = made.output_rows()
    every = geometry.number("rescale_every_n_layers", 0)
    for il in range(len(geometry.layers)):
        name = f"blk.{il}."
        residual = mixing.wide(current)
        cache = states.stored(il, 2 * width)
        shift = graph.reshape(states.read(cache, 2 * width), width, 2, states.count)
        first, second = (graph.view(shift, (width, 1, states.count), shift.nb[1:3]) for _ in range(2))
        normed = made.norm(residual, f"{name}attn_norm", "norm")
        current = _time_mix(mixing, il, normed, mixing.previous(first, normed))
        between = made.add(current, residual)
        again = made.norm(between, f"{name}attn_norm_2", "norm")
        before = mixing.previous(second, again)
        kept = graph.concat(mixing.newest(normed), mixing.newest(again), 1)
        states.write(graph.view(kept, (2 * width * states.count,)), cache)
        between, again, before = mixing.flat(between), mixing.flat(again), mixing.flat(before)
        if il == len(geometry.layers) - 1:
            between, again, before = (graph.get_rows(one, wanted) for one in (between, again, before))
        current = made.add(_channel_mix(made, il, again, before), between)
        if every and (il + 1) % every == 0:
            current = made.scale(current)
    return made.finish(current, norm="norm")


def rwkv_qwen_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """The time mix of RWKV 6 or 7 in a Qwen 2 whose attention it replaces."""
    made = ModelGraph(geometry, settings)
    graph, width = made.graph, made.width
    current = made.embedded()
    states = States(made)
    mixing = _Mixing(made, states)
    wanted = made.output_rows()
    for il in range(len(geometry.layers)):
        residual = mixing.wide(current)
        cache = states.stored(il, width)
        shift = graph.reshape(states.read(cache, width), width, 1, states.count)
        normed = made.norm(residual, f"blk.{il}.attn_norm")
        current = _time_mix(mixing, il, normed, mixing.previous(shift, normed))
        states.write(graph.view(mixing.newest(normed), (width * states.count,)), cache)
        between = mixing.flat(made.add(current, residual))
        if il == len(geometry.layers) - 1:
            between = graph.get_rows(between, wanted)
        current = made.add(feed_forward(made, il, made.norm(between, f"blk.{il}.ffn_norm")), between)
    return made.finish(current)


def _time_mix(mixing: _Mixing, il: int, current: Tensor, previous: Tensor) -> Tensor:
    seventh = mixing.made.geometry.architecture in {"rwkv7", "arwkv7"}
    return _time_mix_7(mixing, il, current, previous) if seventh else _time_mix_6(mixing, il, current, previous)


def _channel_mix(made: ModelGraph, il: int, current: Tensor, previous: Tensor) -> Tensor:
    graph, name = made.graph, f"blk.{il}.channel_mix_"
    step = graph.like("sub", previous, current)
    keys = made.add(graph.like("mul", step, made.need(f"{name}lerp_k.weight")), current)
    gate = None
    if made.geometry.architecture == "rwkv6":
        gate = made.add(graph.like("mul", step, made.need(f"{name}lerp_r.weight")), current)
        gate = graph.like("unary", graph.mul_mat(made.need(f"{name}receptance.weight"), gate))
    keys = graph.like("sqr", graph.like("unary", graph.mul_mat(made.need(f"{name}key.weight"), keys)))
    values = graph.mul_mat(made.need(f"{name}value.weight"), keys)
    return values if gate is None else graph.like("mul", gate, values)


def _time_mix_6(mixing: _Mixing, il: int, current: Tensor, previous: Tensor) -> Tensor:
    made, states = mixing.made, mixing.states
    graph, width, tokens, name = made.graph, made.width, made.tokens, f"blk.{il}.time_mix_"
    size = made.geometry.number("wkv.head_size")
    heads = part(width, size)
    plain = made.weight(f"{name}first.weight") is not None
    step = mixing.flat(graph.like("sub", previous, current))
    current = mixing.flat(current)
    first = made.need(f"{name}w1.weight")
    mixed = made.add(graph.like("mul", step, made.need(f"{name}lerp_x.weight")), current)
    mixed = graph.reshape(graph.like("unary", graph.mul_mat(first, mixed)), part(first.ne[1], MIXED), 1, MIXED, tokens)
    mixed = graph.cont(graph.permute(mixed, 0, 1, 3, 2))
    second = made.need(f"{name}w2.weight")
    mixed = graph.mul_mat(graph.reshape(second, second.ne[0], second.ne[1], 1, MIXED), mixed)
    fused = made.weight(f"{name}lerp_fused.weight")
    if fused is not None:
        step, current = graph.reshape(step, width, 1, tokens), graph.reshape(current, width, 1, tokens)
        mixed = made.add(graph.like("mul", made.add(mixed, fused), step), current)
    decay, key, value, receptance, gate = (graph.view(mixed, (width, tokens), (mixed.nb[1],)) for _ in range(MIXED))
    if fused is None:
        decay, key, value, receptance, gate = (
            made.add(graph.like("mul", made.add(one, made.need(f"{name}lerp_{letter}.weight")), step), current)
            for one, letter in zip((decay, key, value, receptance, gate), "wkvrg", strict=True)
        )
    r = graph.mul_mat(made.need(f"{name}receptance.weight"), receptance)
    k = graph.mul_mat(made.need(f"{name}key.weight"), key)
    v = graph.mul_mat(made.need(f"{name}value.weight"), value)
    r, k, v = (made.plus(one, f"{name}{part_}.bias") for one, part_ in ((r, "receptance"), (k, "key"), (v, "value")))
    gate = graph.like("unary", graph.mul_mat(made.need(f"{name}gate.weight"), gate))
    shared = made.geometry.layers[il].kv_heads
    if shared not in {0, heads}:
        k, v = (
            graph.new("repeat", "f32", (size, part(heads, shared), shared, tokens), graph.reshape(one, size, 1, shared, tokens))
            for one in (k, v)
        )
    k, v, r = (graph.reshape(one, size, heads, tokens) for one in (k, v, r))
    w = graph.like("unary", graph.mul_mat(made.need(f"{name}decay_w1.weight"), decay))
    w = made.add(graph.mul_mat(made.need(f"{name}decay_w2.weight"), w), made.need(f"{name}decay.weight"))
    for _ in range(3):
        w = graph.like("unary", w)
    w = graph.reshape(w, size, heads, tokens)
    if not plain:
        k = graph.like("sub", k, graph.like("mul", k, w))
    cache = states.stored(il, width * size)
    state = states.read(cache, width * size)
    extra = (made.need(f"{name}first.weight"),) if plain else ()
    out = graph.new("wkv", "f32", (width, tokens + size * states.count), k, v, r, *extra, w, state)
    return _ended(mixing, il, out, cache, size, gate, grouped=plain)


def _ended(mixing: _Mixing, il: int, out: Tensor, cache: Tensor, size: int, gate: Tensor, *, grouped: bool) -> Tensor:
    """RWKV 6: the new state kept, the output normed by heads, gated, and through its matrix."""
    made, states = mixing.made, mixing.states
    graph, name = made.graph, f"blk.{il}.time_mix_"
    current = graph.view(out, (made.width * made.tokens,))
    states.write(graph.view(out, (made.width * size * states.count,)), cache)
    current = _normed_by_heads(mixing, il, current, size) if grouped else mixing.flat(current)
    return mixing.wide(graph.mul_mat(made.need(f"{name}output.weight"), graph.like("mul", current, gate)))


def _normed_by_heads(mixing: _Mixing, il: int, current: Tensor, size: int) -> Tensor:
    made, name = mixing.made, f"blk.{il}.time_mix_ln"
    heads = part(made.width, size)
    current = made.graph.like("norm", made.graph.reshape(current, size, heads, made.tokens))
    current = made.graph.like("mul", mixing.flat(current), made.need(f"{name}.weight"))
    return made.add(current, made.need(f"{name}.bias"))


def _time_mix_7(mixing: _Mixing, il: int, current: Tensor, previous: Tensor) -> Tensor:
    made, states = mixing.made, mixing.states
    graph, width, tokens, name = made.graph, made.width, made.tokens, f"blk.{il}.time_mix_"
    size = made.geometry.number("wkv.head_size")
    heads = part(width, size)
    gated = made.weight(f"{name}g1.weight") is not None and made.weight(f"{name}g2.weight") is not None
    step = graph.like("sub", previous, current)
    step = graph.new("repeat", "f32", (width, states.each, states.count, 6 if gated else 5), step)
    mixed = made.add(graph.like("mul", step, made.need(f"{name}lerp_fused.weight")), current)
    xr, xw, xk, xv, xa = (graph.view(mixed, (width, tokens), (mixed.nb[1],)) for _ in range(5))
    r = graph.mul_mat(made.need(f"{name}receptance.weight"), xr)
    w = graph.like("unary", graph.mul_mat(made.need(f"{name}w1.weight"), xw))
    w = made.add(graph.mul_mat(made.need(f"{name}w2.weight"), w), made.need(f"{name}w0.weight"))
    w = graph.like("unary", made.scale(graph.like("unary", w)))
    k = graph.mul_mat(made.need(f"{name}key.weight"), xk)
    v = graph.mul_mat(made.need(f"{name}value.weight"), xv)
    if mixing.first_values is None:
        mixing.first_values = v
    else:
        share = graph.mul_mat(made.need(f"{name}v2.weight"), graph.mul_mat(made.need(f"{name}v1.weight"), xv))
        share = graph.like("unary", made.add(share, made.need(f"{name}v0.weight")))
        v = made.add(v, graph.like("mul", graph.like("sub", mixing.first_values, v), share))
    gate = None
    if gated:
        gate = graph.like("unary", graph.mul_mat(made.need(f"{name}g1.weight"), graph.view(mixed, (width, tokens), (mixed.nb[1],))))
        gate = graph.mul_mat(made.need(f"{name}g2.weight"), gate)
    a = graph.mul_mat(made.need(f"{name}a2.weight"), graph.mul_mat(made.need(f"{name}a1.weight"), xa))
    a = graph.like("unary", made.add(a, made.need(f"{name}a0.weight")))
    removed = graph.reshape(graph.like("mul", k, made.need(f"{name}k_k.weight")), size, heads, tokens)
    removed = graph.like("l2_norm", removed)
    ka = graph.like("mul", k, made.need(f"{name}k_a.weight"))
    k = made.add(k, graph.like("sub", graph.like("mul", a, ka), ka))
    r, w, k, v, a = (graph.reshape(one, size, heads, tokens) for one in (r, w, k, v, a))
    cache = states.stored(il, width * size)
    state = states.read(cache, width * size)
    out = graph.new(
        "wkv", "f32", (width, tokens + size * states.count), r, w, k, v, graph.like("unary", removed), graph.like("mul", removed, a), state
    )
    current = graph.view(out, (width * tokens,))
    states.write(graph.view(out, (width * size * states.count,)), cache)
    grouped = made.weight(f"{name}ln.weight") is not None and made.weight(f"{name}ln.bias") is not None
    current = _normed_by_heads(mixing, il, current, size) if grouped else mixing.flat(current)
    bonus = graph.like("mul", graph.like("mul", k, r), graph.reshape(made.need(f"{name}r_k.weight"), size, heads))
    current = made.add(current, mixing.flat(graph.like("mul", v, graph.sum_rows(bonus))))
    if gate is not None:
        current = graph.like("mul", current, gate)
    return mixing.wide(graph.mul_mat(made.need(f"{name}output.weight"), current))
