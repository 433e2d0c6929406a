"""Models of other architectures, in true shapes: the judges of graphs that no row of the first table has seen."""

from __future__ import annotations

from collections.abc import Callable

from vram.shapes import Model, keys_of, transformer

QKV = ("attn_q", "attn_k", "attn_v")
POSTED = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
EPS = {"attention__layer_norm_epsilon": 1e-5}


def _qwen3moe() -> Model:
    keys = keys_of(
        layers=48,
        embedding=2048,
        heads=32,
        kv_heads=4,
        ff=6144,
        head=128,
        expert_count=128,
        expert_used_count=8,
        expert_feed_forward_length=768,
    )
    return transformer("qwen3moe", keys, 151936, head_norms=True, experts={"count": 128, "width": 768})


def _qwen2moe() -> Model:
    keys = keys_of(
        layers=24, embedding=2048, heads=16, kv_heads=16, ff=5632, expert_count=60, expert_used_count=4, expert_feed_forward_length=1408,
        expert_shared_feed_forward_length=5632,
    )  # fmt: skip
    model = transformer("qwen2moe", keys, 151936, bias=QKV, experts={"count": 60, "width": 1408, "shared": 5632})
    for il in range(24):
        model.put(f"blk.{il}.ffn_gate_inp_shexp.weight", 2048)
    return model


def _gemma() -> Model:
    return transformer(
        "gemma", keys_of(layers=28, embedding=3072, heads=16, kv_heads=16, ff=24576, head=256, context=8192), 256000, tied=True
    )


def _gemma2() -> Model:
    keys = keys_of(
        layers=42, embedding=3584, heads=16, kv_heads=8, ff=14336, head=256, context=8192, attention__sliding_window=4096,
        attn_logit_softcapping=50.0, final_logit_softcapping=30.0,
    )  # fmt: skip
    return transformer("gemma2", keys, 256000, tied=True, norms=POSTED)


def _phi2() -> Model:
    keys = keys_of(layers=32, embedding=2560, heads=32, kv_heads=32, ff=10240, context=2048, rope=32, **EPS)
    return transformer(
        "phi2", keys, 51200, norms=("attn_norm",), norm_bias=True, gate=False, bias=(*QKV, "attn_output", "ffn_up", "ffn_down", "output")
    )


def _phi3() -> Model:
    keys = keys_of(layers=40, embedding=5120, heads=40, kv_heads=10, ff=17920, context=16384)
    model = transformer("phi3", keys, 100352, fused=True, gate=False)
    for il in range(40):
        model.put(f"blk.{il}.ffn_up.weight", 5120, 2 * 17920)
    return model


def _command_r() -> Model:
    keys = keys_of(layers=40, embedding=8192, heads=64, kv_heads=64, ff=22528, logit_scale=0.0625, **EPS)
    return transformer("command-r", keys, 256000, tied=True, norms=("attn_norm",))


def _cohere2() -> Model:
    keys = keys_of(
        layers=32, embedding=4096, heads=32, kv_heads=8, ff=14336, context=8192, attention__sliding_window=4096, logit_scale=0.25, **EPS
    )
    return transformer("cohere2", keys, 256000, tied=True, norms=("attn_norm",))


def _falcon() -> Model:
    keys = keys_of(layers=32, embedding=4544, heads=71, kv_heads=1, ff=18176, context=2048, **EPS)
    return transformer("falcon", keys, 65024, norms=("attn_norm",), norm_bias=True, fused=True, gate=False)


def _starcoder2() -> Model:
    keys = keys_of(layers=32, embedding=4608, heads=36, kv_heads=4, ff=18432, context=16384, **EPS)
    return transformer("starcoder2", keys, 49152, norm_bias=True, gate=False, bias=(*QKV, "attn_output", "ffn_up", "ffn_down"))


def _starcoder() -> Model:
    keys = keys_of(layers=40, embedding=6144, heads=48, kv_heads=1, ff=24576, context=8192, **EPS)
    model = transformer(
        "starcoder", keys, 49152, norm_bias=True, gate=False, fused=True, bias=("attn_qkv", "attn_output", "ffn_up", "ffn_down")
    )
    model.put("position_embd.weight", 6144, 8192)
    return model


def _gpt2() -> Model:
    keys = keys_of(layers=48, embedding=1600, heads=25, kv_heads=25, ff=6400, context=1024, **EPS)
    model = transformer("gpt2", keys, 50257, norm_bias=True, gate=False, fused=True, bias=("attn_qkv", "attn_output", "ffn_up", "ffn_down"))
    model.put("position_embd.weight", 1600, 1024)
    return model


def _gptneox() -> Model:
    keys = keys_of(layers=32, embedding=4096, heads=32, kv_heads=32, ff=16384, context=2048, rope=32, use_parallel_residual=True, **EPS)
    return transformer(
        "gptneox", keys, 50432, norm_bias=True, gate=False, fused=True, bias=("attn_qkv", "attn_output", "ffn_up", "ffn_down")
    )


def _bloom() -> Model:
    keys = keys_of(layers=30, embedding=4096, heads=32, kv_heads=32, ff=16384, context=2048, **EPS)
    model = transformer(
        "bloom", keys, 250880, norm_bias=True, gate=False, fused=True, bias=("attn_qkv", "attn_output", "ffn_up", "ffn_down")
    )
    model.put("token_embd_norm.weight", 4096)
    model.put("token_embd_norm.bias", 4096)
    return model


def _mpt() -> Model:
    keys = keys_of(layers=32, embedding=4096, heads=32, kv_heads=32, ff=16384, context=2048, attention__max_alibi_bias=8.0, **EPS)
    return transformer("mpt", keys, 50432, tied=True, gate=False, fused=True)


def _stablelm() -> Model:
    keys = keys_of(layers=32, embedding=2560, heads=32, kv_heads=32, ff=6912, context=4096, rope=20, use_parallel_residual=False, **EPS)
    return transformer("stablelm", keys, 50304, norm_bias=True)


def _olmo2() -> Model:
    keys = keys_of(layers=32, embedding=4096, heads=32, kv_heads=32, ff=11008, context=4096)
    model = transformer("olmo2", keys, 100352, norms=("post_attention_norm", "post_ffw_norm"))
    for il in range(32):
        model.put(f"blk.{il}.attn_q_norm.weight", 4096)
        model.put(f"blk.{il}.attn_k_norm.weight", 4096)
    return model


def _olmoe() -> Model:
    keys = keys_of(layers=16, embedding=2048, heads=16, kv_heads=16, ff=1024, context=4096, expert_count=64, expert_used_count=8)
    model = transformer("olmoe", keys, 50304, experts={"count": 64, "width": 1024})
    for il in range(16):
        model.put(f"blk.{il}.attn_q_norm.weight", 2048)
        model.put(f"blk.{il}.attn_k_norm.weight", 2048)
    return model


def _exaone() -> Model:
    return transformer("exaone", keys_of(layers=32, embedding=4096, heads=32, kv_heads=8, ff=14336, context=4096), 102400)


def _exaone4() -> Model:
    keys = keys_of(layers=64, embedding=5120, heads=40, kv_heads=8, ff=27392, attention__sliding_window=4096)
    return transformer("exaone4", keys, 102400, norms=("post_attention_norm", "post_ffw_norm"), head_norms=True)


def _internlm2() -> Model:
    return transformer("internlm2", keys_of(layers=32, embedding=4096, heads=32, kv_heads=8, ff=14336, context=32768), 92544)


def _glm4() -> Model:
    keys = keys_of(layers=40, embedding=4096, heads=32, kv_heads=2, ff=13696, rope=64, head=128)
    model = transformer("glm4", keys, 151552, norms=POSTED, gate=False, bias=QKV)
    for il in range(40):
        model.put(f"blk.{il}.ffn_up.weight", 4096, 2 * 13696)
    return model


def _chatglm() -> Model:
    keys = keys_of(layers=40, embedding=4096, heads=32, kv_heads=2, ff=13696, rope=64)
    model = transformer("chatglm", keys, 151552, gate=False, fused=True, bias=("attn_qkv",))
    for il in range(40):
        model.put(f"blk.{il}.ffn_up.weight", 4096, 2 * 13696)
    return model


def _nemotron() -> Model:
    keys = keys_of(layers=32, embedding=3072, heads=24, kv_heads=8, ff=9216, head=128, context=4096, rope=64, **EPS)
    return transformer("nemotron", keys, 256000, norm_bias=True, gate=False)


def _minicpm() -> Model:
    keys = keys_of(layers=40, embedding=2304, heads=36, kv_heads=36, ff=5760, context=4096)
    return transformer("minicpm", keys, 122753, tied=True)


def _smollm3() -> Model:
    return transformer("smollm3", keys_of(layers=36, embedding=2048, heads=16, kv_heads=4, ff=11008, context=65536), 128256, tied=True)


def _granitemoe() -> Model:
    keys = keys_of(
        layers=32, embedding=1536, heads=24, kv_heads=8, ff=512, expert_count=40, expert_used_count=8, logit_scale=6.0,
        residual_scale=0.22,
        embedding_scale=12.0, attention__scale=0.015625,
    )  # fmt: skip
    return transformer("granitemoe", keys, 49155, tied=True, experts={"count": 40, "width": 512})


def _deepseek() -> Model:
    keys = keys_of(
        layers=28, embedding=2048, heads=16, kv_heads=16, ff=10944, context=4096, expert_count=64, expert_used_count=6,
        expert_feed_forward_length=1408, expert_shared_count=2, leading_dense_block_count=1, expert_weights_scale=1.0,
    )  # fmt: skip
    return transformer("deepseek", keys, 102400, experts={"count": 64, "width": 1408, "shared": 2816}, dense_first=1)


def _dots1() -> Model:
    keys = keys_of(
        layers=62, embedding=4096, heads=32, kv_heads=32, ff=10944, context=32768, head=128, expert_count=128, expert_used_count=6,
        expert_feed_forward_length=1408, expert_shared_count=2, leading_dense_block_count=1, expert_weights_scale=2.5,
        expert_weights_norm=True, expert_gating_func=2,
    )  # fmt: skip
    model = transformer("dots1", keys, 152064, head_norms=True, experts={"count": 128, "width": 1408, "shared": 2816}, dense_first=1)
    for il in range(1, 62):
        model.put(f"blk.{il}.exp_probs_b.bias", 128, kind="f32")
    return model


def _seed_oss() -> Model:
    keys = keys_of(layers=64, embedding=5120, heads=80, kv_heads=8, ff=27648, head=128)
    return transformer("seed_oss", keys, 155136, norms=("attn_norm", "post_attention_norm"), bias=QKV)


def _ernie() -> Model:
    return transformer("ernie4_5", keys_of(layers=18, embedding=1024, heads=16, kv_heads=2, ff=3072, head=128), 103424, tied=True)


def _arcee() -> Model:
    return transformer(
        "arcee", keys_of(layers=36, embedding=2560, heads=20, kv_heads=4, ff=18432, context=65536, head=128), 128004, gate=False
    )


def _orion() -> Model:
    return transformer(
        "orion", keys_of(layers=40, embedding=5120, heads=40, kv_heads=40, ff=15360, context=4096, **EPS), 84608, norm_bias=True
    )


def _hunyuan_moe() -> Model:
    keys = keys_of(
        layers=32, embedding=4096, heads=32, kv_heads=8, ff=3072, head=128, expert_count=64, expert_used_count=8,
        expert_feed_forward_length=3072, expert_shared_feed_forward_length=3072,
    )  # fmt: skip
    return transformer("hunyuan-moe", keys, 128167, tied=True, head_norms=True, experts={"count": 64, "width": 3072, "shared": 3072})


def _olmo() -> Model:
    keys = keys_of(layers=32, embedding=4096, heads=32, kv_heads=32, ff=11008, context=2048, **EPS)
    return transformer("olmo", keys, 50304, tied=True, norms=(), output_norm=False)


def _llama4() -> Model:
    keys = keys_of(
        layers=48, embedding=5120, heads=40, kv_heads=8, ff=16384, head=128, context=262144, expert_count=16, expert_used_count=1,
        expert_feed_forward_length=8192, interleave_moe_layer_step=1,
    )  # fmt: skip
    return transformer("llama4", keys, 202048, experts={"count": 16, "width": 8192, "shared": 8192})


def _qwen2vl() -> Model:
    keys = keys_of(layers=28, embedding=3584, heads=28, kv_heads=4, ff=18944, context=32768, rope__dimension_sections=[16, 24, 24, 0])
    return transformer("qwen2vl", keys, 152064, bias=QKV)


def _mistral3() -> Model:
    return transformer("mistral3", keys_of(layers=34, embedding=3072, heads=32, kv_heads=8, ff=9216, head=128), 131072, tied=True)


def _qwen1() -> Model:
    keys = keys_of(layers=32, embedding=4096, heads=32, kv_heads=32, ff=22016, context=8192)
    model = transformer("qwen", keys, 151936, fused=True, bias=("attn_qkv",))
    for il in range(32):
        for part, one, two in (("ffn_up", 4096, 11008), ("ffn_gate", 4096, 11008), ("ffn_down", 11008, 4096)):
            model.put(f"blk.{il}.{part}.weight", one, two)
    return model


def _xverse() -> Model:
    return transformer("xverse", keys_of(layers=32, embedding=4096, heads=32, kv_heads=32, ff=11008, context=8192), 100534)


def _baichuan() -> Model:
    return transformer("baichuan", keys_of(layers=32, embedding=4096, heads=32, kv_heads=32, ff=11008, context=4096), 125696)


def _dbrx() -> Model:
    keys = keys_of(
        layers=40, embedding=6144, heads=48, kv_heads=8, ff=10752, context=32768, expert_count=16, expert_used_count=4,
        attention__clamp_kqv=8.0, **EPS,
    )  # fmt: skip
    return transformer("dbrx", keys, 100352, norms=("attn_norm", "attn_output_norm"), fused=True, experts={"count": 16, "width": 10752})


def _phimoe() -> Model:
    keys = keys_of(
        layers=32, embedding=4096, heads=32, kv_heads=8, ff=6400, expert_count=16, expert_used_count=2, attention__sliding_window=2047
    )
    return transformer("phimoe", keys, 32064, norm_bias=True, bias=(*QKV, "attn_output", "output"), experts={"count": 16, "width": 6400})


def _glm4moe() -> Model:
    keys = keys_of(
        layers=47, embedding=4096, heads=96, kv_heads=8, ff=10944, head=128, rope=64, expert_count=128, expert_used_count=8,
        expert_feed_forward_length=1408, expert_shared_count=1, leading_dense_block_count=1, expert_weights_scale=1.0,
        expert_weights_norm=True, expert_gating_func=2, nextn_predict_layers=1,
    )  # fmt: skip
    model = transformer(
        "glm4moe", keys, 151552, norms=("attn_norm", "post_attention_norm"), bias=QKV, dense_first=1,
        experts={"count": 128, "width": 1408, "shared": 1408},
    )  # fmt: skip
    for il in range(1, 47):
        model.put(f"blk.{il}.exp_probs_b.bias", 128, kind="f32")
    for part, *shape in (("eh_proj.weight", 8192, 4096), ("enorm.weight", 4096), ("hnorm.weight", 4096)):
        model.put(f"blk.46.nextn.{part}", *shape)
    return model


def _bailingmoe() -> Model:
    keys = keys_of(
        layers=28, embedding=2048, heads=16, kv_heads=4, ff=5632, head=128, context=16384, expert_count=64, expert_used_count=6,
        expert_feed_forward_length=1408, expert_shared_count=2, leading_dense_block_count=0, expert_weights_scale=1.0,
        expert_weights_norm=True,
    )  # fmt: skip
    return transformer("bailingmoe", keys, 126464, experts={"count": 64, "width": 1408, "shared": 2816})


def _ernie_moe() -> Model:
    keys = keys_of(
        layers=28, embedding=2560, heads=20, kv_heads=4, ff=12288, head=128, expert_count=64, expert_used_count=6,
        expert_feed_forward_length=1536, expert_shared_count=2, leading_dense_block_count=1, interleave_moe_layer_step=1,
        expert_shared_feed_forward_length=3072,
    )  # fmt: skip
    model = transformer("ernie4_5-moe", keys, 103424, tied=True, dense_first=1, experts={"count": 64, "width": 1536, "shared": 3072})
    for il in range(1, 28):
        model.put(f"blk.{il}.exp_probs_b.bias", 64, kind="f32")
    return model


def _minimax_m2() -> Model:
    keys = keys_of(
        layers=62, embedding=3072, heads=48, kv_heads=8, ff=1536, head=128, rope=64, context=196608, expert_count=256,
        expert_used_count=8,
        expert_feed_forward_length=1536, expert_gating_func=2,
    )  # fmt: skip
    model = transformer("minimax-m2", keys, 200064, experts={"count": 256, "width": 1536})
    for il in range(62):
        model.put(f"blk.{il}.attn_q_norm.weight", 6144)
        model.put(f"blk.{il}.attn_k_norm.weight", 1024)
        model.put(f"blk.{il}.exp_probs_b.bias", 256, kind="f32")
    return model


def _jais2() -> Model:
    keys = keys_of(layers=32, embedding=3328, heads=26, kv_heads=26, ff=26624, head=128, context=8192, **EPS)
    return transformer("jais2", keys, 150272, norm_bias=True, gate=False, bias=(*QKV, "attn_output", "ffn_up", "ffn_down"))


def _pangu() -> Model:
    keys = keys_of(layers=34, embedding=4096, heads=32, kv_heads=8, ff=12800, context=32768)
    return transformer("pangu-embedded", keys, 153376, bias=(*QKV, "attn_output"))


def _apertus() -> Model:
    keys = keys_of(layers=32, embedding=4096, heads=32, kv_heads=8, ff=21504, context=65536)
    keys |= {f"xielu.{name}": [0.5] * 32 for name in ("alpha_n", "alpha_p", "beta", "eps")}
    return transformer("apertus", keys, 131072, gate=False, head_norms=True)


def _bailingmoe2() -> Model:
    keys = keys_of(
        layers=20, embedding=2048, heads=16, kv_heads=4, ff=5120, head=128, rope=64, context=32768, expert_count=256, expert_used_count=8,
        expert_feed_forward_length=512, expert_shared_feed_forward_length=512, expert_shared_count=1, leading_dense_block_count=1,
        expert_weights_scale=2.5, expert_weights_norm=True, expert_gating_func=2, expert_group_count=8, expert_group_used_count=4,
    )  # fmt: skip
    model = transformer(
        "bailingmoe2", keys, 157184, fused=True, head_norms=True, dense_first=1, experts={"count": 256, "width": 512, "shared": 512}
    )
    for il in range(1, 20):
        model.put(f"blk.{il}.exp_probs_b.bias", 256, kind="f32")
    return model


def _exaone_moe() -> Model:
    keys = keys_of(
        layers=48, embedding=6144, heads=64, kv_heads=8, ff=18432, head=128, attention__sliding_window=128, expert_count=128,
        expert_used_count=8, expert_feed_forward_length=2048, expert_shared_count=1, leading_dense_block_count=1, expert_weights_scale=2.5,
        expert_weights_norm=True, expert_gating_func=2, expert_shared_feed_forward_length=2048,
    )  # fmt: skip
    model = transformer("exaone-moe", keys, 153600, head_norms=True, dense_first=1, experts={"count": 128, "width": 2048, "shared": 2048})
    for il in range(1, 48):
        model.put(f"blk.{il}.exp_probs_b.bias", 128, kind="f32")
    return model


def _hunyuan_dense() -> Model:
    return transformer(
        "hunyuan-dense", keys_of(layers=32, embedding=4096, heads=32, kv_heads=8, ff=14336, head=128), 128167, tied=True, head_norms=True
    )


def _plamo() -> Model:
    keys = keys_of(layers=40, embedding=5120, heads=40, kv_heads=5, ff=13824, context=4096)
    return transformer("plamo", keys, 50432, norms=("attn_norm",))


def _refact() -> Model:
    return transformer("refact", keys_of(layers=32, embedding=2048, heads=32, kv_heads=1, ff=5632, context=4096), 49216)


def _qwen3vl() -> Model:
    keys = keys_of(
        layers=36, embedding=4096, heads=32, kv_heads=8, ff=12288, head=128, context=262144, n_deepstack_layers=3,
        rope__dimension_sections=[24, 20, 20, 0],
    )  # fmt: skip
    return transformer("qwen3vl", keys, 151936, head_norms=True)


def _codeshell() -> Model:
    keys = keys_of(layers=42, embedding=4096, heads=32, kv_heads=8, ff=16384, context=8192, **EPS)
    return transformer(
        "codeshell", keys, 70144, norm_bias=True, gate=False, fused=True, bias=("attn_qkv", "attn_output", "ffn_up", "ffn_down")
    )


def _jais() -> Model:
    keys = keys_of(layers=40, embedding=5120, heads=40, kv_heads=40, ff=13653, context=2048, attention__max_alibi_bias=8.0, **EPS)
    return transformer(
        "jais", keys, 84992, norm_bias=True, fused=True, bias=("attn_qkv", "attn_output", "ffn_up", "ffn_gate", "ffn_down"), quant="f16"
    )


MORE: dict[str, Callable[[], Model]] = {
    "qwen3-30b-a3b": _qwen3moe,
    "qwen1.5-moe-a2.7b": _qwen2moe,
    "gemma-7b": _gemma,
    "gemma2-9b": _gemma2,
    "phi2": _phi2,
    "phi4": _phi3,
    "command-r-35b": _command_r,
    "command-r7b": _cohere2,
    "falcon-7b": _falcon,
    "starcoder2-7b": _starcoder2,
    "starcoder-15b": _starcoder,
    "gpt2-xl": _gpt2,
    "pythia-6.9b": _gptneox,
    "bloom-7b": _bloom,
    "mpt-7b": _mpt,
    "stablelm-3b": _stablelm,
    "olmo-7b": _olmo,
    "olmo2-7b": _olmo2,
    "olmoe-7b": _olmoe,
    "exaone-8b": _exaone,
    "exaone4-32b": _exaone4,
    "internlm2-8b": _internlm2,
    "glm4-9b": _glm4,
    "chatglm-9b": _chatglm,
    "nemotron-4b": _nemotron,
    "minicpm-2b": _minicpm,
    "smollm3-3b": _smollm3,
    "granite-3b-a800m": _granitemoe,
    "deepseek-moe-16b": _deepseek,
    "dots1-142b": _dots1,
    "seed-oss-36b": _seed_oss,
    "ernie-0.3b": _ernie,
    "afm-4.5b": _arcee,
    "orion-14b": _orion,
    "hunyuan-a13b": _hunyuan_moe,
    "llama4-scout": _llama4,
    "qwen2vl-7b": _qwen2vl,
    "ministral3-3b": _mistral3,
    "qwen-7b": _qwen1,
    "xverse-7b": _xverse,
    "baichuan2-7b": _baichuan,
    "dbrx": _dbrx,
    "phi3.5-moe": _phimoe,
    "glm4.5-air": _glm4moe,
    "ling-lite": _bailingmoe,
    "ernie-21b-a3b": _ernie_moe,
    "minimax-m2": _minimax_m2,
    "jais2-8b": _jais2,
    "pangu-7b": _pangu,
    "apertus-8b": _apertus,
    "ling-mini-2": _bailingmoe2,
    "k-exaone-236b": _exaone_moe,
    "hunyuan-7b": _hunyuan_dense,
    "plamo-13b": _plamo,
    "refact-1.6b": _refact,
    "qwen3vl-8b": _qwen3vl,
    "codeshell-7b": _codeshell,
    "jais-13b": _jais,
}
