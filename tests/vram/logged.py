"""What engines of other people logged of real loads, beside what is predicted of the same shapes.

Weights, cache and compute buffer in MiB as the logs of llama.cpp and Ollama on CUDA, Metal, ROCm and Vulkan say them; None: not logged.
Most are builds of long before b10700, whose servers reserved a full batch of output rows. Nothing was fitted to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from vram.more_models import MORE
from vram.shapes import Model, keys_of, transformer, write
from vram.special_models import SPECIAL
from vram.truth_models import truth_model

from reconciler.gguf import read_model
from reconciler.vram import CACHE_TYPES, CardNeed, Geometry, RunSettings, geometry_of, predict

MIB = 2**20
OLD = 5000


@dataclass(frozen=True, slots=True)
class Logged:
    """A load: `context` is the cells of all streams together."""

    name: str
    shape: str
    context: int
    engine: str
    weights: float | None
    kv: float | None
    compute: float | None
    attention: bool = False
    cache: str = "f16"
    build: int = OLD


def _llama(layers: int, width: int, heads: int, kv_heads: int, ff: int, vocab: int, quant: str, tied: bool = False, head: int = 0) -> Model:
    keys = keys_of(layers=layers, embedding=width, heads=heads, kv_heads=kv_heads, ff=ff, head=head or width // heads)
    return _large_output(transformer("llama", keys, vocab, quant=quant, tied=tied))


def _scaled_rope(model: Model, pairs: int) -> Model:
    model.put("rope_freqs.weight", pairs, kind="f32")
    return model


def _large_output(model: Model) -> Model:
    """llama-quantize keeps the output of a q4_0 file, or the embedding that is it, in q6_k; in q8_0 where rows are no whole blocks."""
    if model.quant == "q4_0":
        name = "output.weight" if "output.weight" in model.tensors else "token_embd.weight"
        shape, _ = model.tensors[name]
        model.tensors[name] = (shape, "q8_0" if shape[0] % 256 else "q6_k")
    return model


def _qwen(arch: str, layers: int, width: int, heads: int, kv_heads: int, ff: int, quant: str, head: int = 0) -> Model:
    keys = keys_of(layers=layers, embedding=width, heads=heads, kv_heads=kv_heads, ff=ff, head=head or width // heads)
    bias = ("attn_q", "attn_k", "attn_v") if arch == "qwen2" else ()
    vocab = 151936 if arch == "qwen3" else 152064
    return transformer(arch, keys, vocab, bias=bias, head_norms=arch == "qwen3", quant=quant, tied=arch == "qwen3")


SHAPES: dict[str, Callable[[], Model]] = {
    "llama-3.1-8b": lambda: _scaled_rope(_llama(32, 4096, 32, 8, 14336, 128256, "q4_k_m"), 64),
    "llama-3-8b": lambda: _llama(32, 4096, 32, 8, 14336, 128256, "q4_0"),
    "llama-3.2-3b": lambda: _scaled_rope(_llama(28, 3072, 24, 8, 8192, 128256, "q4_k_m", tied=True), 64),
    "openllama-7b": lambda: _llama(32, 4096, 32, 32, 11008, 32000, "f16"),
    "openllama-3b": lambda: _llama(26, 3200, 32, 32, 8640, 32000, "q4_0"),
    "llama-2-7b": lambda: _llama(32, 4096, 32, 32, 11008, 32000, "q4_k_m"),
    "gemma-7b": lambda: _gemma(),
    "qwen2.5-7b": lambda: _qwen("qwen2", 28, 3584, 28, 4, 18944, "q8_0"),
    "qwen2.5-14b": lambda: _qwen("qwen2", 48, 5120, 40, 8, 13824, "q4_k_m"),
    "mixtral-8x7b": lambda: truth_model("mixtral-8x7b"),
    "deepseek-v2-lite-legacy": lambda: SPECIAL["deepseek-v2-lite-legacy"](),
    "qwen3-0.6b": lambda: _qwen("qwen3", 28, 1024, 16, 8, 3072, "f16", head=128),
}


def _gemma() -> Model:
    """Its first files kept the embedding in q8_0."""
    model = MORE["gemma-7b"]()
    model.quant = "q4_0"
    model.tensors["token_embd.weight"] = (model.tensors["token_embd.weight"][0], "q8_0")
    return model


ROWS = (
    Logged("Llama 3.1 8B Q4_K_M", "llama-3.1-8b", 8192, "Ollama, CUDA", 4403.49, 1024.0, 560.0),
    Logged("Llama 3 8B Q4_0", "llama-3-8b", 8192, "Ollama, CUDA", 4156.0, 1024.0, 560.0),
    Logged("Llama 3.2 3B Q4_K_M", "llama-3.2-3b", 8192, "Ollama, CUDA", 1918.35, None, None),
    Logged("OpenLLaMA 7B F16", "openllama-7b", 2048, "llama.cpp, V100", 12603.02, 1024.0, 164.0),
    Logged("OpenLLaMA 3B Q4_0", "openllama-3b", 2048, "Ollama, ROCm", 1832.6, 650.0, 157.0),
    Logged("Llama 2 7B Q4_K_M", "llama-2-7b", 2048, "llama.cpp, CUDA", None, 1024.0, 164.01),
    Logged("Gemma 7B Q4_0", "gemma-7b", 2048, "Ollama, RTX 3080", 4955.54, 896.0, 506.0),
    Logged("Qwen 2.5 7B Q8_0", "qwen2.5-7b", 16384, "llama.cpp, RTX 5080 (Vulkan)", 7165.44, 896.0, 304.0, attention=True),
    Logged("Qwen 2.5 7B", "qwen2.5-7b", 16384, "llama.cpp, Metal", None, 896.0, 956.0),
    Logged("Qwen 2.5 14B Q4_K_M", "qwen2.5-14b", 8192, "Ollama, CUDA", 8148.38, 1536.0, None),
    Logged("DeepSeek Coder V2 Lite", "deepseek-v2-lite-legacy", 4096, "llama.cpp b10276, RTX A5000", None, 1080.0, 188.27, build=10276),
    Logged("DeepSeek Coder V2 Lite", "deepseek-v2-lite-legacy", 16384, "llama.cpp b10276, q4_0", None, 1215.0, None, True, "q4_0", 10276),
    Logged("Mixtral 8x7B", "mixtral-8x7b", 2048, "llama-cpp-python, CUDA", None, 256.0, None),
    Logged("Qwen 3 0.6B", "qwen3-0.6b", 4096, "llama.cpp, ROCm and Vulkan", None, 448.0, 298.75),
)


@cache
def geometry(shape: str) -> Geometry:
    with TemporaryDirectory() as folder:
        return geometry_of(read_model(write(Path(folder) / "model.gguf", SHAPES[shape]())).header)


def predicted(row: Logged) -> CardNeed:
    """The same load, without the fixed cost of a process, which no log tells."""
    kind = CACHE_TYPES[row.cache]
    settings = RunSettings(context=row.context, parallel=1, key_type=kind, value_type=kind, flash_attention=row.attention, build=row.build)
    return predict(geometry(row.shape), settings, fixed=(0, 0, 0)).cards[0]


def compared(row: Logged) -> Iterator[tuple[str, float, float]]:
    """Term, logged and predicted MiB, of each term that was logged; `all` where every one was."""
    card = predicted(row)
    terms = (("weights", row.weights, card.weights), ("KV", row.kv, card.kv), ("compute", row.compute, card.compute))
    known = [(name, logged, (mine or 0) / MIB) for name, logged, mine in terms if logged is not None]
    yield from known
    if len(known) == len(terms):
        yield "all", sum(logged for _, logged, _ in known), sum(mine for _, _, mine in known)


def logged_table(rows: Sequence[Logged] = ROWS) -> list[str]:
    """Markdown: logged and predicted MiB by term, and the error of the sum."""
    lines = ["| model | cells | engine | weights | KV | compute | all |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        found = {name: (logged, mine) for name, logged, mine in compared(row)}
        cells = [f"{found[name][0]:.1f}, {found[name][1]:.1f}" if name in found else "" for name in ("weights", "KV", "compute")]
        whole = f"{found['all'][1] / found['all'][0] - 1:+.1%}" if "all" in found else ""
        cells.append(whole)
        attention = ", flash attention" if row.attention else ""
        lines.append(f"| {row.name} | {row.context} | {row.engine}{attention} | {' | '.join(cells)} |")
    return lines
