"""What is sent to the API: JSON objects with known keys, and numbers of the query."""

from __future__ import annotations

import json
from collections.abc import Set

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

MOST_DIGITS = 12


async def raw_body(request: Request) -> bytes:
    """Raises 413 for one that is longer than it may be."""
    try:
        return await request.body()
    except ClientDisconnect:
        raise HTTPException(413, "the body is too large, or did not come in time") from None


async def json_object(request: Request, required: Set[str], optional: Set[str] = frozenset()) -> dict[str, object]:
    """The body as a JSON object with just these keys."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "send JSON, with Content-Type: application/json")
    return object_of(await raw_body(request), required, optional)


def object_of(body: bytes, required: Set[str], optional: Set[str] = frozenset()) -> dict[str, object]:
    """The same of bytes that were read already. A key that is there twice, and a number that JSON does not have, are refused."""
    try:
        found = json.loads(body, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise HTTPException(400, "this is no JSON") from None
    if not isinstance(found, dict) or not required <= set(found) <= required | optional:
        may = f", and maybe {', '.join(sorted(optional))}" if optional else ""
        raise HTTPException(400, f"send an object with {' and '.join(sorted(required))}{may}, and nothing else")
    return found


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _no_constant(text: str) -> object:
    raise ValueError(text)


def text_of(found: dict[str, object], key: str, most: int = 255) -> str:
    """Printable text of a key that must be there."""
    value = found[key]
    if not isinstance(value, str) or not value.strip() or len(value) > most or not value.isprintable():
        raise HTTPException(400, f"{key} is printable text of at most {most} characters")
    return value


def number_of(request: Request, name: str, usual: int, least: int, most: int) -> int:
    """A whole number of the query."""
    text = request.query_params.get(name, str(usual))
    found = int(text) if text.isascii() and text.isdecimal() and len(text) < MOST_DIGITS else least - 1
    if not least <= found <= most:
        raise HTTPException(400, f"{name} is a number from {least} to {most}")
    return found
