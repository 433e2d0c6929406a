"""What comes from a node is data: bounded in length and count, each number within its range, and free of characters that could forge a
terminal. `shapes` reads answers of engines so; `containers.answered` those of daemons."""

from __future__ import annotations

import errno
import json
import os

from reconciler.engines.foreign_text import LONGEST_READ
from reconciler.engines.foreign_text import clean_name as clean_name
from reconciler.engines.foreign_text import clean_text as clean_text
from reconciler.engines.limits import open_files
from reconciler.fleet import Place, Problem, Unreachable

MANY = 500_000
"""Values of a JSON document that an answer may have; one value takes up to 150 bytes while it is read."""
MOST_MODELS = 10_000
"""Models that one server may list."""
MOST_BYTES = 1 << 60
"""An exbibyte: no machine holds as much in memory, nor on its disks."""
MOST_TOKENS = (1 << 31) - 1
"""llama.cpp and Ollama keep a context in 32 bits."""
_OUT_OF = frozenset({errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.EAGAIN})
_LARGEST_EXPLAINED = 1 << 20
"""Bytes of an error answer in which a message is looked for."""


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


def check_count(body: bytes, url: str, most: int = MANY) -> None:
    """Raises Unreachable `too_large` for JSON of more than `most` values: a reader of it takes many times the bytes of small values."""
    if len(body) > most and body.count(b",") + body.count(b"[") + body.count(b"{") > most:
        what = f"answered JSON of more than {most} values"
        raise Unreachable(Problem(what, Place(url), "check that the engine's url and kind are right"), "too_large")


def not_json(body: bytes, url: str) -> Unreachable:
    what = "HTML where JSON was expected" if body.lstrip()[:1] == b"<" else "something that is not JSON"
    return not_its_protocol(url, f"answered {what}")


def another_shape(url: str, wrong: str) -> Unreachable:
    """`wrong` is the first field that is, and what it must be."""
    return not_its_protocol(url, f"answered JSON of another shape ({clean_text(wrong)})")


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
