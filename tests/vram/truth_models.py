"""The nine models of the rows that llama.cpp b11434 printed, and variants of four of them in other types."""

from __future__ import annotations

from vram.shapes import Model, keys_of, transformer


def truth_model(name: str) -> Model:
    """The model of a row's column `file`."""
    base, _, quant = name.partition(":")
    model = _BASES[base]()
    if quant:
        model.quant = quant
    return model


def _scaled_rope(model: Model, pairs: int) -> Model:
    """Llama 3's factors of the rotary frequencies, one for each pair of elements of a head."""
    model.put("rope_freqs.weight", pairs, kind="f32")
    return model


def _llama_8b() -> Model:
    return _scaled_rope(transformer("llama", keys_of(layers=32, embedding=4096, heads=32, kv_heads=8, ff=14336), 128256), 64)


def _llama_1b() -> Model:
    return _scaled_rope(transformer("llama", keys_of(layers=16, embedding=2048, heads=32, kv_heads=8, ff=8192), 128256, tied=True), 32)


def _llama_70b() -> Model:
    return _scaled_rope(transformer("llama", keys_of(layers=80, embedding=8192, heads=64, kv_heads=8, ff=28672), 128256), 64)


def _mixtral() -> Model:
    keys = keys_of(layers=32, embedding=4096, heads=32, kv_heads=8, ff=14336, context=32768, expert_count=8, expert_used_count=2)
    return transformer("llama", keys, 32000, experts={"count": 8, "width": 14336})


def _qwen2_7b() -> Model:
    keys = keys_of(layers=28, embedding=3584, heads=28, kv_heads=4, ff=18944, context=32768)
    return transformer("qwen2", keys, 152064, bias=("attn_q", "attn_k", "attn_v"))


def _qwen3_8b() -> Model:
    keys = keys_of(layers=36, embedding=4096, heads=32, kv_heads=8, ff=12288, head=128, context=40960)
    return transformer("qwen3", keys, 151936, head_norms=True)


def _gemma3_4b() -> Model:
    keys = keys_of(layers=34, embedding=2560, heads=8, kv_heads=4, ff=10240, head=256, attention__sliding_window=1024)
    norms = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
    return transformer("gemma3", keys, 262144, tied=True, norms=norms, head_norms=True)


def _gpt_oss_20b() -> Model:
    keys = keys_of(
        layers=24, embedding=2880, heads=64, kv_heads=8, ff=2880, head=64, attention__sliding_window=128, expert_count=32,
        expert_used_count=4, expert_feed_forward_length=2880,
    )  # fmt: skip
    model = transformer(
        "gpt-oss", keys, 201088, norms=("attn_norm", "post_attention_norm"), experts={"count": 32, "width": 2880},
        bias=("attn_q", "attn_k", "attn_v", "attn_output", "experts"),
    )  # fmt: skip
    model.quant = "q8_0"
    for il in range(24):
        model.put(f"blk.{il}.attn_sinks.weight", 64, kind="f32")
        for part in ("ffn_up_exps", "ffn_gate_exps", "ffn_down_exps"):
            model.put(f"blk.{il}.{part}.weight", 2880, 2880, 32, kind="mxfp4")
    return model


def _granite_8b() -> Model:
    keys = keys_of(
        layers=40, embedding=4096, heads=32, kv_heads=8, ff=12800, logit_scale=16.0, residual_scale=0.22, embedding_scale=12.0,
        attention__scale=0.0078125,
    )  # fmt: skip
    return transformer("granite", keys, 49155, tied=True)


_BASES = {
    "llama-8b": _llama_8b,
    "llama-1b": _llama_1b,
    "llama-70b": _llama_70b,
    "mixtral-8x7b": _mixtral,
    "qwen2-7b": _qwen2_7b,
    "qwen3-8b": _qwen3_8b,
    "gemma3-4b": _gemma3_4b,
    "gpt-oss-20b": _gpt_oss_20b,
    "granite-8b": _granite_8b,
}
