"""The tensors and keys of a simulated model's file, as /api/show tells them: of the weights' size, in a shape of their family.

What Ollama 0.34.0 says of a file (server/routes.go GetModelInfo): every tensor with name, type and shape, the row length first; without
`verbose` every array of more than five entries is null.
"""

from __future__ import annotations

from reconciler.sim.spec import SimModel

HEAD_LENGTHS = (128, 64, 32)
_TYPES = {"F16": ("F16", 1, 2), "BF16": ("BF16", 1, 2), "Q8_0": ("Q8_0", 32, 34)}
_Q4_K = ("Q4_K", 256, 144)
_VOCABULARY = 2048
_STEP = 256
"""Widths are whole numbers of blocks of every type used here."""
Row = dict[str, object]


def head_length(model: SimModel) -> int:
    """The longest usual head whose keys and values are no more than the model's cache; an encoder has none, and heads of 64."""
    if model.embedding:
        return 64
    layer = model.kv_per_token // model.layers
    return next((length for length in HEAD_LENGTHS if layer >= 4 * length), HEAD_LENGTHS[-1])


def kv_heads(model: SimModel) -> int:
    if model.embedding:
        return max(1, model.embedding_length // head_length(model))
    return max(1, model.kv_per_token // (4 * model.layers * head_length(model)))


def heads(model: SimModel) -> int:
    return max(kv_heads(model), model.embedding_length // head_length(model))


def feed_forward(model: SimModel) -> int:
    """The width that makes the blocks as large as the weights, all but the output layer."""
    _, block, size = _type(model)
    dense = model.weights * block // size - (0 if model.embedding else _VOCABULARY * model.embedding_length)
    each = dense // model.layers - _attention(model)
    return max(_STEP, each // (_matrices(model) * model.embedding_length) // _STEP * _STEP)


def _matrices(model: SimModel) -> int:
    """Of the feed-forward part: BERT's has no gate."""
    return 2 if model.family == "bert" else 3


def tensors(model: SimModel) -> list[Row]:
    """Every tensor; those that go to a card are `weights` bytes, to a row of the output layer, where the model is large enough for its
    length. The embedding, which stays on the host, comes on top."""
    width, wide, kind = model.embedding_length, feed_forward(model), _type(model)[0]
    rows: list[Row] = [_row("token_embd.weight", kind, width, _vocabulary(model)), _row("output_norm.weight", "F32", width)]
    if not model.embedding:
        rows.append(_row("output.weight", kind, width, _vocabulary(model)))
    if model.family == "bert":
        rows += [_row("position_embd.weight", "F32", width, model.context_train), _row("token_types.weight", "F32", width, 2)]
    inner, cache = heads(model) * head_length(model), kv_heads(model) * head_length(model)
    for block in range(model.layers):
        parts: list[tuple[str, str, tuple[int, ...]]] = [
            ("attn_norm", "F32", (width,)),
            ("attn_q", kind, (width, inner)),
            ("attn_k", kind, (width, cache)),
            ("attn_v", kind, (width, cache)),
            ("attn_output", kind, (inner, width)),
            ("ffn_norm", "F32", (width,)),
            ("ffn_up", kind, (width, wide)),
            ("ffn_down", kind, (wide, width)),
        ]
        if model.family != "bert":
            parts.append(("ffn_gate", kind, (width, wide)))
        rows += [_row(f"blk.{block}.{name}.weight", type_, *shape) for name, type_, shape in parts]
    return rows


def _row(name: str, kind: str, *shape: int) -> Row:
    return {"name": name, "type": kind, "shape": list(shape)}


def _type(model: SimModel) -> tuple[str, int, int]:
    """Name, elements and bytes of a block; a type whose blocks do not fill the rows is stored as F16, as converters do."""
    found = _TYPES.get(model.quantization, _Q4_K)
    return found if model.embedding_length % _STEP == 0 else _TYPES["F16"]


def _attention(model: SimModel) -> int:
    length = head_length(model)
    return 2 * model.embedding_length * length * (heads(model) + kv_heads(model))


def _vocabulary(model: SimModel) -> int:
    """Rows of the output layer: what the blocks leave of the weights."""
    _, block, size = _type(model)
    blocks = model.layers * (_attention(model) + _matrices(model) * model.embedding_length * feed_forward(model)) * size // block
    norms = 4 * model.embedding_length * (2 * model.layers + 1)
    row = max(1, model.embedding_length * size // block)
    return max(_VOCABULARY, (model.weights - blocks - norms) // row)
