"""What simpler rules say of the same load: `file size × 1.2`, and the arithmetic of xllamacpp's `estimate_gpu_layers` (Ollama's old one).

Both without the fixed cost of a process, which is added alike everywhere and is in no row of the tables.
"""

from __future__ import annotations

from reconciler.vram import Geometry, RunSettings

CACHE_WIDTH = {"q8_0": 1.0, "q4_0": 0.5}
"""Bytes of a cached number, as xllamacpp counts them: 2 for all others."""


def file_size_rule(file_bytes: int) -> float:
    """Bytes: the file and a fifth of it."""
    return file_bytes * 1.2


def xllamacpp(geometry: Geometry, settings: RunSettings) -> float:
    """Bytes of weights, cache and graph of a model that is wholly on one card.

    Source: src/xllamacpp/memory.py, `graph_size` and `estimate_gpu_layers`: all tensors, a cache of full layers (windows only for Gemma 3),
    and a formula of the graph for five families; for all others heads ÷ KV heads × cache ÷ 6.
    """
    context, slots = settings.requested, settings.slots
    batch = min(settings.ubatch, context)
    layer = geometry.layers[0]
    heads = max(one.heads for one in geometry.layers)
    shared = [one.kv_heads for one in geometry.layers]
    width, vocabulary, head = geometry.embedding, geometry.vocabulary, layer.key_length
    each = (layer.key_length + layer.value_length) * max(shared) * CACHE_WIDTH.get(settings.key_type.name, 2.0)
    cells = [context] * len(geometry.layers)
    if geometry.architecture == "gemma3":
        cells = [context if (il + 1) % 6 == 0 else slots * geometry.window + batch for il in range(len(cells))]
    cache = sum(cells) * each
    logits = 4 * batch * (width + vocabulary)
    attention = context * (1 + heads)
    family = geometry.architecture
    if family in {"llama", "llama4"}:
        graph: float = max(4 * batch * (1 + 4 * width + attention), logits)
    elif family in {"gemma", "gemma2", "gemma3"}:
        graph = max(logits, 4 * batch * (2 + attention + 2 * width + 2 * head * heads))
    elif family == "qwen2":
        graph = max(logits, 4 * batch * (1 + 2 * width + attention))
    elif family == "stablelm":
        graph = 4 * batch * (attention + 3 * width + 2)
    elif family == "deepseek2":
        many = max(shared)
        graph = max(4 * batch * (3 * width + vocabulary), 4 * batch * (3 * width + 2 + context * (1 + many) + 2 * head * many))
    else:
        graph = heads / max(1, min(shared)) * cache / 6
    return sum(tensor.bytes for tensor in geometry.tensors.values()) + cache + graph
