"""A model on disk: one GGUF file, or all the parts of a split one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from reconciler.gguf.reader import MOST_TENSORS, GgufError, read_header
from reconciler.vram.tensors import Header, TensorInfo

MOST_PARTS = 1024
_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A header with the tensors of every part, the paths that were read, and the bytes of the files together."""

    header: Header
    paths: tuple[Path, ...]
    bytes: int


def read_model(path: Path) -> ModelFile:
    """The model of `path`; of a split model (`NAME-00001-of-00003.gguf`) every part beside it is read.

    GgufError when a file is no GGUF, is cut off or a part is missing; OSError when a file cannot be opened.
    """
    first, size = _read(path)
    count = first.values.get("split.count", 1)
    if not isinstance(count, int) or isinstance(count, bool) or count <= 1:
        return ModelFile(first, (path,), size)
    named = _PART.fullmatch(path.name)
    if named is None or int(named["count"]) != count or count > MOST_PARTS:
        raise GgufError.of(
            f"this is one of {count} parts, but its name does not say which", str(path), "keep the names NAME-00001-of-0000N.gguf"
        )
    paths = tuple(path.with_name(f"{named['stem']}-{number:05d}-of-{count:05d}.gguf") for number in range(1, count + 1))
    leading, total = first, 0
    tensors: dict[str, TensorInfo] = {}
    for one in paths:
        header, bytes_ = (first, size) if one == path else _part(one, path)
        leading = header if one == paths[0] else leading
        total += bytes_
        if len(tensors) + len(header.tensors) > MOST_TENSORS:
            raise GgufError.of(f"the parts up to here have more than {MOST_TENSORS} tensors", str(one), "download the parts again")
        for tensor in header.tensors:
            if tensor.name in tensors:
                raise GgufError.of(f"the tensor {tensor.name!r} is in two parts", str(one), "download the parts again")
            tensors[tensor.name] = tensor
    return ModelFile(Header(leading.values, leading.counts, tuple(tensors.values())), paths, total)


def _part(path: Path, asked: Path) -> tuple[Header, int]:
    if not path.is_file():
        raise GgufError.of(f"a part of {asked.name} is missing", str(path), "put all parts into one folder")
    return _read(path)


def _read(path: Path) -> tuple[Header, int]:
    if path.exists() and not path.is_file():
        raise GgufError.of("this is not a regular file", str(path), "give a *.gguf file")
    with path.open("rb") as file:
        size = path.stat().st_size
        return read_header(file, str(path), size), size
