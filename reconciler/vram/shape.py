"""The shape of a well-known model, as its makers published it, and the header of a file that would be made of it.

From that header everything is computed by the same code as from a file. Only the weights are less sure: the types of the tensors follow
from the quantisation that a name stands for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum

from reconciler.fleet import GpurecError
from reconciler.value_class import value_class
from reconciler.vram.geometry import Geometry, geometry_of
from reconciler.vram.predict import CardNeed, Prediction
from reconciler.vram.quantisation import UNCERTAIN_PERCENT, Mixed, Quantisation, tensor_type
from reconciler.vram.tensors import F32, Header, Scalar, TensorInfo

LISTED = "catalogue"


class ShapeTrust(StrEnum):
    """How sure a shape is: every number read from a header or from the configuration that its makers published (`published`), or some of
    them worked out from others (`derived`)."""

    PUBLISHED = "published"
    DERIVED = "derived"


class Family(StrEnum):
    """Architectures (`general.architecture`) whose tensors follow from their shape here."""

    LLAMA = "llama"
    QWEN2 = "qwen2"
    GEMMA2 = "gemma2"
    GEMMA3 = "gemma3"


@value_class
class Shape:
    """Numbers of one model: blocks, lengths in elements, and `context`, the tokens it was trained for. `feed_forward` of a mixture is the
    width of one expert. `window` is that of sliding layers (0: none), whose pattern is the architecture's. `tied`: the embedding is the
    output too. `scaled_rope`: its file has factors of the rotary frequencies. `origin` is the public source."""

    name: str
    architecture: Family
    blocks: int
    embedding: int
    heads: int
    kv_heads: int
    head_length: int
    feed_forward: int
    vocabulary: int
    context: int
    experts: int = 0
    experts_used: int = 0
    window: int = 0
    tied: bool = False
    scaled_rope: bool = False
    trust: ShapeTrust = ShapeTrust.PUBLISHED
    origin: str = ""


@value_class
class ListedShape:
    """A model of the catalogue that has a shape: which, and the quantisation that its name stands for."""

    shape: Shape
    quantisation: Quantisation

    def geometry(self) -> Geometry:
        """The geometry of a file of that shape. UnknownLayout: the numbers make no model."""
        return geometry_of(header_of_shape(self.shape, self.quantisation))

    def widened(self, prediction: Prediction) -> Prediction:
        """The prediction with the interval that weights have which follow from a name alone."""
        percent = UNCERTAIN_PERCENT[self.quantisation]
        return replace(prediction, cards=tuple(_widened(card, percent) for card in prediction.cards), source=LISTED)

    def slack(self, weights: int) -> int:
        """Bytes by which that many of weights may be off."""
        return weights * UNCERTAIN_PERCENT[self.quantisation] // 100


def _widened(card: CardNeed, percent: int) -> CardNeed:
    slack = card.weights * percent // 100
    return replace(card, low=card.low - slack, high=None if card.high is None else card.high + slack)


def check_shape(shape: Shape) -> GpurecError | None:
    """What is wrong with a shape that no model can have; None where nothing is."""
    try:
        ListedShape(shape, Quantisation.F16).geometry()
    except GpurecError as error:
        return error
    return None


def header_of_shape(shape: Shape, quantisation: Quantisation) -> Header:
    """The header of a GGUF file of a model of that shape, with the tensors that llama.cpp's converter gives such an architecture."""
    name = shape.architecture.value
    own: dict[str, Scalar] = {
        "context_length": shape.context,
        "embedding_length": shape.embedding,
        "block_count": shape.blocks,
        "feed_forward_length": shape.feed_forward,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.key_length": shape.head_length,
        "attention.value_length": shape.head_length,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": shape.head_length,
        "vocab_size": shape.vocabulary,
    }
    if shape.experts:
        own |= {"expert_count": shape.experts, "expert_used_count": shape.experts_used}
    if shape.window:
        own["attention.sliding_window"] = shape.window
    if shape.architecture is Family.GEMMA2:
        own |= {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    values: dict[str, Scalar | tuple[int | float | bool, ...]] = {f"{name}.{key}": value for key, value in own.items()}
    mixed = Mixed(shape.blocks, shape.heads, shape.kv_heads, shape.experts, shape.tied)
    tensors = [TensorInfo(one, lengths, tensor_type(quantisation, one, lengths, mixed)) for one, lengths in _tensors(shape)]
    if shape.scaled_rope:
        tensors.append(TensorInfo("rope_freqs.weight", (shape.head_length // 2,), F32))
    return Header(values | {"general.architecture": name}, {}, tuple(tensors))


_NORMS = {
    Family.LLAMA: ("attn_norm", "ffn_norm"),
    Family.QWEN2: ("attn_norm", "ffn_norm"),
    Family.GEMMA2: ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"),
    Family.GEMMA3: ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"),
}


def _tensors(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    width, wide, narrow = shape.embedding, shape.heads * shape.head_length, shape.kv_heads * shape.head_length
    yield "token_embd.weight", (width, shape.vocabulary)
    yield "output_norm.weight", (width,)
    if not shape.tied:
        yield "output.weight", (width, shape.vocabulary)
    projections = {"attn_q": (width, wide), "attn_k": (width, narrow), "attn_v": (width, narrow), "attn_output": (wide, width)}
    up, down = (width, shape.feed_forward), (shape.feed_forward, width)
    for block in range(shape.blocks):
        for norm in _NORMS[shape.architecture]:
            yield f"blk.{block}.{norm}.weight", (width,)
        for name, lengths in projections.items():
            yield f"blk.{block}.{name}.weight", lengths
            if shape.architecture is Family.QWEN2 and name != "attn_output":
                yield f"blk.{block}.{name}.bias", (lengths[1],)
        if shape.architecture is Family.GEMMA3:
            for name in ("attn_q_norm", "attn_k_norm"):
                yield f"blk.{block}.{name}.weight", (shape.head_length,)
        if shape.experts:
            yield f"blk.{block}.ffn_gate_inp.weight", (width, shape.experts)
        ending, more = ("_exps", (shape.experts,)) if shape.experts else ("", ())
        for name, lengths in (("ffn_gate", up), ("ffn_up", up), ("ffn_down", down)):
            yield f"blk.{block}.{name}{ending}.weight", (*lengths, *more)
