"""What comes from a node is data: read with a shape, bounded in length, and free of characters that could forge a terminal."""

from __future__ import annotations

import json
import os
import re
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from reconciler.fleet import Place, Problem, Unreachable

NAME_LENGTH = 512
TEXT_LENGTH = 300
_MOST_BYTES = 1 << 60
"""An exbibyte: no machine holds as much in memory, nor on its disks."""
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Controls, bidirectional and other invisible format characters, line separators, surrogates: what could fool a terminal or a reader.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)

Shape = TypeVar("Shape")


class Answered(BaseModel):
    """Base of the shapes: unknown keys are ignored (servers grow), known ones must have their type."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


Name = Annotated[str, Field(min_length=1)]
"""A name as a server gives it, before `clean_name`."""


def clean_name(text: str) -> str:
    """A name from a node, safe to show: each unprintable character becomes U+FFFD (so it equals no honest name), at most 512 characters."""
    clean = _UNPRINTABLE.sub(_REPLACEMENT, text)
    return clean if len(clean) <= NAME_LENGTH else clean[: NAME_LENGTH - 1] + "…"


def clean_text(text: str) -> str:
    """A message from a node as one safe line of at most 300 characters."""
    clean = _UNPRINTABLE.sub(_REPLACEMENT, " ".join(text.split()))
    return clean if len(clean) <= TEXT_LENGTH else clean[: TEXT_LENGTH - 1] + "…"


def system_reason(error: BaseException) -> str | None:
    """What the operating system says of a connection that failed (`connection refused`, `network is unreachable`); the libraries above it
    only say that all attempts failed. Of several addresses, the first."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None and seen.errno > 0:
            return os.strerror(seen.errno).lower()
        seen = seen.exceptions[0] if isinstance(seen, BaseExceptionGroup) else seen.__cause__ or seen.__context__
    return None


def size_or_unknown(count: int | None) -> int | None:
    """Bytes as a server says them; a negative count, or one that no machine holds, says nothing."""
    return count if count is not None and 0 <= count < _MOST_BYTES else None


def read_shape(adapter: TypeAdapter[Shape], body: bytes, url: str) -> Shape:
    """The answer in its shape. Raises Unreachable `not_its_protocol`, naming the first field that is wrong."""
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        raise not_its_protocol(url, _what_is_wrong(error, body)) from None


def not_its_protocol(url: str, what: str) -> Unreachable:
    return Unreachable(Problem(what, Place(url), "check that the engine's url and kind are right"), "not_its_protocol")


def error_message(body: bytes) -> str:
    """The text of an error answer: Ollama's `{"error": "…"}`, llama.cpp's `{"error": {"message": "…"}}`, else the start of the body."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):
        error = error.get("message")
    if isinstance(error, str):
        return clean_text(error)
    return clean_text(body[: 4 * TEXT_LENGTH].decode("utf-8", "replace")) or "no explanation"


def _what_is_wrong(error: ValidationError, body: bytes) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        if body.lstrip()[:1] == b"<":
            return "answered HTML where JSON was expected"
        return "answered something that is not JSON"
    place = clean_text(".".join(str(part) for part in first["loc"]))
    return f"answered JSON of another shape ({place + ': ' if place else ''}{clean_text(first['msg'])})"
