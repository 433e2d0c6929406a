"""Writes a tiny Llama in the Hugging Face layout, with random weights and a tokenizer of single bytes. Standard library only.

`python tests/real/tiny_llama.py FOLDER`. About 1 MB: what vLLM needs to start, load and answer, whatever it says.
"""

from __future__ import annotations

import json
import random
import struct
import sys
from math import prod
from pathlib import Path

HIDDEN, INTERMEDIATE, LAYERS, HEADS, HEAD = 128, 256, 2, 2, 64
"""A head of 64: attention kernels know few sizes."""
VOCABULARY, CONTEXT = 320, 2048
BEGIN, END = 256, 257
_ONE = struct.pack("<H", 0x3F80)
_SMALL = bytes(0x3C if byte < 128 else 0xBC for byte in range(256))
"""Upper bytes of bfloat16 numbers between 2^-7 and 2^-5, of either sign."""


def write_tiny_llama(folder: Path) -> None:
    """Writes config, tokenizer and weights into `folder`, the same bytes every time."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "config.json", config())
    _write(folder / "generation_config.json", {"bos_token_id": BEGIN, "eos_token_id": END})
    _write(folder / "tokenizer.json", tokenizer())
    _write(folder / "tokenizer_config.json", tokenizer_config())
    write_safetensors(folder / "model.safetensors", shapes(), random.Random(0))


def config() -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "head_dim": HEAD,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "vocab_size": VOCABULARY,
        "bos_token_id": BEGIN,
        "eos_token_id": END,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    }


def shapes() -> dict[str, tuple[int, ...]]:
    """Tensor names of transformers' LlamaForCausalLM."""
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        found |= {at + f"self_attn.{name}_proj.weight": (HEADS * HEAD, HIDDEN) for name in "qkv"}
        found |= {
            at + "self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD),
            at + "mlp.gate_proj.weight": (INTERMEDIATE, HIDDEN),
            at + "mlp.up_proj.weight": (INTERMEDIATE, HIDDEN),
            at + "mlp.down_proj.weight": (HIDDEN, INTERMEDIATE),
            at + "input_layernorm.weight": (HIDDEN,),
            at + "post_attention_layernorm.weight": (HIDDEN,),
        }
    return found


def write_safetensors(path: Path, tensors: dict[str, tuple[int, ...]], chance: random.Random) -> None:
    """safetensors: length of the header (u64), a JSON header with dtype, shape and offsets, then the bytes (its README)."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    blocks, at = [], 0
    for name, shape in tensors.items():
        count = prod(shape)
        blocks.append(_ONE * count if len(shape) == 1 else _random_bfloat16(count, chance))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + 2 * count]}
        at += 2 * count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blocks))


def _random_bfloat16(count: int, chance: random.Random) -> bytes:
    numbers = bytearray(chance.randbytes(2 * count))
    numbers[1::2] = numbers[1::2].translate(_SMALL)
    return bytes(numbers)


def tokenizer() -> dict[str, object]:
    """Byte-level BPE without a merge: one token a byte, and two special ones."""
    special = [
        {"id": token, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for token, text in ((BEGIN, "<s>"), (END, "</s>"))
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {_letter(byte): byte for byte in range(256)},
            "merges": [],
        },
    }


def _letter(byte: int) -> str:
    """GPT-2's printable stand-in for a byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return chr(byte) if byte in printable else chr(256 + sorted(set(range(256)) - set(printable)).index(byte))


def tokenizer_config() -> dict[str, object]:
    template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "chat_template": template}


def _write(path: Path, document: dict[str, object]) -> None:
    path.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    write_tiny_llama(Path(sys.argv[1]))
