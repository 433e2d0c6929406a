"""A stream of bytes cut into lines, in bounded memory."""

from __future__ import annotations


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
