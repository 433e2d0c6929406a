"""What engines tell of a model, as the header of its file: Ollama's `/api/show`, and the little that llama.cpp's `/v1/models` says.

Ollama 0.34 (`server/routes.go`, `GetModelInfo`) gives the keys of the GGUF file as `model_info` and its tensor table as `tensors`. Without
`verbose: true` an array of more than five entries is null there. Documents come from nodes, so nothing in them is believed unchecked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from reconciler.fleet import ModelHeader
from reconciler.value_class import value_class
from reconciler.vram.tensors import TENSOR_TYPES, Header, Scalar, TensorInfo, UnknownLayout

MOST_KEYS = MOST_TENSORS = 65_536
LONGEST_ARRAY = 4_096
LONGEST_TEXT = 4_096
LARGEST = 2**50
MOST_KEYS_KEPT, MOST_TENSORS_KEPT, LONGEST_NAME = 1_024, 8_192, 128
_TYPES = {kind.name: kind for kind in TENSOR_TYPES.values()}
_HINT = "ask with verbose: true, or say vram: for the model"


def header_of_show(document: Mapping[str, object]) -> Header:
    """The header in an answer of Ollama's `/api/show`; UnknownLayout where it says too little to compute with, and names what.

    A key of the architecture that is null was left out because its array is long: then the server must be asked with `verbose`.
    """
    info, listed = document.get("model_info"), document.get("tensors")
    if not isinstance(info, Mapping) or len(info) > MOST_KEYS:
        raise UnknownLayout.of("the engine does not say the model's keys (model_info)", hint=_HINT)
    if not isinstance(listed, list) or not listed or len(listed) > MOST_TENSORS:
        raise UnknownLayout.of("the engine does not list the model's tensors", hint=_HINT)
    values: dict[str, Scalar | tuple[int | float | bool, ...]] = {}
    counts: dict[str, int] = {}
    architecture = info.get("general.architecture")
    for key, value in info.items():
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            counts[str(key)] = len(value)
        elif isinstance(value, (bool, int, float, str)):
            values[str(key)] = value
        elif isinstance(value, list):
            numbers = tuple(one for one in value if isinstance(one, (bool, int, float))) if len(value) <= LONGEST_ARRAY else ()
            if numbers and len(numbers) == len(value):
                values[str(key)] = numbers
            else:
                counts[str(key)] = len(value)
        elif value is None and str(key).startswith(f"{architecture}."):
            raise UnknownLayout.of(f"the engine leaves out the array {key}", hint=_HINT)
    return Header(values, counts, _tensors(listed))


def fact_of(header: Header) -> ModelHeader:
    """What is kept of a header among the facts: the architecture's own keys and the tensors. The vocabulary's length is in their shapes.

    UnknownLayout where that is more than any model has: a fact is written down and read again with every look at the fleet.
    """
    architecture = header.architecture
    own = (key for key in header.values if key == "general.architecture" or key.startswith(f"{architecture}."))
    keys = {key: header.values[key] for key in own if _sound(header.values[key])}
    if len(keys) > MOST_KEYS_KEPT or len(header.tensors) > MOST_TENSORS_KEPT or any(len(one.name) > LONGEST_NAME for one in header.tensors):
        raise UnknownLayout.of("the engine tells more of the model than any model has", hint=_HINT)
    return ModelHeader(keys, tuple((tensor.name, tensor.type.name, tensor.shape) for tensor in header.tensors))


def _sound(value: Scalar | tuple[int | float | bool, ...]) -> bool:
    """Whether a value can be written down as JSON and read back: no NaN, no infinity, no number beyond 64 bits."""
    numbers = value if isinstance(value, tuple) else (value,)
    return all(isinstance(one, str) or (math.isfinite(one) and abs(one) < 2**63) for one in numbers)


def header_of_fact(fact: ModelHeader) -> Header:
    """The header again, checked as an answer of the engine is: facts may come from a file. UnknownLayout where it says too little."""
    keys = {key: list(value) if isinstance(value, tuple) else value for key, value in fact.keys.items()}
    tensors = [{"name": name, "type": kind, "shape": list(shape)} for name, kind, shape in fact.tensors]
    return header_of_show({"model_info": keys, "tensors": tensors})


def leaves_out_arrays(document: Mapping[str, object]) -> bool:
    """Whether an answer of `/api/show` lacks arrays of the architecture that `verbose: true` would bring."""
    info = document.get("model_info")
    if not isinstance(info, Mapping):
        return False
    prefix = f"{info.get('general.architecture')}."
    return any(value is None and str(key).startswith(prefix) for key, value in info.items())


def _tensors(listed: list[object]) -> tuple[TensorInfo, ...]:
    found: dict[str, TensorInfo] = {}
    total = 0
    for row in listed:
        tensor = _tensor(row)
        if tensor.name in found:
            raise UnknownLayout.of(f"the engine lists the tensor {tensor.name!r} twice", hint=_HINT)
        found[tensor.name] = tensor
        total += tensor.bytes
        if total > LARGEST:
            raise UnknownLayout.of(f"the engine lists tensors of {total} bytes", hint=_HINT)
    return tuple(found.values())


def _tensor(row: object) -> TensorInfo:
    if not isinstance(row, Mapping):
        raise UnknownLayout.of("the engine lists something that is no tensor", hint=_HINT)
    name, kind, shape = row.get("name"), row.get("type"), row.get("shape")
    known = _TYPES.get(kind.lower()) if isinstance(kind, str) else None
    if not isinstance(name, str) or len(name) > LONGEST_TEXT or known is None:
        raise UnknownLayout.of(f"the engine lists a tensor of the type {str(kind)[:40]!r}, whose size is not known", hint=_HINT)
    lengths = tuple(one for one in shape if isinstance(one, int) and 0 < one < 2**50) if isinstance(shape, list) else ()
    if not isinstance(shape, list) or not 0 < len(lengths) <= 4 or len(lengths) != len(shape):
        raise UnknownLayout.of(f"the engine lists the tensor {name!r} without a shape that can be", hint=_HINT)
    return TensorInfo(name, lengths, known)


@value_class
class LlamaMeta:
    """The `meta` of a model in llama.cpp's `/v1/models`: bytes of the tensors, and lengths; None where it is not said.

    It names neither layers nor heads, so no cache and no graph can be computed from it: only the weights are known.
    """

    weights: int | None
    vocabulary: int | None
    embedding: int | None
    trained_context: int | None
    context: int | None


def meta_of_models(entry: Mapping[str, object]) -> LlamaMeta | None:
    """The meta of one entry of `data`; None where there is none (a router says it only of running models)."""
    meta = entry.get("meta")
    if not isinstance(meta, Mapping):
        return None

    def number(key: str) -> int | None:
        found = meta.get(key)
        return found if isinstance(found, int) and not isinstance(found, bool) and 0 < found <= LARGEST else None

    return LlamaMeta(number("size"), number("n_vocab"), number("n_embd"), number("n_ctx_train"), number("n_ctx"))
