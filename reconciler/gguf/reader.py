"""The header of a GGUF file (version 2 and 3, little endian): keys, values and the tensor table.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Nothing is believed: every count is held against the bytes that are left,
every length against a bound; vocabularies are stepped over and only counted. A file that is refused is refused with its offset.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from reconciler.fleet import GpurecError, Place, Problem
from reconciler.vram.tensors import TENSOR_TYPES, Header, Scalar, TensorInfo

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_KEYS = 65_536
MOST_TENSORS = 65_536
LONGEST_NAME = 65_535
LONGEST_KEPT_TEXT = 4_096
LONGEST_KEPT_ARRAY = 4_096
MOST_STRINGS = 4_000_000
"""In all arrays of a file together; vocabularies and merges of real models stay below a million."""
MOST_KEPT = 16 * 2**20
"""Bytes of names, texts and arrays (8 a number) that are kept of one file; real headers have a few hundred KiB."""
LARGEST = 2**50
"""Bytes of one tensor and of all of them together; a petabyte is no model."""
WINDOW = 1 << 18

_STRING, _ARRAY = 8, 9
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_SIZES = {kind: struct.calcsize(form) for kind, form in _SCALARS.items()}


class GgufError(GpurecError):
    """A file that is no GGUF, is cut off, or claims what cannot be."""


class _Cursor:
    """Reads forward through a window of the file; knows how many bytes are left and refuses to go past them."""

    def __init__(self, file: BinaryIO, name: str, size: int) -> None:
        self.file, self.name, self.size = file, name, size
        self.window, self.base, self.at = b"", 0, 0
        self.strings = self.kept = 0

    def refuse(self, what: str, hint: str = "download or convert the file again") -> GgufError:
        return GgufError(Problem(f"{what} (at byte {self.at})", Place(self.name), hint))

    def need(self, count: int, what: str) -> None:
        if count > self.size - self.at:
            raise self.refuse(f"the file ends inside its header: {what} needs {count} bytes and {max(0, self.size - self.at)} are left")

    def take(self, count: int, what: str) -> bytes:
        self.need(count, what)
        start = self.at - self.base
        if start < 0 or start + count > len(self.window):
            self.file.seek(self.at)
            self.window, self.base, start = self.file.read(max(count, WINDOW)), self.at, 0
            if len(self.window) < count:
                raise self.refuse(f"the file ends inside its header, in {what}")
        self.at += count
        return self.window[start : start + count]

    def skip(self, count: int, what: str) -> None:
        self.need(count, what)
        self.at += count

    def keep(self, count: int, what: str) -> None:
        """Counts what stays in memory, so that many things of allowed size do not add up without end."""
        self.kept += count
        if self.kept > MOST_KEPT:
            raise self.refuse(f"the names and values up to {what[:80]!r} take more than {MOST_KEPT} bytes")

    def pass_strings(self, count: int, what: str) -> None:
        """Steps over an array of strings, which tells its end only by being walked."""
        self.strings += count
        if self.strings > MOST_STRINGS:
            raise self.refuse(f"{what!r} claims {count} strings; {MOST_STRINGS} in a file is the most")
        self.need(count * 8, what)
        for _ in range(count):
            start = self.at - self.base
            if start >= 0 and start + 8 <= len(self.window):
                length = int.from_bytes(self.window[start : start + 8], "little")
                self.at += 8
            else:
                length = self.u64(what)
            if length > self.size - self.at:
                raise self.refuse(f"the file ends inside its header: {what} needs {length} bytes and {self.size - self.at} are left")
            self.at += length

    def u32(self, what: str) -> int:
        return int.from_bytes(self.take(4, what), "little")

    def u64(self, what: str) -> int:
        return int.from_bytes(self.take(8, what), "little")

    def text(self, longest: int, what: str) -> str:
        length = self.u64(what)
        if length > longest:
            raise self.refuse(f"{what} claims {length} bytes; {longest} is the most")
        self.keep(length, what)
        return self.take(length, what).decode("utf-8", "replace")


def read_header(file: BinaryIO, name: str, size: int) -> Header:
    """The header of the GGUF `file` of `size` bytes; `name` is only for errors. GgufError says what is wrong and where.

    Reads forward once; memory stays below some megabytes whatever the file claims, and time is linear in the bytes of the header.
    """
    cursor = _Cursor(file, name, size)
    if size < 24 or cursor.take(4, "the magic") != MAGIC:
        raise GgufError.of("this is not a GGUF file", name, "give a file that llama.cpp can load (*.gguf)")
    version = cursor.u32("the version")
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        if swapped in VERSIONS:
            raise cursor.refuse("the file is big endian", "convert it to little endian (gguf_convert_endian.py)")
        raise cursor.refuse(f"GGUF version {version} is not known; known are {' and '.join(map(str, VERSIONS))}", "convert the model again")
    tensor_count, key_count = cursor.u64("the number of tensors"), cursor.u64("the number of keys")
    if key_count > MOST_KEYS or key_count * 13 > size:
        raise cursor.refuse(f"the header claims {key_count} keys")
    if tensor_count > MOST_TENSORS or tensor_count * 32 > size:
        raise cursor.refuse(f"the header claims {tensor_count} tensors")
    values: dict[str, Scalar | tuple[int | float | bool, ...]] = {}
    counts: dict[str, int] = {}
    for _ in range(key_count):
        key = cursor.text(LONGEST_NAME, "the name of a key")
        if key in values or key in counts:
            raise cursor.refuse(f"the key {key!r} is there twice")
        _value(cursor, key, values, counts)
    return Header(values, counts, _tensors(cursor, tensor_count))


def _value(cursor: _Cursor, key: str, values: dict[str, Scalar | tuple[int | float | bool, ...]], counts: dict[str, int]) -> None:
    kind = cursor.u32(f"the type of {key}")
    if kind == _STRING:
        length = cursor.u64(f"the length of {key}")
        if length <= LONGEST_KEPT_TEXT:
            cursor.keep(length, key)
            values[key] = cursor.take(length, key).decode("utf-8", "replace")
        else:
            cursor.skip(length, key)
            counts[key] = length
    elif kind == _ARRAY:
        kept = _array(cursor, key)
        if isinstance(kept, int):
            counts[key] = kept
        else:
            values[key] = kept
    elif kind in _SCALARS:
        values[key] = _scalar(cursor, kind, key)
    else:
        raise cursor.refuse(f"{key!r} is of the unknown type {kind}")


def _scalar(cursor: _Cursor, kind: int, key: str) -> int | float | bool:
    value: int | float | bool = struct.unpack(_SCALARS[kind], cursor.take(_SIZES[kind], key))[0]
    return value


def _array(cursor: _Cursor, key: str) -> int | tuple[int | float | bool, ...]:
    """A short array of numbers, or the length of one that is not kept."""
    kind, length = cursor.u32(f"the type of {key}"), cursor.u64(f"the length of {key}")
    if kind == _ARRAY:
        raise cursor.refuse(f"{key!r} is an array of arrays, which no model has")
    if kind == _STRING:
        cursor.pass_strings(length, key)
        return length
    if kind not in _SIZES:
        raise cursor.refuse(f"{key!r} is an array of the unknown type {kind}")
    size = _SIZES[kind]
    cursor.need(length * size, key)
    if length > LONGEST_KEPT_ARRAY:
        cursor.skip(length * size, key)
        return length
    cursor.keep(length * 8, key)
    raw = cursor.take(length * size, key)
    return tuple(one[0] for one in struct.iter_unpack(_SCALARS[kind], raw))


def _tensors(cursor: _Cursor, count: int) -> tuple[TensorInfo, ...]:
    found: dict[str, TensorInfo] = {}
    total = 0
    for _ in range(count):
        name = cursor.text(LONGEST_NAME, "the name of a tensor")
        if name in found:
            raise cursor.refuse(f"the tensor {name!r} is there twice")
        dimensions = cursor.u32(f"the dimensions of {name}")
        if not 0 < dimensions <= 4:
            raise cursor.refuse(f"the tensor {name!r} claims {dimensions} dimensions; 1 to 4 are possible")
        shape = tuple(cursor.u64(f"the shape of {name}") for _ in range(dimensions))
        elements = 1
        for length in shape:
            elements *= length
            if not 0 < length < 2**63 or elements > 2**56:
                raise cursor.refuse(f"the tensor {name!r} claims the shape {'×'.join(map(str, shape))}")
        kind = TENSOR_TYPES.get(number := cursor.u32(f"the type of {name}"))
        if kind is None:
            raise cursor.refuse(
                f"the tensor {name!r} is of type {number}, whose size is not known", "use a newer gpurec or another quantisation"
            )
        if shape[0] % kind.block:
            raise cursor.refuse(f"the tensor {name!r} has rows of {shape[0]}, no whole number of {kind.name} blocks")
        cursor.u64(f"the place of {name}")
        found[name] = info = TensorInfo(name, shape, kind)
        total += info.bytes
        if total > LARGEST:
            raise cursor.refuse(f"the tensors up to {name!r} claim {total} bytes")
    return tuple(found.values())
