"""Models of architectures that were worked out last, from llama.cpp's source and before any row of them was printed."""

from __future__ import annotations

from collections.abc import Callable

from vram.shapes import Model, keys_of, transformer
from vram.special_models import SPECIAL

POSTED = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")


def _maincoder() -> Model:
    return transformer("maincoder", keys_of(layers=32, embedding=1536, heads=16, kv_heads=4, ff=4096), 151936, head_norms=True, tied=True)


def _paddleocr() -> Model:
    keys = keys_of(layers=18, embedding=1024, heads=16, kv_heads=2, ff=3072, head=128, rope__dimension_sections=[16, 24, 24, 0])
    return transformer("paddleocr", keys, 103424)


def _mellum() -> Model:
    keys = keys_of(
        layers=24, embedding=2048, heads=16, kv_heads=4, ff=6144, head=128, context=32768, expert_count=64, expert_used_count=8,
        expert_feed_forward_length=896, attention__sliding_window=1024,
    )  # fmt: skip
    return transformer("mellum", keys, 98304, head_norms=True, experts={"count": 64, "width": 896})


def _plamo3() -> Model:
    keys = keys_of(layers=24, embedding=2048, heads=16, kv_heads=2, ff=8192, head=128, context=4096, attention__sliding_window=2048)
    model = transformer("plamo3", keys, 100000, fused=True, gate=False, head_norms=True, norms=POSTED, tied=True)
    for il in range(24):
        model.put(f"blk.{il}.ffn_up.weight", 2048, 16384)
        for name in ("post_attention_norm", "post_ffw_norm"):
            del model.tensors[f"blk.{il}.{name}.weight"]
            model.put(f"blk.{il}.{name}", 2048, kind="f32")
    return model


def _afmoe() -> Model:
    keys = keys_of(
        layers=32, embedding=2048, heads=8, kv_heads=4, ff=6144, head=128, leading_dense_block_count=2, expert_count=128,
        expert_used_count=8, expert_feed_forward_length=1024, expert_shared_count=1, expert_weights_norm=True, expert_weights_scale=2.826,
        attention__sliding_window=2048, expert_gating_func=2,
    )  # fmt: skip
    model = transformer(
        "afmoe", keys, 200192, norms=POSTED, head_norms=True, experts={"count": 128, "width": 1024, "shared": 1024}, dense_first=2
    )
    for il in range(32):
        model.put(f"blk.{il}.attn_gate.weight", 2048, 1024)
        if il >= 2:
            model.put(f"blk.{il}.exp_probs_b.bias", 128)
    return model


def _arctic() -> Model:
    keys = keys_of(layers=35, embedding=7168, heads=56, kv_heads=8, ff=4864, context=4096, expert_count=128, expert_used_count=2)
    model = transformer("arctic", keys, 32000, experts={"count": 128, "width": 4864})
    for il in range(35):
        for name in ("ffn_gate", "ffn_up", "ffn_down"):
            model.put(f"blk.{il}.{name}.weight", 7168, 7168)
        model.put(f"blk.{il}.ffn_norm_exps.weight", 7168)
    return model


def _smallthinker() -> Model:
    keys = keys_of(
        layers=32, embedding=1536, heads=12, kv_heads=2, ff=768, head=128, context=32768, expert_count=32, expert_used_count=4,
        expert_feed_forward_length=768, expert_gating_func=2, attention__sliding_window=4096,
    )  # fmt: skip
    return transformer("smallthinker", keys, 151936, experts={"count": 32, "width": 768}, tied=True)


def _bitnet() -> Model:
    keys = keys_of(layers=30, embedding=2560, heads=20, kv_heads=5, ff=6912, context=4096)
    model = transformer("bitnet", keys, 128256, tied=True)
    for il in range(30):
        model.put(f"blk.{il}.attn_sub_norm.weight", 2560)
        model.put(f"blk.{il}.ffn_sub_norm.weight", 6912)
    return model


def _dream() -> Model:
    keys = keys_of(layers=28, embedding=3584, heads=28, kv_heads=4, ff=18944, attention__causal=False)
    return transformer("dream", keys, 152064, bias=("attn_q", "attn_k", "attn_v"))


def _llada() -> Model:
    return transformer("llada", keys_of(layers=32, embedding=4096, heads=32, kv_heads=32, ff=12288, attention__causal=False), 126464)


def _rnd1() -> Model:
    keys = keys_of(
        layers=48, embedding=2048, heads=32, kv_heads=4, ff=6144, head=128, expert_count=128, expert_used_count=8,
        expert_feed_forward_length=768,
    )  # fmt: skip
    return transformer("rnd1", keys, 151936, head_norms=True, experts={"count": 128, "width": 768})


def _llada_moe() -> Model:
    keys = keys_of(
        layers=16, embedding=2048, heads=16, kv_heads=16, ff=8192, expert_count=64, expert_used_count=8, expert_feed_forward_length=1024
    )
    return transformer("llada-moe", keys, 157184, head_norms=True, experts={"count": 64, "width": 1024})


def _llama_embed() -> Model:
    keys = keys_of(layers=32, embedding=4096, heads=32, kv_heads=8, ff=14336, attention__causal=False, pooling_type=1)
    return transformer("llama-embed", keys, 128256, tied=True)


def _qwen3vlmoe() -> Model:
    keys = keys_of(
        layers=48, embedding=2048, heads=32, kv_heads=4, ff=6144, head=128, context=262144, n_deepstack_layers=3, expert_count=128,
        expert_used_count=8, expert_feed_forward_length=768, rope__dimension_sections=[24, 20, 20, 0],
    )  # fmt: skip
    return transformer("qwen3vlmoe", keys, 151936, head_norms=True, experts={"count": 128, "width": 768})


def _mistral4() -> Model:
    model = SPECIAL["deepseek-v2-lite"]()
    model.arch = "mistral4"
    return model


def _hunyuan_vl(sections: bool) -> Model:
    keys = keys_of(layers=24, embedding=1024, heads=16, kv_heads=8, ff=3584, head=128, context=32768)
    if sections:
        keys["rope.dimension_sections"] = [16, 16, 16, 16]
    return transformer("hunyuan_vl", keys, 120818, head_norms=True, tied=True)


def _eurobert() -> Model:
    keys = keys_of(layers=12, embedding=768, heads=12, kv_heads=12, ff=3072, context=8192, attention__causal=False)
    return transformer("eurobert", keys, 128256, tied=True, quant="f16")


def _jina_v3() -> Model:
    keys = keys_of(
        layers=24, embedding=1024, heads=16, kv_heads=16, ff=4096, context=8192, attention__causal=False,
        attention__layer_norm_epsilon=1e-5,
    )  # fmt: skip
    keys["tokenizer.ggml.token_type_count"] = 1
    model = Model("jina-bert-v3", keys, vocab=250002, quant="f16")
    model.put("token_embd.weight", 1024, 250002)
    model.put("token_types.weight", 1024, 1)
    model.put("token_embd_norm.weight", 1024)
    model.put("token_embd_norm.bias", 1024)
    for il in range(24):
        for part, one, two in (("attn_qkv", 1024, 3072), ("attn_output", 1024, 1024), ("ffn_up", 1024, 4096), ("ffn_down", 4096, 1024)):
            model.put(f"blk.{il}.{part}.weight", one, two)
            model.put(f"blk.{il}.{part}.bias", two)
        for part in ("attn_output_norm", "layer_output_norm"):
            model.put(f"blk.{il}.{part}.weight", 1024)
            model.put(f"blk.{il}.{part}.bias", 1024)
    return model


def _nemotron_h_moe() -> Model:
    model = SPECIAL["nemotron-h-8b"]()
    model.arch = "nemotron_h_moe"
    model.keys |= {
        "expert_count": 128, "expert_used_count": 6, "expert_feed_forward_length": 1856, "expert_shared_feed_forward_length": 3712,
        "expert_shared_count": 1, "expert_weights_norm": True, "expert_weights_scale": 2.5,
    }  # fmt: skip
    for name in [name for name in model.tensors if ".ffn_" in name]:
        del model.tensors[name]
    widths = model.keys["feed_forward_length"]
    assert isinstance(widths, list)
    for il in (il for il, width in enumerate(widths) if width):
        model.put(f"blk.{il}.ffn_gate_inp.weight", 4096, 128)
        model.put(f"blk.{il}.exp_probs_b.bias", 128, kind="f32")
        for part, one, two in (("up", 4096, 1856), ("down", 1856, 4096)):
            model.put(f"blk.{il}.ffn_{part}_exps.weight", one, two, 128)
        for part, one, two in (("up", 4096, 3712), ("down", 3712, 4096)):
            model.put(f"blk.{il}.ffn_{part}_shexp.weight", one, two)
    return model


def _deci() -> Model:
    """Attention in full, as one matrix, and not at all; feed-forwards of several widths and one block without."""
    heads, shared = [32, 32, 32, 0] * 8, [8, 0, 8, 0] * 8
    widths = [14336, 7168, 21504, 5376] * 8
    keys = keys_of(layers=32, embedding=4096, heads=32, kv_heads=8, ff=14336, head=128)
    keys |= {"attention.head_count": heads, "attention.head_count_kv": shared, "feed_forward_length": widths}
    model = Model("deci", keys, vocab=128256)
    model.put("token_embd.weight", 4096, 128256)
    model.put("output_norm.weight", 4096)
    model.put("output.weight", 4096, 128256)
    model.put("rope_freqs.weight", 64, kind="f32")
    for il, (one, two, ff) in enumerate(zip(heads, shared, widths, strict=True)):
        if one:
            model.put(f"blk.{il}.attn_norm.weight", 4096)
            model.put(f"blk.{il}.attn_output.weight", 4096, 4096)
        if two:
            model.put(f"blk.{il}.attn_q.weight", 4096, 4096)
            model.put(f"blk.{il}.attn_k.weight", 4096, 1024)
            model.put(f"blk.{il}.attn_v.weight", 4096, 1024)
        model.put(f"blk.{il}.ffn_norm.weight", 4096)
        for part, wide, tall in (("gate", 4096, ff), ("up", 4096, ff), ("down", ff, 4096)):
            model.put(f"blk.{il}.ffn_{part}.weight", wide, tall)
    return model


def _grok(dense: bool) -> Model:
    keys = keys_of(layers=64, embedding=6144, heads=48, kv_heads=8, ff=32768, head=128, context=8192, expert_count=8, expert_used_count=2)
    if dense:
        keys |= {"expert_feed_forward_length": 16384, "final_logit_softcapping": 50.0}
    model = transformer("grok", keys, 131072, experts={"count": 8, "width": 16384 if dense else 32768}, tied=True)
    for il in range(64):
        for part in ("attn_output_norm", "layer_output_norm"):
            model.put(f"blk.{il}.{part}.weight", 6144)
        if dense:
            for part, one, two in (("gate", 6144, 32768), ("up", 6144, 32768), ("down", 32768, 6144)):
                model.put(f"blk.{il}.ffn_{part}.weight", one, two)
    return model


BRANCHES: dict[str, Callable[[], Model]] = {
    "maincoder-1b": _maincoder,
    "paddleocr-0.9b": _paddleocr,
    "mellum-moe": _mellum,
    "plamo3-2b": _plamo3,
    "trinity-mini": _afmoe,
    "arctic-480b": _arctic,
    "smallthinker-4b": _smallthinker,
    "bitnet-2b": _bitnet,
    "dream-7b": _dream,
    "llada-8b": _llada,
    "rnd1-30b": _rnd1,
    "llada-moe-7b": _llada_moe,
    "llama-embed-8b": _llama_embed,
    "qwen3vl-30b": _qwen3vlmoe,
    "mistral4-small": _mistral4,
    "hunyuan-ocr": lambda: _hunyuan_vl(True),
    "hunyuan-ocr-plain": lambda: _hunyuan_vl(False),
    "eurobert-210m": _eurobert,
    "jina-v3": _jina_v3,
    "nemotron-h-moe": _nemotron_h_moe,
    "deci-nas": _deci,
    "grok-1": lambda: _grok(False),
    "grok-2": lambda: _grok(True),
}
