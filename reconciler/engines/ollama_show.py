"""Ollama's `/api/show`: what a manifest stands for, and the header of its weights. Source: server/routes.go GetModelInfo, api/types.go."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

from msgspec.json import Decoder

from reconciler.engines.answers import clean_name
from reconciler.engines.shapes import OrUnknown, Word, Words, answered, read_shape
from reconciler.engines.transport import Answer, ManifestWeights
from reconciler.fleet import ModelHeader
from reconciler.vram import UnknownLayout, fact_of, header_of_fact, header_of_show, leaves_out_arrays

_BLOB = re.compile(r"sha256[-:]([0-9a-f]{64})")
_LONGEST_TEXT = 1 << 20
"""Characters of a modelfile that are read; licences and templates stand in it too."""
_LONGEST_PATH = 4096
MOST_VALUES = 4_000_000
"""Of a verbose answer: a vocabulary of 262,144 comes as tokens, scores, types and merges."""


@answered
class _Show:
    modelfile: Word = None
    parameters: Word = None
    capabilities: Words = None
    model_info: Annotated[dict[str, object] | None, OrUnknown()] = None
    remote_host: Word = None
    remote_model: Word = None
    projector_info: object = None
    tensors: object = None


_SHOW = Decoder(_Show)


def weights_of(answer: Answer, size: int | None, known: Mapping[str, ModelHeader]) -> tuple[ManifestWeights, bool]:
    """What one answer says, and whether asking with `verbose` would say the header, which this one does not.

    `size` is that of all layers together, as /api/tags has it; `known` are the headers that were read already, by blob.
    """
    shown = read_shape(_SHOW, answer.body, answer.url, MOST_VALUES)
    modelfile = shown.modelfile or ""
    blob = _blob(modelfile)
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
    if (shown.projector_info or next(_arguments(modelfile, "ADAPTER"), None) is not None) and header is not None and size is not None:
        beside = max(0, size - _tensor_bytes(header))
    return ManifestWeights(
        blob, embedding, _context(shown.parameters or ""), header, beside, remote_of(shown.remote_host, shown.remote_model)
    ), more


def remote_of(host: str | None, model: str | None) -> str | None:
    """Where a model runs that is not this server's to load: the host that it passes requests on to (api/types.go RemoteHost)."""
    return clean_name(host or model or "") or None


def _arguments(text: str, command: str) -> Iterator[str]:
    """What stands after `command` on each of its lines. Lines are cut and not searched: a modelfile is a stranger's text."""
    for line in text[:_LONGEST_TEXT].splitlines():
        if line.startswith(command) and line[len(command) : len(command) + 1].isspace():
            yield line[len(command) :].strip()


def _blob(modelfile: str) -> str | None:
    """The weights that it is made from: the first layer that is named by its digest."""
    for path in _arguments(modelfile, "FROM"):
        found = _BLOB.fullmatch(path[-71:]) if len(path) <= _LONGEST_PATH else None
        if found is not None:
            return found[1]
    return None


def _context(parameters: str) -> int | None:
    for said in _arguments(parameters, "num_ctx"):
        if said.isascii() and said.isdigit() and len(said) < 10:
            return int(said) or None
    return None


def _header(document: Mapping[str, object]) -> ModelHeader | None:
    """None where the answer says too little to compute with: then nothing is computed, and the need has another source."""
    try:
        return fact_of(header_of_show(document))
    except UnknownLayout:
        return None


def _tensor_bytes(header: ModelHeader) -> int:
    return sum(tensor.bytes for tensor in header_of_fact(header).tensors)
