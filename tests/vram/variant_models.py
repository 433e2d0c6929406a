"""Variants of architectures whose files differ: fused or separate matrices, norms of heads, experts, windows, longer contexts."""

from __future__ import annotations

from collections.abc import Callable

from vram import more_models, special_models
from vram.shapes import Model, keys_of, transformer

EPS = more_models.EPS


def _phi3_mini() -> Model:
    keys = keys_of(
        layers=32,
        embedding=3072,
        heads=32,
        kv_heads=32,
        ff=8192,
        rope__scaling__original_context_length=4096,
        attention__sliding_window=262144,
    )
    model = transformer("phi3", keys, 32064, fused=True, gate=False)
    for il in range(32):
        model.put(f"blk.{il}.ffn_up.weight", 3072, 16384)
    for part in ("long", "short"):
        model.put(f"rope_factors_{part}.weight", 48, kind="f32")
    return model


def _falcon_40b() -> Model:
    keys = keys_of(layers=60, embedding=8192, heads=128, kv_heads=8, ff=32768, context=2048, **EPS)
    return transformer("falcon", keys, 65024, norms=("attn_norm", "attn_norm_2"), norm_bias=True, fused=True, gate=False)


def _with_head_norms(model: Model, layers: int, head: int, heads: int, shared: int) -> Model:
    for il in range(layers):
        model.put(f"blk.{il}.attn_q_norm.weight", head, heads)
        model.put(f"blk.{il}.attn_k_norm.weight", head, shared)
    return model


def _stablelm_12b() -> Model:
    keys = keys_of(layers=40, embedding=5120, heads=32, kv_heads=8, ff=13824, context=4096, rope=40, use_parallel_residual=True, **EPS)
    return _with_head_norms(transformer("stablelm", keys, 100352, norms=("attn_norm",), norm_bias=True), 40, 160, 32, 8)


def _command_r_plus() -> Model:
    keys = keys_of(layers=64, embedding=12288, heads=96, kv_heads=8, ff=33792, logit_scale=0.8333, **EPS)
    return _with_head_norms(transformer("command-r", keys, 256000, tied=True, norms=("attn_norm",)), 64, 128, 96, 8)


def _gemma3(layers: int, width: int, heads: int, shared: int, ff: int, head: int, window: int) -> Model:
    keys = keys_of(layers=layers, embedding=width, heads=heads, kv_heads=shared, ff=ff, head=head, attention__sliding_window=window)
    return transformer("gemma3", keys, 262208, tied=True, norms=more_models.POSTED, head_norms=True)


def _gemma4_experts() -> Model:
    model = special_models._gemma4(30, 2816, 2112)
    model.keys |= {"expert_count": 128, "expert_used_count": 8, "expert_feed_forward_length": 704}
    for il in range(30):
        name = f"blk.{il}."
        model.put(f"{name}ffn_gate_inp.weight", 2816, 128)
        model.put(f"{name}ffn_gate_inp.scale", 2816, kind="f32")
        model.put(f"{name}ffn_gate_up_exps.weight", 2816, 1408, 128)
        model.put(f"{name}ffn_down_exps.weight", 704, 2816, 128, kind="q8_0")
        model.put(f"{name}ffn_down_exps.scale", 128, kind="f32")
        for part in ("post_ffw_norm_1", "pre_ffw_norm_2", "post_ffw_norm_2"):
            model.put(f"{name}{part}.weight", 2816)
    return model


def _glm4_fused() -> Model:
    model = more_models._glm4()
    for il in range(40):
        for part in "qkv":
            for ending in ("weight", "bias"):
                del model.tensors[f"blk.{il}.attn_{part}.{ending}"]
        model.put(f"blk.{il}.attn_qkv.weight", 4096, 4608)
        model.put(f"blk.{il}.attn_qkv.bias", 4608)
    return model


def _gptneox_sequential() -> Model:
    model = more_models._gptneox()
    model.keys["use_parallel_residual"] = False
    return model


def _nomic_experts() -> Model:
    model = special_models._encoder(
        "nomic-bert-moe", 12, 768, 12, 3072, 250048, 2048, moe_every_n_layers=2, expert_count=8, expert_used_count=2
    )
    model.keys["tokenizer.ggml.token_type_count"] = 1
    model.put("token_embd_norm.bias", 768)
    model.put("token_types.weight", 768, 1)
    for il in range(12):
        name = f"blk.{il}."
        parts = [("attn_qkv", 768, 2304), ("attn_output", 768, 768)]
        if il % 2:
            model.put(f"{name}ffn_gate_inp.weight", 768, 8)
            model.put(f"{name}ffn_up_exps.weight", 768, 3072, 8)
            model.put(f"{name}ffn_down_exps.weight", 3072, 768, 8)
        else:
            parts += [("ffn_up", 768, 3072), ("ffn_down", 3072, 768)]
        for part, one, two in parts:
            model.put(f"{name}{part}.weight", one, two)
            model.put(f"{name}{part}.bias", two)
        for part in ("attn_output_norm", "layer_output_norm"):
            model.put(f"{name}{part}.weight", 768)
            model.put(f"{name}{part}.bias", 768)
    return model


def _falcon_mamba() -> Model:
    model = special_models._ssm(
        "mamba",
        64,
        4096,
        65024,
        ssm__conv_kernel=4,
        ssm__inner_size=8192,
        ssm__state_size=16,
        ssm__time_step_rank=256,
        ssm__dt_b_c_rms=True,
    )
    model.put("output.weight", 4096, 65024)
    for il in range(64):
        model.put(f"blk.{il}.attn_norm.weight", 4096)
        special_models._mamba1_layer(model, il, 4096, 8192, 16, 256)
    return model


def _granite_shared() -> Model:
    model = more_models._granitemoe()
    model.keys["expert_shared_feed_forward_length"] = 1024
    for il in range(32):
        for part, one, two in (("up", 1536, 1024), ("gate", 1536, 1024), ("down", 1024, 1536)):
            model.put(f"blk.{il}.ffn_{part}_shexp.weight", one, two)
    return model


def _olmo3() -> Model:
    model = more_models._olmo2()
    model.keys |= {"attention.sliding_window": 4096, "attention.sliding_window_pattern": [il % 4 != 3 for il in range(32)]}
    return model


def _lfm2_experts() -> Model:
    model = special_models._lfm2()
    model.arch = "lfm2moe"
    model.keys |= {
        "expert_count": 32, "expert_used_count": 4, "expert_feed_forward_length": 1792,
        "leading_dense_block_count": 2, "expert_gating_func": 2
    }  # fmt: skip
    for il in range(2, 16):
        model.put(f"blk.{il}.ffn_gate_inp.weight", 2048, 32)
        model.put(f"blk.{il}.exp_probs_b.bias", 32, kind="f32")
        for part, one, two in (("up", 2048, 1792), ("gate", 2048, 1792), ("down", 1792, 2048)):
            del model.tensors[f"blk.{il}.ffn_{part}.weight"]
            model.put(f"blk.{il}.ffn_{part}_exps.weight", one, two, 32)
    return model


VARIANTS: dict[str, Callable[[], Model]] = {
    "phi3-mini-128k": _phi3_mini,
    "falcon-40b": _falcon_40b,
    "stablelm2-12b": _stablelm_12b,
    "command-r-plus": _command_r_plus,
    "gemma3-27b": lambda: _gemma3(62, 5376, 32, 16, 21504, 128, 1024),
    "gemma3-1b": lambda: _gemma3(26, 1152, 4, 1, 6912, 256, 512),
    "gemma4-26b-a4b": _gemma4_experts,
    "glm4-fused": _glm4_fused,
    "gptneox-sequential": _gptneox_sequential,
    "glm4.7-flash": lambda: special_models._deepseek(47, 2048, 20, lite=False, compressed=True, vocab=154880, experts=64, used=4),
    "nomic-v2-moe": _nomic_experts,
    "falcon-mamba-7b": _falcon_mamba,
    "granite-1b-shared": _granite_shared,
    "olmo3-7b": _olmo3,
    "lfm2-8b-a1b": _lfm2_experts,
}
