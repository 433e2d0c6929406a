"""What comes from a node is data: read with a shape, bounded in length and count, each number within its range, and free of characters
that could forge a terminal."""

from __future__ import annotations

import errno
import json
import os
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

from reconciler.engines.foreign_text import LONGEST_READ
from reconciler.engines.foreign_text import clean_name as clean_name
from reconciler.engines.foreign_text import clean_text as clean_text
from reconciler.engines.limits import open_files
from reconciler.files import what_is_wrong
from reconciler.fleet import Place, Problem, Unreachable
from reconciler.value_class import value_class

MANY = 500_000
"""Values of a JSON document that an answer may have; one value takes up to 150 bytes while it is read."""
MOST_MODELS = 10_000
"""Models that one server may list."""
_MOST_BYTES = 1 << 60
"""An exbibyte: no machine holds as much in memory, nor on its disks."""
_MOST_TOKENS = (1 << 31) - 1
"""llama.cpp and Ollama keep a context in 32 bits."""
_OUT_OF = frozenset({errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.EAGAIN})
_LARGEST_EXPLAINED = 1 << 20
"""Bytes of an error answer in which a message is looked for."""

Shape = TypeVar("Shape")


class Answered(BaseModel):
    """Base of the shapes: unknown keys are ignored (servers grow), known ones must have their type."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


@value_class
class OrUnknown:
    """Marks a field that an answer can do without: what is not of its type or out of its range is None, and the rest of the answer stands.

    The one door for numbers: beyond it none is out of the range that its name says, so nothing that keeps or adds them up has to ask.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_default_schema(handler(source), default=None, on_error="default")


Name = Annotated[str, Field(min_length=1)]
"""A name as a server gives it, before `clean_name`."""
Word = Annotated[str | None, OrUnknown()]
"""A text that a server may leave out."""
Words = Annotated[list[str] | None, OrUnknown()]
Flag = Annotated[bool | None, OrUnknown()]
Bytes = Annotated[int | None, Field(ge=0, lt=_MOST_BYTES), OrUnknown()]
Tokens = Annotated[int | None, Field(ge=1, le=_MOST_TOKENS), OrUnknown()]
"""A context. Servers say 0 where they have none."""
Count = Annotated[int | None, Field(ge=0, le=1_000_000), OrUnknown()]
Seconds = Annotated[int | None, Field(ge=-1, le=1 << 40), OrUnknown()]
Rate = Annotated[float | None, Field(gt=0, le=1e9, allow_inf_nan=False), OrUnknown()]


def system_reason(error: BaseException) -> str | None:
    """What the operating system says of a connection that failed (`connection refused`, `network is unreachable`); the libraries above it
    only say that all attempts failed. Of several addresses, the first."""
    number = _errno(error)
    return os.strerror(number).lower() if number is not None else None


def own_limit(error: BaseException) -> Problem | None:
    """What a failure says of this machine and not of the one that was asked: it has no descriptors, ports or memory left."""
    number = _errno(error)
    if number in (errno.EMFILE, errno.ENFILE):
        whose = (
            f"this process may hold {open_files()} open files (ulimit -n)"
            if number == errno.EMFILE
            else "this machine has no open files left"
        )
        return Problem(f"it could not be asked: {whose}", hint="raise the limit (ulimit -n 4096), or ask fewer nodes at once (--limit)")
    if number in _OUT_OF and number is not None:
        what = f"it could not be asked: this machine, where gpurec runs, says: {os.strerror(number).lower()}"
        return Problem(what, hint="free what it lacks, or ask fewer nodes at once (--limit)")
    return None


def _errno(error: BaseException) -> int | None:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None and seen.errno > 0:
            return seen.errno
        seen = seen.exceptions[0] if isinstance(seen, BaseExceptionGroup) else seen.__cause__ or seen.__context__
    return None


def read_shape(adapter: TypeAdapter[Shape], body: bytes, url: str, most: int = MANY) -> Shape:
    """The answer in its shape. Raises Unreachable `not_its_protocol`, naming the first field that is wrong, and `too_large` for one of more
    than `most` values: a reader of JSON takes many times the bytes of small values."""
    if len(body) > most and body.count(b",") + body.count(b"[") + body.count(b"{") > most:
        what = f"answered JSON of more than {most} values"
        raise Unreachable(Problem(what, Place(url), "check that the engine's url and kind are right"), "too_large")
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        raise not_its_protocol(url, _what_is_wrong(error, body)) from None


def not_its_protocol(url: str, what: str) -> Unreachable:
    return Unreachable(Problem(what, Place(url), "check that the engine's url and kind are right"), "not_its_protocol")


def error_message(body: bytes) -> str:
    """The text of an error answer: Ollama's `{"error": "…"}`, llama.cpp's `{"error": {"message": "…"}}`, else the start of the body."""
    try:
        document = json.loads(body) if len(body) <= _LARGEST_EXPLAINED else None
    except (ValueError, RecursionError):
        document = None
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):
        error = error.get("message")
    if isinstance(error, str):
        return clean_text(error)
    return clean_text(body[:LONGEST_READ].decode("utf-8", "replace")) or "no explanation"


def _what_is_wrong(error: ValidationError, body: bytes) -> str:
    if error.errors(include_url=False, include_context=False, include_input=False)[0]["type"] == "json_invalid":
        if body.lstrip()[:1] == b"<":
            return "answered HTML where JSON was expected"
        return "answered something that is not JSON"
    return f"answered JSON of another shape ({clean_text(what_is_wrong(error)[0])})"
