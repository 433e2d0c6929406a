"""A stream of bytes cut into lines, in bounded memory and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable


class LineTooLong(Exception):
    """A line is longer than was allowed."""


class Lines:
    """Cuts a stream into lines of at most `longest` bytes; each byte is looked at once, however small the pieces are that it comes in."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._rest = bytearray()
        self.ended = False

    def take(self, chunk: bytes | None) -> list[bytes]:
        """The lines that end with this piece, and at the end (None) what is left; without blank ones. Raises LineTooLong."""
        if chunk is None:
            self.ended = True
            found, self._rest = [bytes(self._rest)], bytearray()
        else:
            *found, rest = chunk.split(b"\n")
            if found:
                found[0], self._rest = bytes(self._rest) + found[0], bytearray()
            self._rest += rest
        if len(self._rest) > self._longest or any(len(line) > self._longest for line in found):
            raise LineTooLong
        return [line for line in found if line.strip()]


async def paced(
    chunks: AsyncIterator[bytes],
    longest: int,
    without: Callable[[bytes], bytes],
    goes_on: Callable[[bytes], float],
    *,
    deadline: float,
    stall: float,
    last: float,
) -> AsyncGenerator[bytes, None]:
    """The lines of a stream, none longer than `longest` bytes, each as `without` leaves it. What `goes_on` says of one puts the deadline
    off to so many times `stall` seconds from then (0: not at all), to `last` at most (both in the loop's own time). Raises LineTooLong,
    and TimeoutError at the deadline."""
    loop = asyncio.get_running_loop()
    lines = Lines(longest)
    while not lines.ended:
        async with asyncio.timeout_at(deadline):
            chunk = await anext(chunks, None)
        for raw in lines.take(chunk):
            line = without(raw)
            if limits := goes_on(line):
                deadline = min(last, loop.time() + limits * stall)
            yield line
