"""What makes one transformer decoder of llama.cpp b11434 differ from another, as data. Sources: its `src/models/NAME.cpp`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from reconciler.value_class import value_class

NO_ROPE_STEP = 4


@value_class
class Plain:
    """How an architecture differs from Llama's block: norm, attention, add, norm, feed-forward, add.

    norm       operator of all norms; `file`: by which epsilon the file has
    embedding  what is done with the embedding: `rows` (times a row of factors), `scale` (times a number), `places` (plus learned
               positions), `norm`, `bare` (a norm without weights)
    rotate     which layers rotate: `all`, `none`, `sliding` (those that slide, or all where none does), `step` (not every fourth),
               `finetuned` (unless the file says no), `leading` (those that slide, and the leading dense ones), `pattern` (as the file
               lists)
    heads      norms of query and keys: `before` the rotation, `after` it, `flat` (all heads as one row), or none
    query      `scaled` before attention, or not
    gated      attention's output is gated, by head or by element, before its matrix
    copied     query, keys and values of one fused matrix are copied apart
    post       norms after attention and after the feed-forward
    post_first the norm after attention comes before output rows are taken
    residual   both branches are scaled before they are added
    leads      what comes in is the first operand of the sum after attention, or of the `last` of a block (ggml writes over the first)
    second     name of the norm before the feed-forward
    parallel   feed-forward beside attention: `normed` (on the attention's input, residual added first), `late` (added last),
               `own` (with its own norm)
    act        activation without a gate: `unary`, `relu_sqr`, or `fused` (gate and up in one matrix)
    gather     output rows are taken in the last `layer`, `after` it, after the `last` norm, or `never`
    experts    routing: `softmax`, `sigmoid`, `softmax_weight`, `file` (the file says), or `file_sigmoid` (the same, else sigmoid)
    shared     activation of the shared experts, as `act`
    share      the experts' weights are brought to a sum of one: `yes`, `no`, or `file`
    logits     `scaled`, `capped`, or neither
    """

    norm: str = "rms_norm"
    embedding: str = ""
    rotate: str = "all"
    heads: str = ""
    query_scaled: bool = False
    gated: bool = False
    copied: bool = False
    post: bool = False
    post_first: bool = False
    residual: bool = False
    leads: str = ""
    second: str = "ffn_norm"
    parallel: str = ""
    act: str = "unary"
    gather: str = "layer"
    experts: str = "softmax"
    share: str = "yes"
    shared: str = "unary"
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
        "phi3": Plain(query_scaled=True, act="fused", leads="last"),
        "maincoder": Plain(heads="after"),
        "mellum": Plain(heads="before"),
        "paddleocr": Plain(positions=4),
        "plamo3": Plain(heads="before", post=True, act="fused"),
        "phimoe": Plain(query_scaled=True, act="fused", leads="last"),
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
        "cohere2moe": replace(_NORMED, norm="file", rotate="leading", gather="last", experts="file_sigmoid", share="file"),
        "openelm": replace(_QWEN3, leads="first"),
        "granite_swa": replace(_GRANITE, rotate="pattern", sinks=True, shared="fused"),
        "deepseek2-ocr": Plain(experts="file", share="file"),
        "maple": Plain(heads="before", rotate="sliding"),
        "muse-glimmer": Plain(embedding="bare", heads="before", rotate="sliding", gated=True, post=True, post_first=True, logits="scaled"),
        "laguna": Plain(heads="before", gated=True, experts="file_sigmoid", share="file"),
        "step35": Plain(heads="before", gated=True, copied=True, gather="after", experts="file_sigmoid", share="file"),
        "spark2_5": Plain(gated=True),
        "hy_v3": Plain(heads="before", gather="last", experts="file_sigmoid", share="file"),
        "mimo2": Plain(sinks=True, experts="sigmoid"),
        "cogvlm": Plain(gather="never"),
    }
)
