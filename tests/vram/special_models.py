"""Encoders, latent attention, recurrent and hybrid models, in true shapes."""

from __future__ import annotations

from collections.abc import Callable

from vram.shapes import Model, keys_of, transformer

EPS = {"attention__layer_norm_epsilon": 1e-12}


def _encoder(arch: str, layers: int, width: int, heads: int, ff: int, vocab: int, context: int, **extra: object) -> Model:
    keys = keys_of(layers=layers, embedding=width, heads=heads, kv_heads=heads, ff=ff, context=context, attention__causal=False, **EPS)
    keys |= {name.replace("__", "."): value for name, value in extra.items()}  # type: ignore[misc]
    model = Model(arch, keys, vocab=vocab, quant="f16")
    if arch != "modern-bert":
        model.keys["tokenizer.ggml.token_type_count"] = 2
    model.put("token_embd.weight", width, vocab)
    model.put("token_embd_norm.weight", width)
    return model


def _bert() -> Model:
    model = _encoder("bert", 24, 1024, 16, 4096, 30522, 512)
    model.put("token_embd_norm.bias", 1024)
    model.put("token_types.weight", 1024, 2)
    model.put("position_embd.weight", 1024, 512)
    for il in range(24):
        for part, one, two in (
            ("attn_q", 1024, 1024), ("attn_k", 1024, 1024), ("attn_v", 1024, 1024), ("attn_output", 1024, 1024),
            ("ffn_up", 1024, 4096), ("ffn_down", 4096, 1024),
        ):  # fmt: skip
            model.put(f"blk.{il}.{part}.weight", one, two)
            model.put(f"blk.{il}.{part}.bias", two)
        for part in ("attn_output_norm", "layer_output_norm"):
            model.put(f"blk.{il}.{part}.weight", 1024)
            model.put(f"blk.{il}.{part}.bias", 1024)
    return model


def _nomic() -> Model:
    model = _encoder("nomic-bert", 12, 768, 12, 3072, 30528, 2048, rope__freq_base=1000.0)
    model.put("token_embd_norm.bias", 768)
    model.put("token_types.weight", 768, 2)
    for il in range(12):
        for part, one, two in (
            ("attn_qkv", 768, 2304), ("attn_output", 768, 768), ("ffn_up", 768, 3072), ("ffn_gate", 768, 3072), ("ffn_down", 3072, 768),
        ):  # fmt: skip
            model.put(f"blk.{il}.{part}.weight", one, two)
        for part in ("attn_output_norm", "layer_output_norm"):
            model.put(f"blk.{il}.{part}.weight", 768)
            model.put(f"blk.{il}.{part}.bias", 768)
    return model


def _jina() -> Model:
    model = _encoder("jina-bert-v2", 12, 768, 12, 3072, 61056, 8192, attention__max_alibi_bias=8.0)
    model.put("token_embd_norm.bias", 768)
    model.put("token_types.weight", 768, 2)
    for il in range(12):
        for part, one, two in (
            ("attn_q", 768, 768), ("attn_k", 768, 768), ("attn_v", 768, 768), ("attn_output", 768, 768), ("ffn_up", 768, 6144),
            ("ffn_down", 3072, 768),
        ):  # fmt: skip
            model.put(f"blk.{il}.{part}.weight", one, two)
            if part != "ffn_up":
                model.put(f"blk.{il}.{part}.bias", two)
        for part in ("attn_output_norm", "layer_output_norm"):
            model.put(f"blk.{il}.{part}.weight", 768)
            model.put(f"blk.{il}.{part}.bias", 768)
    return model


def _modern_bert() -> Model:
    model = _encoder(
        "modern-bert",
        22,
        768,
        12,
        1152,
        50368,
        8192,
        attention__sliding_window=128,
        attention__sliding_window_pattern=3,
        rope__freq_base=160000.0,
    )
    model.put("output_norm.weight", 768)
    for il in range(22):
        for part, one, two in (("attn_qkv", 768, 2304), ("attn_output", 768, 768), ("ffn_up", 768, 2304), ("ffn_down", 1152, 768)):
            model.put(f"blk.{il}.{part}.weight", one, two)
        if il:
            model.put(f"blk.{il}.attn_norm.weight", 768)
        model.put(f"blk.{il}.ffn_norm.weight", 768)
    return model


def _gemma_embedding() -> Model:
    keys = keys_of(layers=24, embedding=768, heads=3, kv_heads=1, ff=1152, head=256, context=2048, attention__sliding_window=512)
    return transformer(
        "gemma-embedding", keys, 262144, tied=True, norms=("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"), head_norms=True
    )


def _deepseek(
    layers: int, width: int, heads: int, *, lite: bool, compressed: bool, vocab: int, experts: int, used: int, groups: int = 0
) -> Model:
    rank, rotated, plain, value, query_rank = 512, 64, 128, 128, 1536
    inner, dense, shared = (1408, 10944, 2816) if lite else (2048, 18432, 2048)
    keys = keys_of(
        layers=layers, embedding=width, heads=heads, kv_heads=1 if compressed else heads, ff=dense, rope=rotated, context=163840,
        attention__key_length=rank + rotated if compressed else plain + rotated, attention__value_length=rank if compressed else value,
        attention__kv_lora_rank=rank, leading_dense_block_count=1 if lite else 3, expert_count=experts, expert_used_count=used,
        expert_feed_forward_length=inner, expert_shared_count=2 if lite else 1, expert_weights_scale=1.0 if lite else 2.5,
        expert_weights_norm=not lite, expert_gating_func=1 if lite else 2,
    )  # fmt: skip
    if compressed:
        keys |= {"attention.key_length_mla": plain + rotated, "attention.value_length_mla": value}
    if not lite:
        keys["attention.q_lora_rank"] = query_rank
    if groups:
        keys |= {"expert_group_count": groups, "expert_group_used_count": groups // 2}
    model = Model("deepseek2", keys, vocab=vocab)
    model.put("token_embd.weight", width, vocab)
    model.put("output_norm.weight", width)
    model.put("output.weight", width, vocab)
    for il in range(layers):
        name = f"blk.{il}."
        model.put(f"{name}attn_norm.weight", width)
        model.put(f"{name}ffn_norm.weight", width)
        if lite:
            model.put(f"{name}attn_q.weight", width, heads * (plain + rotated))
        else:
            model.put(f"{name}attn_q_a.weight", width, query_rank)
            model.put(f"{name}attn_q_a_norm.weight", query_rank)
            model.put(f"{name}attn_q_b.weight", query_rank, heads * (plain + rotated))
        model.put(f"{name}attn_kv_a_mqa.weight", width, rank + rotated)
        model.put(f"{name}attn_kv_a_norm.weight", rank)
        if compressed:
            model.put(f"{name}attn_k_b.weight", plain, rank, heads)
            model.put(f"{name}attn_v_b.weight", rank, value, heads)
        else:
            model.put(f"{name}attn_kv_b.weight", rank, heads * (plain + value))
        model.put(f"{name}attn_output.weight", heads * value, width)
        if il < (1 if lite else 3):
            for part, one, two in (("ffn_up", width, dense), ("ffn_gate", width, dense), ("ffn_down", dense, width)):
                model.put(f"{name}{part}.weight", one, two)
            continue
        model.put(f"{name}ffn_gate_inp.weight", width, experts)
        if not lite:
            model.put(f"{name}exp_probs_b.bias", experts, kind="f32")
        for part, one, two in (("ffn_up", width, inner), ("ffn_gate", width, inner), ("ffn_down", inner, width)):
            model.put(f"{name}{part}_exps.weight", one, two, experts)
        for part, one, two in (("ffn_up", width, shared), ("ffn_gate", width, shared), ("ffn_down", shared, width)):
            model.put(f"{name}{part}_shexp.weight", one, two)
    return model


def _minicpm3() -> Model:
    keys = keys_of(
        layers=62, embedding=2560, heads=40, kv_heads=40, ff=6400, context=32768, rope=32, attention__key_length=96,
        attention__value_length=64, attention__q_lora_rank=768, attention__kv_lora_rank=256,
    )  # fmt: skip
    model = Model("minicpm3", keys, vocab=73448)
    model.put("token_embd.weight", 2560, 73448)
    model.put("output_norm.weight", 2560)
    for part in ("long", "short"):
        model.put(f"rope_factors_{part}.weight", 16, kind="f32")
    for il in range(62):
        for part, *shape in (
            ("attn_norm", 2560), ("ffn_norm", 2560), ("attn_q_a_norm", 768), ("attn_kv_a_norm", 256), ("attn_q_a", 2560, 768),
            ("attn_q_b", 768, 40 * 96), ("attn_kv_a_mqa", 2560, 256 + 32), ("attn_kv_b", 256, 40 * (64 + 64)), ("attn_output", 40 * 64,
            2560),
            ("ffn_up", 2560, 6400), ("ffn_gate", 2560, 6400), ("ffn_down", 6400, 2560),
        ):  # fmt: skip
            model.put(f"blk.{il}.{part}.weight", *shape)
    return model


def _ssm(arch: str, layers: int, width: int, vocab: int, **extra: object) -> Model:
    keys = keys_of(layers=layers, embedding=width, heads=1, kv_heads=0, ff=0, context=1048576)
    keys |= {"attention.head_count": 0, "rope.dimension_count": 0}
    keys |= {name.replace("__", "."): value for name, value in extra.items()}  # type: ignore[misc]
    model = Model(arch, keys, vocab=vocab)
    model.put("token_embd.weight", width, vocab)
    model.put("output_norm.weight", width)
    return model


def _mamba1_layer(model: Model, il: int, width: int, inner: int, state: int, rank: int, *, normed: bool = False) -> None:
    name = f"blk.{il}.ssm_"
    model.put(f"{name}in.weight", width, 2 * inner)
    model.put(f"{name}conv1d.weight", 4, inner)
    model.put(f"{name}conv1d.bias", inner)
    model.put(f"{name}x.weight", inner, rank + 2 * state)
    model.put(f"{name}dt.weight", rank, inner)
    model.put(f"{name}dt.bias", inner)
    model.put(f"{name}a", state, inner, kind="f32")
    model.put(f"{name}d", inner, kind="f32")
    model.put(f"{name}out.weight", inner, width)
    if normed:
        model.put(f"{name}dt_norm.weight", rank)
        model.put(f"{name}b_norm.weight", state)
        model.put(f"{name}c_norm.weight", state)


def _mamba2_layer(model: Model, il: int, width: int, inner: int, state: int, heads: int, groups: int, *, normed: bool = True) -> None:
    name = f"blk.{il}.ssm_"
    channels = inner + 2 * groups * state
    model.put(f"{name}in.weight", width, 2 * inner + 2 * groups * state + heads)
    model.put(f"{name}conv1d.weight", 4, channels)
    model.put(f"{name}conv1d.bias", channels)
    model.put(f"{name}dt.bias", heads)
    model.put(f"{name}a", 1, heads, kind="f32")
    model.put(f"{name}d", 1, heads, kind="f32")
    if normed:
        model.put(f"{name}norm.weight", inner // groups, groups)
    model.put(f"{name}out.weight", inner, width)


def _attention(model: Model, il: int, width: int, heads: int, shared: int, head: int) -> None:
    name = f"blk.{il}.attn_"
    model.put(f"{name}q.weight", width, heads * head)
    model.put(f"{name}k.weight", width, shared * head)
    model.put(f"{name}v.weight", width, shared * head)
    model.put(f"{name}output.weight", heads * head, width)


def _mlp(model: Model, il: int, width: int, ff: int, *, gate: bool = True) -> None:
    model.put(f"blk.{il}.ffn_up.weight", width, ff)
    model.put(f"blk.{il}.ffn_down.weight", ff, width)
    if gate:
        model.put(f"blk.{il}.ffn_gate.weight", width, ff)


def _mamba() -> Model:
    model = _ssm("mamba", 64, 2560, 50280, ssm__conv_kernel=4, ssm__inner_size=5120, ssm__state_size=16, ssm__time_step_rank=160)
    for il in range(64):
        model.put(f"blk.{il}.attn_norm.weight", 2560)
        _mamba1_layer(model, il, 2560, 5120, 16, 160)
    return model


def _mamba2() -> Model:
    model = _ssm(
        "mamba2", 64, 2560, 50288, ssm__conv_kernel=4, ssm__inner_size=5120, ssm__state_size=128, ssm__time_step_rank=80, ssm__group_count=1
    )
    for il in range(64):
        model.put(f"blk.{il}.attn_norm.weight", 2560)
        _mamba2_layer(model, il, 2560, 5120, 128, 80, 1)
    return model


def _jamba() -> Model:
    kv = [8 if il % 8 == 4 else 0 for il in range(32)]
    keys = keys_of(layers=32, embedding=4096, heads=32, kv_heads=8, ff=14336, context=262144, expert_count=16, expert_used_count=2)
    keys |= {
        "attention.head_count_kv": kv, "ssm.conv_kernel": 4, "ssm.inner_size": 8192, "ssm.state_size": 16, "ssm.time_step_rank": 256
    }  # fmt: skip
    model = Model("jamba", keys, vocab=65536)
    model.put("token_embd.weight", 4096, 65536)
    model.put("output_norm.weight", 4096)
    model.put("output.weight", 4096, 65536)
    for il in range(32):
        model.put(f"blk.{il}.attn_norm.weight", 4096)
        model.put(f"blk.{il}.ffn_norm.weight", 4096)
        if kv[il]:
            _attention(model, il, 4096, 32, 8, 128)
        else:
            _mamba1_layer(model, il, 4096, 8192, 16, 256, normed=True)
        if il % 2:
            model.put(f"blk.{il}.ffn_gate_inp.weight", 4096, 16)
            for part, one, two in (("up", 4096, 14336), ("gate", 4096, 14336), ("down", 14336, 4096)):
                model.put(f"blk.{il}.ffn_{part}_exps.weight", one, two, 16)
        else:
            _mlp(model, il, 4096, 14336)
    return model


def _falcon_h1() -> Model:
    keys = keys_of(layers=44, embedding=3072, heads=12, kv_heads=2, ff=12288, head=128, context=131072)
    keys |= {"ssm.conv_kernel": 4, "ssm.inner_size": 3072, "ssm.state_size": 256, "ssm.time_step_rank": 24, "ssm.group_count": 1}
    model = Model("falcon-h1", keys, vocab=130048)
    model.put("token_embd.weight", 3072, 130048)
    model.put("output_norm.weight", 3072)
    model.put("output.weight", 3072, 130048)
    for il in range(44):
        model.put(f"blk.{il}.attn_norm.weight", 3072)
        model.put(f"blk.{il}.ffn_norm", 3072, kind="f32")
        _attention(model, il, 3072, 12, 2, 128)
        _mamba2_layer(model, il, 3072, 3072, 256, 24, 1, normed=False)
        _mlp(model, il, 3072, 12288)
    return model


def _granite_hybrid() -> Model:
    kv = [8 if il % 10 == 5 else 0 for il in range(40)]
    keys = keys_of(
        layers=40, embedding=1536, heads=12, kv_heads=4, ff=512, expert_count=64, expert_used_count=6,
        expert_shared_feed_forward_length=1024,
        logit_scale=6.0, residual_scale=0.22, embedding_scale=12.0, attention__scale=0.0078125,
    )  # fmt: skip
    kv = [4 if one else 0 for one in kv]
    keys |= {
        "attention.head_count_kv": kv, "ssm.conv_kernel": 4, "ssm.inner_size": 3072, "ssm.state_size": 128, "ssm.time_step_rank": 48,
        "ssm.group_count": 1, "rope.scaling.finetuned": False,
    }  # fmt: skip
    model = Model("granitehybrid", keys, vocab=100352)
    model.put("token_embd.weight", 1536, 100352)
    model.put("output_norm.weight", 1536)
    for il in range(40):
        model.put(f"blk.{il}.attn_norm.weight", 1536)
        model.put(f"blk.{il}.ffn_norm.weight", 1536)
        if kv[il]:
            _attention(model, il, 1536, 12, 4, 128)
        else:
            _mamba2_layer(model, il, 1536, 3072, 128, 48, 1)
        model.put(f"blk.{il}.ffn_gate_inp.weight", 1536, 64)
        for part, one, two in (("up", 1536, 512), ("gate", 1536, 512), ("down", 512, 1536)):
            model.put(f"blk.{il}.ffn_{part}_exps.weight", one, two, 64)
        for part, one, two in (("up", 1536, 1024), ("gate", 1536, 1024), ("down", 1024, 1536)):
            model.put(f"blk.{il}.ffn_{part}_shexp.weight", one, two)
    return model


def _nemotron_h() -> Model:
    kinds = ["M", "F", "M", "F", "M", "F", "M", "A", "F"] * 6 + ["M", "F"]
    layers = len(kinds)
    keys = keys_of(
        layers=layers, embedding=4096, heads=32, kv_heads=8, ff=21504, head=128, context=8192, attention__layer_norm_epsilon=1e-5
    )
    keys |= {
        "attention.head_count_kv": [8 if one == "A" else 0 for one in kinds],
        "feed_forward_length": [21504 if one == "F" else 0 for one in kinds],
        "ssm.conv_kernel": 4, "ssm.inner_size": 8192, "ssm.state_size": 128, "ssm.time_step_rank": 128, "ssm.group_count": 8,
    }  # fmt: skip
    model = Model("nemotron_h", keys, vocab=131072)
    model.put("token_embd.weight", 4096, 131072)
    model.put("output_norm.weight", 4096)
    model.put("output.weight", 4096, 131072)
    for il, kind in enumerate(kinds):
        model.put(f"blk.{il}.attn_norm.weight", 4096)
        if kind == "A":
            _attention(model, il, 4096, 32, 8, 128)
        elif kind == "M":
            _mamba2_layer(model, il, 4096, 8192, 128, 128, 8)
        else:
            _mlp(model, il, 4096, 21504, gate=False)
    return model


def _lfm2() -> Model:
    attends = {2, 5, 8, 10, 12, 14}
    keys = keys_of(layers=16, embedding=2048, heads=32, kv_heads=8, ff=8192, context=128000)
    keys |= {"attention.head_count_kv": [8 if il in attends else 0 for il in range(16)], "shortconv.l_cache": 3}
    model = Model("lfm2", keys, vocab=65536)
    model.put("token_embd.weight", 2048, 65536)
    model.put("token_embd_norm.weight", 2048)
    for il in range(16):
        model.put(f"blk.{il}.attn_norm.weight", 2048)
        model.put(f"blk.{il}.ffn_norm.weight", 2048)
        if il in attends:
            _attention(model, il, 2048, 32, 8, 64)
            model.put(f"blk.{il}.attn_q_norm.weight", 64)
            model.put(f"blk.{il}.attn_k_norm.weight", 64)
        else:
            model.put(f"blk.{il}.shortconv.conv.weight", 3, 2048)
            model.put(f"blk.{il}.shortconv.in_proj.weight", 2048, 3 * 2048)
            model.put(f"blk.{il}.shortconv.out_proj.weight", 2048, 2048)
        _mlp(model, il, 2048, 8192)
    return model


SPECIAL: dict[str, Callable[[], Model]] = {
    "mxbai-large": _bert,
    "nomic-v1.5": _nomic,
    "jina-v2-base": _jina,
    "modernbert-base": _modern_bert,
    "embeddinggemma-300m": _gemma_embedding,
    "deepseek-v2-lite": lambda: _deepseek(27, 2048, 16, lite=True, compressed=True, vocab=102400, experts=64, used=6),
    "deepseek-v2-lite-legacy": lambda: _deepseek(27, 2048, 16, lite=True, compressed=False, vocab=102400, experts=64, used=6),
    "deepseek-v3": lambda: _deepseek(61, 7168, 128, lite=False, compressed=True, vocab=129280, experts=256, used=8, groups=8),
    "minicpm3-4b": _minicpm3,
    "mamba-2.8b": _mamba,
    "mamba2-2.7b": _mamba2,
    "jamba-52b": _jamba,
    "falcon-h1-7b": _falcon_h1,
    "granite-4-tiny": _granite_hybrid,
    "nemotron-h-8b": _nemotron_h,
    "lfm2-1.2b": _lfm2,
}


def _delta_layer(model: Model, il: int, width: int, inner: int, state: int, groups: int, heads: int, *, together: bool) -> None:
    name = f"blk.{il}.ssm_"
    channels = inner + 2 * groups * state
    if together:
        model.put(f"{name}in.weight", width, 2 * inner + 2 * groups * state)
        model.put(f"{name}ba.weight", width, 2 * heads)
    else:
        model.put(f"blk.{il}.attn_qkv.weight", width, channels)
        model.put(f"blk.{il}.attn_gate.weight", width, inner)
        model.put(f"{name}beta.weight", width, heads)
        model.put(f"{name}alpha.weight", width, heads)
    model.put(f"{name}conv1d.weight", 4, channels)
    model.put(f"{name}dt.bias", heads)
    model.put(f"{name}a", heads, kind="f32")
    model.put(f"{name}norm.weight", inner // heads)
    model.put(f"{name}out.weight", inner, width)


def _qwen_delta(
    arch: str, layers: int, width: int, heads: int, shared: int, ff: int, value_heads: int, *, experts: int = 0, inner_ff: int = 0
) -> Model:
    inner, state, groups, head = value_heads * 128, 128, 16, 256
    keys = keys_of(
        layers=layers, embedding=width, heads=heads, kv_heads=shared, ff=ff, head=head, rope=64, context=262144, full_attention_interval=4
    )
    keys |= {
        "ssm.conv_kernel": 4, "ssm.inner_size": inner, "ssm.state_size": state, "ssm.time_step_rank": value_heads,
        "ssm.group_count": groups,
    }  # fmt: skip
    if arch != "qwen3next":
        keys["rope.dimension_sections"] = [11, 11, 10, 0]
    if experts:
        keys |= {
            "expert_count": experts, "expert_used_count": 8, "expert_feed_forward_length": inner_ff,
            "expert_shared_feed_forward_length": inner_ff
        }  # fmt: skip
    model = Model(arch, keys, vocab=248320)
    model.put("token_embd.weight", width, 248320)
    model.put("output_norm.weight", width)
    model.put("output.weight", width, 248320)
    for il in range(layers):
        model.put(f"blk.{il}.attn_norm.weight", width)
        model.put(f"blk.{il}.post_attention_norm.weight", width)
        if (il + 1) % 4:
            _delta_layer(model, il, width, inner, state, groups, value_heads, together=arch == "qwen3next")
        else:
            _attention(model, il, width, heads, shared, head)
            model.put(f"blk.{il}.attn_q.weight", width, 2 * heads * head)
            model.put(f"blk.{il}.attn_q_norm.weight", head)
            model.put(f"blk.{il}.attn_k_norm.weight", head)
        if not experts:
            _mlp(model, il, width, ff)
            continue
        model.put(f"blk.{il}.ffn_gate_inp.weight", width, experts)
        model.put(f"blk.{il}.ffn_gate_inp_shexp.weight", width)
        for part, one, two in (("up", width, inner_ff), ("gate", width, inner_ff), ("down", inner_ff, width)):
            model.put(f"blk.{il}.ffn_{part}_exps.weight", one, two, experts)
            model.put(f"blk.{il}.ffn_{part}_shexp.weight", one, two)
    return model


def _gemma4(layers: int, width: int, ff: int, *, shared_layers: int = 0, each: int = 0, heads: int = 16) -> Model:
    sliding = [il % 6 != 5 for il in range(layers)]
    keys = keys_of(layers=layers, embedding=width, heads=heads, kv_heads=8, ff=ff, head=512, context=262144, attention__sliding_window=1024)
    keys |= {
        "attention.sliding_window_pattern": sliding, "attention.head_count_kv": [8 if one else 1 for one in sliding],
        "attention.key_length_swa": 256, "attention.value_length_swa": 256, "rope.dimension_count_swa": 256,
        "attention.shared_kv_layers": shared_layers, "embedding_length_per_layer_input": each, "final_logit_softcapping": 30.0,
    }  # fmt: skip
    model = Model("gemma4", keys, vocab=262144)
    model.put("token_embd.weight", width, 262144)
    model.put("output_norm.weight", width)
    model.put("rope_freqs.weight", 256, kind="f32")
    if each:
        model.put("per_layer_token_embd.weight", each * layers, 262144)
        model.put("per_layer_model_proj.weight", width, each * layers)
        model.put("per_layer_proj_norm.weight", each)
    for il in range(layers):
        name, head, shared = f"blk.{il}.", 256 if sliding[il] else 512, 8 if sliding[il] else 1
        for part in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            model.put(f"{name}{part}.weight", width)
        _attention(model, il, width, heads, shared, head)
        model.put(f"{name}attn_q_norm.weight", head)
        model.put(f"{name}attn_k_norm.weight", head)
        model.put(f"{name}layer_output_scale.weight", 1, kind="f32")
        _mlp(model, il, width, ff)
        if each:
            model.put(f"{name}inp_gate.weight", width, each)
            model.put(f"{name}proj.weight", each, width)
            model.put(f"{name}post_norm.weight", width)
    return model


SPECIAL |= {
    "qwen3-next-80b": lambda: _qwen_delta("qwen3next", 48, 2048, 16, 2, 5120, 32, experts=512, inner_ff=512),
    "qwen3.5-27b": lambda: _qwen_delta("qwen35", 64, 5120, 24, 4, 17408, 48),
    "qwen3.6-35b-a3b": lambda: _qwen_delta("qwen35moe", 40, 2048, 16, 2, 5120, 32, experts=256, inner_ff=512),
    "gemma4-12b": lambda: _gemma4(48, 3840, 15360),
    "gemma4-e4b": lambda: _gemma4(36, 2560, 10240, shared_layers=12, each=256, heads=8),
}


def _gemma3n() -> Model:
    layers, width, ff, each, streams = 30, 2048, 8192, 256, 4
    keys = keys_of(layers=layers, embedding=width, heads=8, kv_heads=2, ff=ff, head=256, context=32768, attention__sliding_window=512)
    keys |= {"attention.sliding_window_pattern": [il % 5 != 4 for il in range(layers)], "final_logit_softcapping": 30.0}
    model = Model("gemma3n", keys, vocab=262144)
    model.put("token_embd.weight", width, 262144)
    model.put("output_norm.weight", width)
    model.put("per_layer_token_embd.weight", each * layers, 262144)
    model.put("per_layer_model_proj.weight", width, each * layers)
    model.put("per_layer_proj_norm.weight", each)
    model.put("altup_proj.weight", width, width, streams - 1, kind="f16")
    model.put("altup_unembd_proj.weight", width, width, streams - 1, kind="f16")
    for il in range(layers):
        name = f"blk.{il}."
        for part in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm", "post_norm", "laurel_post_norm", "altup_router_norm"):
            model.put(f"{name}{part}.weight", width)
        _attention(model, il, width, 8, 2, 256)
        model.put(f"{name}attn_q_norm.weight", 256)
        model.put(f"{name}attn_k_norm.weight", 256)
        _mlp(model, il, width, ff)
        model.put(f"{name}inp_gate.weight", width, each)
        model.put(f"{name}proj.weight", each, width)
        model.put(f"{name}laurel_l.weight", width, 64, kind="f16")
        model.put(f"{name}laurel_r.weight", 64, width, kind="f16")
        model.put(f"{name}altup_correct_coef.weight", streams, streams)
        model.put(f"{name}altup_correct_scale.weight", width)
        model.put(f"{name}altup_predict_coef.weight", streams, streams * streams)
        model.put(f"{name}altup_router.weight", width, streams)
    return model


SPECIAL["gemma3n-e2b"] = _gemma3n
