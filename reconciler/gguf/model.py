"""A model on disk or behind a URL: one GGUF file, or all the parts of a split one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from reconciler.gguf.reader import MOST_TENSORS, GgufError, read_header
from reconciler.value_class import value_class
from reconciler.vram.tensors import Header, TensorInfo

if TYPE_CHECKING:
    from reconciler.gguf.remote import Budget

MOST_PARTS = 1024
_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf(?P<rest>(?:\?[^/]{0,199})?)", re.DOTALL)


Read = Callable[[str], tuple[Header, int]]
"""The header and the size of the file of that name."""


@value_class
class ModelFile:
    """A header with the tensors of every part, the files (or URLs) that were read, and their bytes together."""

    header: Header
    names: tuple[str, ...]
    bytes: int


def read_model(path: Path) -> ModelFile:
    """The model of `path`; of a split model (`NAME-00001-of-00003.gguf`) every part beside it is read.

    GgufError when a file is no GGUF, is cut off or a part is missing; OSError when a file cannot be opened.
    """
    return _parts_of(str(path), _of_disk(path))


def read_url(url: str, budget: Budget | None = None) -> ModelFile:
    """The model behind an http(s) URL; of a split model every part beside it. Only headers are fetched.

    GgufError as for a file; RemoteError when the server does not give ranges of it, or it would cost too much.
    """
    from reconciler.gguf.remote import Budget, RemoteFile, checked, client

    spent = budget or Budget()
    with client() as http:

        def read(name: str) -> tuple[Header, int]:
            file = RemoteFile(http, name, spent)
            return read_header(cast("BinaryIO", file), file.url, file.size), file.size

        return _parts_of(checked(url), read)


def _parts_of(name: str, read: Read) -> ModelFile:
    first, size = read(name)
    count = first.values.get("split.count", 1)
    if not isinstance(count, int) or isinstance(count, bool) or count <= 1:
        return ModelFile(first, (name,), size)
    named = _PART.fullmatch(name)
    if named is None or int(named["count"]) != count or count > MOST_PARTS:
        raise GgufError.of(
            f"this is one of {count} parts, but its name does not say which", _shown(name), "keep the names NAME-00001-of-0000N.gguf"
        )
    names = tuple(f"{named['stem']}-{number:05d}-of-{count:05d}.gguf{named['rest']}" for number in range(1, count + 1))
    leading, total = first, 0
    tensors: dict[str, TensorInfo] = {}
    for one in names:
        header, bytes_ = (first, size) if one == name else read(one)
        leading = header if one == names[0] else leading
        total += bytes_
        if len(tensors) + len(header.tensors) > MOST_TENSORS:
            raise GgufError.of(f"the parts up to here have more than {MOST_TENSORS} tensors", _shown(one), "download the parts again")
        for tensor in header.tensors:
            if tensor.name in tensors:
                raise GgufError.of(f"the tensor {tensor.name!r} is in two parts", _shown(one), "download the parts again")
            tensors[tensor.name] = tensor
    return ModelFile(Header(leading.values, leading.counts, tuple(tensors.values())), names, total)


def _shown(name: str) -> str:
    """A URL without its query, which may hold a signature; a path as it is."""
    return name.split("?", 1)[0] if "://" in name else name


def _of_disk(asked: Path) -> Read:
    def read(name: str) -> tuple[Header, int]:
        path = Path(name)
        if path != asked and not path.is_file():
            raise GgufError.of(f"a part of {asked.name} is missing", name, "put all parts into one folder")
        if path.exists() and not path.is_file():
            raise GgufError.of("this is not a regular file", name, "give a *.gguf file")
        with path.open("rb") as file:
            size = path.stat().st_size
            return read_header(file, name, size), size

    return read
