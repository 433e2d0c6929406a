"""What a container wrote, out of the frames in which a daemon sends it."""

from __future__ import annotations

from reconciler.engines.foreign_text import clean_text

_HEAD = 8
_STREAMS = frozenset({0, 1, 2})


def last_lines(body: bytes, most: int) -> tuple[str, ...]:
    """The last lines of a log, each safe to show. Frames: the stream's number, three zeros, the length (big-endian, 4 bytes), the bytes
    (Docker Engine API, ContainerAttach); what comes from a terminal has none."""
    text = _unframed(body).decode("utf-8", "replace")
    lines = [clean_text(line) for line in text.splitlines() if line.strip()]
    return tuple(lines[-most:]) if most else ()


def _unframed(body: bytes) -> bytes:
    found = bytearray()
    at = 0
    while at + _HEAD <= len(body):
        if body[at] not in _STREAMS or body[at + 1 : at + 4] != b"\0\0\0":
            return body if at == 0 else bytes(found)
        length = int.from_bytes(body[at + 4 : at + _HEAD], "big")
        found += body[at + _HEAD : at + _HEAD + length]
        at += _HEAD + length
    return bytes(found) if at else body
