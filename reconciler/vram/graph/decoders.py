"""The graphs of transformer decoders of llama.cpp b11434, each from the parts of `model.py`. Sources: its `src/models/NAME.cpp`.

Most architectures are one block with differences, which are data here (`PLAIN`). What the file lacks (a norm, a bias, a gate) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from reconciler.vram.geometry import Geometry, Layer
from reconciler.vram.graph.feed import feed_forward, mixture
from reconciler.vram.graph.model import Inputs, ModelGraph
from reconciler.vram.graph.tensor import Graph, Tensor
from reconciler.vram.settings import RunSettings

NO_ROPE_STEP = 4


@dataclass(frozen=True, slots=True)
class Plain:
    """How an architecture differs from Llama's block: norm, attention, add, norm, feed-forward, add.

    norm       operator of all norms
    embedding  what is done with the embedding: `rows` (times a row of factors), `scale` (times a number), `places` (plus learned
               positions), `norm`
    rotate     which layers rotate: `all`, `none`, `sliding` (those that slide, or all where none does), `step` (not every fourth),
               `finetuned` (unless the file says no)
    heads      norms of query and keys: `before` the rotation, `after` it, `flat` (all heads as one row), or none
    query      `scaled` before attention, or not
    post       norms after attention and after the feed-forward
    residual   both branches are scaled before they are added
    second     name of the norm before the feed-forward
    parallel   feed-forward beside attention: `normed` (on the attention's input, residual added first), `late` (added last),
               `own` (with its own norm)
    act        activation without a gate: `unary`, `relu_sqr`, or `fused` (gate and up in one matrix)
    gather     output rows are taken in the last `layer` or `after` it
    experts    routing: `softmax`, `sigmoid`, `softmax_weight`, or `file` (the file says)
    share      the experts' weights are brought to a sum of one: `yes`, `no`, or `file`
    logits     `scaled`, `capped`, or neither
    """

    norm: str = "rms_norm"
    embedding: str = ""
    rotate: str = "all"
    heads: str = ""
    query_scaled: bool = False
    post: bool = False
    residual: bool = False
    second: str = "ffn_norm"
    parallel: str = ""
    act: str = "unary"
    gather: str = "layer"
    experts: str = "softmax"
    share: str = "yes"
    logits: str = ""
    soft_cap: bool = False
    sinks: bool = False
    positions: int = 1


_LLAMA = Plain()
_LAYER = Plain(norm="norm")
_GEMMA3 = Plain(embedding="rows", heads="before", query_scaled=True, post=True)
_GRANITE = Plain(embedding="scale", rotate="finetuned", residual=True, logits="scaled")
_QWEN3 = Plain(heads="before")
_NORMED = Plain(norm="norm", parallel="normed", logits="scaled")

PLAIN: Mapping[str, Plain] = MappingProxyType(
    {
        **dict.fromkeys(
            ("llama", "mistral3", "internlm2", "exaone", "qwen", "xverse", "ernie4_5", "ernie4_5-moe", "baichuan", "pangu-embedded"), _LLAMA
        ),
        "llama4": Plain(rotate="step", experts="sigmoid", share="no"),
        "arcee": Plain(act="relu_sqr"),
        "qwen2": _LLAMA,
        "qwen2vl": Plain(positions=4),
        "qwen2moe": Plain(share="no"),
        "qwen3": _QWEN3,
        "qwen3moe": _QWEN3,
        "seed_oss": Plain(second="post_attention_norm"),
        "smollm3": Plain(rotate="step"),
        "gemma": Plain(embedding="scale", query_scaled=True),
        "gemma2": Plain(embedding="scale", query_scaled=True, post=True, soft_cap=True, logits="capped"),
        "gemma3": _GEMMA3,
        "gpt-oss": Plain(second="post_attention_norm", sinks=True, gather="after", experts="softmax_weight", share="no"),
        "granite": _GRANITE,
        "granitemoe": _GRANITE,
        "minicpm": replace(_GRANITE, rotate="all"),
        "phi3": Plain(query_scaled=True, act="fused"),
        "maincoder": Plain(heads="after"),
        "mellum": Plain(heads="before"),
        "paddleocr": Plain(positions=4),
        "plamo3": Plain(heads="before", post=True, act="fused"),
        "phimoe": Plain(query_scaled=True, act="fused"),
        "chatglm": Plain(act="fused"),
        "glm4": Plain(act="fused", post=True),
        "glm4moe": Plain(heads="before", second="post_attention_norm", experts="file", share="file"),
        "apertus": Plain(heads="before"),
        "bailingmoe2": Plain(heads="before", experts="file", share="file"),
        "exaone-moe": Plain(heads="before", rotate="sliding", experts="file", share="file"),
        **dict.fromkeys(("hunyuan-dense", "hunyuan_vl"), Plain(heads="after")),
        "plamo": Plain(parallel="second"),
        "refact": Plain(rotate="none"),
        **dict.fromkeys(("qwen3vl", "qwen3vlmoe"), Plain(heads="before", positions=4)),
        "codeshell": _LAYER,
        "jais": Plain(norm="norm", rotate="none"),
        "olmo": Plain(norm="norm"),
        "olmo2": Plain(heads="flat", post=True),
        "olmoe": Plain(heads="flat", share="no"),
        "exaone4": Plain(heads="before", post=True, rotate="sliding"),
        "deepseek": Plain(share="no"),
        "dots1": Plain(heads="before", experts="file", share="file"),
        "bailingmoe": Plain(share="file"),
        "hunyuan-moe": Plain(heads="after"),
        "minimax-m2": Plain(heads="flat", experts="file"),
        "dbrx": Plain(norm="norm", second="attn_output_norm"),
        "starcoder2": _LAYER,
        "orion": _LAYER,
        "nemotron": Plain(norm="norm", act="relu_sqr"),
        "jais2": Plain(norm="norm", act="relu_sqr"),
        "starcoder": Plain(norm="norm", embedding="places", rotate="none"),
        "gpt2": Plain(norm="norm", embedding="places", rotate="none"),
        "bloom": Plain(norm="norm", embedding="norm", rotate="none"),
        "mpt": Plain(norm="norm", embedding="places", heads="flat", rotate="none"),
        "stablelm": Plain(norm="norm", heads="before", parallel="stable"),
        "gptneox": Plain(norm="norm", parallel="own"),
        "falcon": Plain(norm="norm", parallel="second"),
        "phi2": Plain(norm="norm", parallel="late", query_scaled=True),
        "command-r": replace(_NORMED, heads="before"),
        "cohere2": replace(_NORMED, rotate="sliding"),
    }
)


def plain_graph(geometry: Geometry, settings: RunSettings) -> Graph:
    """The graph of an architecture that is listed in PLAIN."""
    how = PLAIN[geometry.architecture]
    made = ModelGraph(geometry, settings)
    graph = made.graph
    current = embed(made, how)
    positions = made.positions(how.positions)
    if how.embedding == "places" and made.weight("position_embd.weight") is not None:
        current = made.add(current, graph.get_rows(made.need("position_embd.weight"), positions))
    inputs = made.cache_inputs()
    wanted = made.output_rows()
    last = len(geometry.layers) - 1
    for il, layer in enumerate(geometry.layers):
        residual = current
        normed = made.norm_or_none(residual, f"blk.{il}.attn_norm", how.norm, missing=how.norm == "norm")
        first = made.norm_if(residual, f"blk.{il}.attn_norm_2", how.norm) if how.parallel == "second" else normed
        current = attention(made, how, il, layer, inputs, normed if first is residual else first, positions)
        if il == last and how.gather == "layer":
            current, residual = graph.get_rows(current, wanted), graph.get_rows(residual, wanted)
            if how.parallel in {"normed", "second", "late"} or (
                how.parallel == "stable" and made.weight(f"blk.{il}.ffn_norm.weight") is None
            ):
                normed = graph.get_rows(normed, wanted)
        current = made.deepened(il, after_attention(made, how, il, current, residual, normed))
    if how.gather == "after":
        current.output = True
        current = graph.get_rows(current, wanted)
    return made.finish(
        current, norm=how.norm, scaled=how.logits == "scaled", capped=how.logits == "capped" or made.says("final_logit_softcapping")
    )


def embed(made: ModelGraph, how: Plain) -> Tensor:
    """The tokens' embeddings as the first block takes them, but for learned positions."""
    current = made.embedded(scaled=how.embedding == "rows")
    if how.embedding == "scale":
        current = made.scale(current)
    return made.norm(current, "token_embd_norm", "norm") if how.embedding == "norm" else current


def rotates(made: ModelGraph, how: Plain, il: int, layer: Layer) -> bool:
    """Whether this layer rotates its query and keys."""
    if how.rotate == "step":
        return (il + 1) % NO_ROPE_STEP != 0
    if how.rotate == "sliding":
        return layer.sliding or not made.geometry.slides
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
    return made.attend(
        il, layer, inputs[sliding], query, keys, values,
        keys_last=not made.geometry.slides, soft_cap=how.soft_cap, sinks=f"blk.{il}.attn_sinks.weight" if how.sinks else None,
    )  # fmt: skip


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
        return made.add(made.add(feed_forward(made, il, normed, how.act), residual), current)
    if how.parallel == "second":
        return made.add(made.add(feed_forward(made, il, normed, how.act), current), residual)
    if how.parallel == "late":
        return made.add(made.add(current, feed_forward(made, il, normed, how.act)), residual)
    if how.parallel == "own" and made.geometry.values.get(f"{made.geometry.architecture}.use_parallel_residual") is True:
        out = feed_forward(made, il, made.norm(residual, f"blk.{il}.ffn_norm", how.norm), how.act)
        return made.add(made.add(out, residual), current)
    if how.post:
        current = made.norm(current, f"blk.{il}.post_attention_norm", how.norm)
    if how.residual and made.says("residual_scale", minicpm=True):
        current = made.scale(current)
    between = made.add(current, residual)
    if how.parallel == "stable" and made.weight(f"blk.{il}.ffn_norm.weight") is None:
        current = normed
    else:
        current = made.norm_or_none(between, f"blk.{il}.{how.second}", how.norm, missing=how.norm == "norm")
    current = feed(made, how, il, current)
    if how.post:
        current = made.norm(current, f"blk.{il}.post_ffw_norm", how.norm)
    if how.residual and made.says("residual_scale", minicpm=True):
        current = made.scale(current)
    return made.add(current, between)


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
    shared = feed_forward(made, il, current, parts="_shexp")
    gate = made.weight(f"blk.{il}.ffn_gate_inp_shexp.weight")
    if gate is not None:
        graph = made.graph
        logits = graph.mul_mat(gate, current)
        shared = graph.like("mul", shared, graph.like("div", graph.like("unary", logits), logits))
    return made.add(out, shared)


def gating(made: ModelGraph, how: str) -> str:
    """The routing function, from the file where the architecture leaves it open."""
    if how != "file":
        return how
    return {2: "sigmoid", 3: "softmax_weight"}.get(made.geometry.number("expert_gating_func", 1), "softmax")


def shares(made: ModelGraph, how: str) -> bool:
    return made.geometry.values.get(f"{made.geometry.architecture}.expert_weights_norm") is True if how == "file" else how == "yes"
