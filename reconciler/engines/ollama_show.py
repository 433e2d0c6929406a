"""Ollama's `/api/show`: what a manifest stands for, and the header of its weights. Source: server/routes.go GetModelInfo, api/types.go."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import TypeAdapter

from reconciler.engines.answers import Answered, read_shape
from reconciler.engines.transport import Answer, Weights
from reconciler.fleet import ModelHeader
from reconciler.vram import UnknownLayout, fact_of, header_of_fact, header_of_show, leaves_out_arrays

_BLOB = re.compile(r"^FROM\s+.*sha256[-:]([0-9a-f]{64})\s*$", re.MULTILINE)
_ADAPTER = re.compile(r"^ADAPTER\s", re.MULTILINE)
_NUM_CTX = re.compile(r"^num_ctx\s+(\d{1,9})\s*$", re.MULTILINE)


class _Show(Answered):
    modelfile: str = ""
    parameters: str = ""
    capabilities: list[str] | None = None
    model_info: dict[str, object] | None = None
    projector_info: object = None
    tensors: object = None


_SHOW = TypeAdapter(_Show)


def weights_of(answer: Answer, size: int | None, known: Mapping[str, ModelHeader]) -> tuple[Weights, bool]:
    """What one answer says, and whether asking with `verbose` would say the header, which this one does not.

    `size` is that of all layers together, as /api/tags has it; `known` are the headers that were read already, by blob.
    """
    shown = read_shape(_SHOW, answer.body, answer.url)
    found = _BLOB.search(shown.modelfile)
    blob = found.group(1) if found else None
    context = _NUM_CTX.search(shown.parameters)
    if shown.capabilities is not None:
        embedding = "embedding" in shown.capabilities and "completion" not in shown.capabilities
    else:
        embedding = any(key.endswith(".pooling_type") for key in shown.model_info or {})
    header = known.get(blob or "")
    more = False
    if header is None:
        document = {"model_info": shown.model_info, "tensors": shown.tensors}
        header = _header(document)
        more = header is None and leaves_out_arrays(document)
    beside = 0
    if (shown.projector_info or _ADAPTER.search(shown.modelfile)) and header is not None and size is not None:
        beside = max(0, size - _tensor_bytes(header))
    return Weights(blob, embedding, int(context.group(1)) if context else None, header, beside), more


def _header(document: Mapping[str, object]) -> ModelHeader | None:
    """None where the answer says too little to compute with: then nothing is computed, and the need has another source."""
    try:
        return fact_of(header_of_show(document))
    except UnknownLayout:
        return None


def _tensor_bytes(header: ModelHeader) -> int:
    return sum(tensor.bytes for tensor in header_of_fact(header).tensors)
