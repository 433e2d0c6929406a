"""What llama.cpp knows of an architecture that the file does not say: windows, recurrent layers, encoders. As of build b11434.

Source: the `load_arch_hparams` of each architecture in llama.cpp's `src/models/` and the choice of memory in `src/llama-model.cpp`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from reconciler.value_class import value_class

RECURRENT = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
"""Every layer keeps a state, none a cache."""

HYBRID = frozenset(
    {
        "jamba", "falcon-h1", "plamo2", "granitehybrid", "lfm2", "lfm2moe", "nemotron_h", "nemotron_h_moe", "qwen3next", "kimi-linear",
        "bailingmoe3", "qwen35", "qwen35moe", "minimax-01",
    }
)  # fmt: skip
"""Some layers keep a state, others a cache."""

INTERVAL = frozenset({"qwen3next", "qwen35", "qwen35moe", "minimax-01"})
"""Hybrids whose recurrent layers follow from `full_attention_interval`; in the others a recurrent layer has no KV heads."""

ENCODERS = frozenset(
    {
        "bert", "jina-bert-v2", "jina-bert-v3", "nomic-bert", "nomic-bert-moe", "neo-bert", "eurobert", "modern-bert", "gemma-embedding",
        "dream", "llada", "llada-moe", "rnd1", "wavtokenizer-dec",
    }
)  # fmt: skip
"""No cache at all: the whole batch is one pass."""

WITHOUT_FLASH = frozenset({"grok"})
"""llama.cpp runs these without flash attention whatever is asked (src/llama-context.cpp)."""

DIFFUSION = frozenset({"dream", "llada", "llada-moe", "rnd1"})
"""Encoders with logits: a server reserves one row of them a slot, where other encoders give one for each token."""

FULL_ROWS = (ENCODERS - DIFFUSION) | {"t5", "t5encoder"}
"""A server reserves a full batch of output rows for these."""

WITHOUT_OUTPUT = frozenset(
    {"bitnet", "bert", "jina-bert-v2", "jina-bert-v3", "nomic-bert", "nomic-bert-moe", "neo-bert", "eurobert", "modern-bert"}
)
"""No output matrix, so no tied copy of the embedding either (BitNet uses the embedding itself)."""

PLAIN_CACHE = frozenset(
    {
        "afmoe", "apertus", "arcee", "arctic", "baichuan", "bailingmoe", "bailingmoe2", "bitnet", "bloom", "chameleon", "chatglm",
        "codeshell", "cogvlm", "cohere2", "cohere2moe", "command-r", "dbrx", "deci", "deepseek", "deepseek2", "deepseek2-ocr",
        "deepseek32", "dots1", "ernie4_5", "ernie4_5-moe", "exaone", "exaone-moe", "exaone4", "falcon", "gemma", "gemma2",
        "gemma3", "gemma3n", "gemma4", "glm-dsa", "glm4", "glm4moe", "gpt-oss", "gpt2", "gptj", "gptneox", "granite",
        "granite_swa", "granitemoe", "grok", "grovemoe", "hrm_text", "hunyuan-dense", "hunyuan-moe", "hunyuan_vl", "hy_v3",
        "internlm2", "jais", "jais2", "laguna", "llama", "llama-embed", "llama4", "maincoder", "maple", "mellum", "mimo2",
        "minicpm", "minicpm3", "minimax-m2", "mistral3", "mistral4", "mpt", "muse-glimmer", "nanbeige", "nemotron", "olmo",
        "olmo2", "olmoe", "openelm", "orion", "paddleocr", "pangu-embedded", "phi2", "phi3", "phimoe", "plamo", "plamo3", "plm",
        "qwen", "qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen3moe", "qwen3vl", "qwen3vlmoe", "refact", "seed_oss",
        "smallthinker", "smollm3", "spark2_5", "stablelm", "starcoder", "starcoder2", "step35", "t5", "t5encoder", "talkie",
        "xverse",
    }
)  # fmt: skip
"""Keys and values of every layer, in full or in a window."""

KNOWN_CACHE = PLAIN_CACHE | RECURRENT | HYBRID | ENCODERS
"""Architectures whose cache and state are known.

The others have indexers, drafts or layers that are run twice, or are newer than this list."""


INDEXED = frozenset({"deepseek32", "glm-dsa"})
"""Latent attention whose layers keep, beside the latent rows, keys of an indexer."""


@value_class
class Window:
    """Sliding windows of an architecture: one layer in `period` is full (the last of each group, or the first).

    `size` is what llama.cpp takes when the file has no `attention.sliding_window`; None: then there is no window at all.
    `forced` sizes win over the file. `explicit`: the file must list the layers.
    """

    period: int
    size: int | None = None
    full_first: bool = False
    forced: bool = False
    explicit: bool = False


WINDOWS: Mapping[str, Window] = MappingProxyType(
    {
        "gemma2": Window(2, 4096),
        "gemma3": Window(6),
        "gemma3n": Window(5),
        "gemma4": Window(0, explicit=True),
        "gemma-embedding": Window(6),
        "gpt-oss": Window(2),
        "cohere2": Window(4),
        "cohere2moe": Window(4, full_first=True),
        "llama4": Window(4, 8192, forced=True),
        "exaone4": Window(4, 4096),
        "exaone-moe": Window(4, 128),
        "olmo2": Window(4),
        "mellum": Window(4),
        "afmoe": Window(4),
        "muse-glimmer": Window(4),
        "laguna": Window(4, full_first=True),
        "smallthinker": Window(4, 4096, full_first=True, forced=True),
        "modern-bert": Window(3, full_first=True),
        "plamo3": Window(8),
        "granite_swa": Window(0, explicit=True),
        "mimo2": Window(0, explicit=True),
        "step35": Window(0, explicit=True),
        "spark2_5": Window(0, explicit=True),
        "maple": Window(0, explicit=True),
    }
)
