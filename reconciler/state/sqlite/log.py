"""The write-ahead log beside the file, looked at without SQLite: is it there, and does it end with a whole commit?

Format: "The WAL File Format" of the SQLite documentation (sqlite.org/fileformat2.html#the_write_ahead_log): a header of 32 bytes, then
frames of 24 bytes and a page each, with checksums that go on from frame to frame.
"""

from __future__ import annotations

import struct
import sys
from array import array
from contextlib import suppress
from pathlib import Path

from reconciler.value_class import value_class

_HEADER, _FRAME = struct.Struct(">8I"), struct.Struct(">6I")
_MAGIC = 0x377F0682
_MOST_BYTES = 64 * 2**20
_MASK = 0xFFFFFFFF


@value_class
class Log:
    """`missing`: there is none, or it is empty. `cut`: pages at its end that belong to no whole commit, so SQLite leaves them out."""

    path: Path
    missing: bool
    commits: int = 0
    cut: int = 0
    unreadable: bool = False


def log_path(state: Path) -> Path:
    return state.with_name(state.name + "-wal")


def last_written(state: Path) -> float:
    """When anybody wrote to a state last, in seconds since 1970 by the clock of its file system; 0 where there is none."""
    times = [0.0]
    for path in (state, log_path(state)):
        with suppress(OSError):
            seen = path.stat()
            if seen.st_size:  # an empty log may be that of a reader
                times.append(seen.st_mtime)
    return max(times)


def look_at_log(state: Path) -> Log:
    """Reads the log of a state that nobody writes to now; at most 64 MiB of it are checked."""
    path = log_path(state)
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES)
    except FileNotFoundError:
        return Log(path, missing=True)
    except OSError:
        return Log(path, missing=False, unreadable=True)
    return _read(path, content) if content else Log(path, missing=True)


def _read(path: Path, content: bytes) -> Log:
    if len(content) < _HEADER.size:
        return Log(path, missing=False, unreadable=True)
    magic, _, page_size, _, salt_1, salt_2, *expected = _HEADER.unpack_from(content)
    if magic & ~1 != _MAGIC or not 512 <= page_size <= 65536:
        return Log(path, missing=False, unreadable=True)
    big = bool(magic & 1)
    sums = _checksum(content[:24], (0, 0), big)
    if list(sums) != expected:
        return Log(path, missing=False, unreadable=True)
    commits = after_commit = 0
    size, at = _FRAME.size + page_size, _HEADER.size
    whole = True
    while at + _FRAME.size <= len(content):
        _, commit, one, two, *expected = _FRAME.unpack_from(content, at)
        if (one, two) != (salt_1, salt_2):
            break  # left from an earlier round of the log
        if whole and at + size <= len(content):
            sums = _checksum(content[at : at + 8], sums, big)
            sums = _checksum(content[at + _FRAME.size : at + size], sums, big)
            whole = list(sums) == expected
        else:
            whole = False
        after_commit += 1
        if whole and commit:
            commits, after_commit = commits + 1, 0
        at += size
    return Log(path, missing=False, commits=commits, cut=after_commit)


def _checksum(content: bytes, sums: tuple[int, int], big: bool) -> tuple[int, int]:
    words = array("I", content)
    if big != (sys.byteorder == "big"):
        words.byteswap()
    first, second = sums
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & _MASK
        second = (second + odd + first) & _MASK
    return first, second
