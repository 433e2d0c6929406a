"""A folder as `huggingface-cli download` leaves it: `config.json`, and beside it weights or only their index."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from reconciler.fleet import MIB, GpurecError, Place
from reconciler.value_class import value_class

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
LARGEST_CONFIG = 4 * MIB
LARGEST_INDEX = 64 * MIB
MOST_FILES = 4096
LARGEST_WEIGHTS = 2**50


class CheckpointError(GpurecError):
    """A config or an index cannot be read, or is none."""


@value_class
class Folder:
    """`weight_bytes` is what the index or the files say, by `weight_source`; None where there is neither."""

    path: Path
    config: Mapping[str, object]
    weight_bytes: int | None
    weight_source: str | None


def read_folder(path: Path) -> Folder:
    """The checkpoint of a folder, or of its `config.json`. CheckpointError says what is wrong with which file."""
    config = path / CONFIG if path.is_dir() else path
    values = _json(config, LARGEST_CONFIG)
    beside = config.parent
    index = beside / INDEX
    if index.is_file():
        meta = _json(index, LARGEST_INDEX).get("metadata")
        size = meta.get("total_size") if isinstance(meta, Mapping) else None
        if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= LARGEST_WEIGHTS:
            raise CheckpointError.of("metadata.total_size is no number of bytes", Place(str(index)), "download the index again")
        return Folder(config, values, size, INDEX)
    files = sorted(beside.glob("*.safetensors"))[:MOST_FILES]
    if not files:
        return Folder(config, values, None, None)
    return Folder(config, values, sum(_data_bytes(file) for file in files), f"{len(files)} safetensors files")


def _data_bytes(file: Path) -> int:
    """Bytes of the tensors of one file: all but its header (8 bytes of length, then so many of JSON)."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
    if size < 8 or length > size - 8:
        raise CheckpointError.of("this is no safetensors file, or it is cut off", Place(str(file)), "download it again")
    return size - 8 - length


def _json(file: Path, largest: int) -> Mapping[str, object]:
    where = Place(str(file))
    if not file.is_file():
        raise CheckpointError.of(f"there is no {file.name}", where, "give a folder with a config.json, or that file")
    if file.stat().st_size > largest:
        raise CheckpointError.of(f"this has more than {largest // MIB} MiB", where, "give the file as it was published")
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        at = Place(str(file), error.lineno, error.colno) if isinstance(error, json.JSONDecodeError) else where
        raise CheckpointError.of("this is not JSON", at, "download it again") from error
    if not isinstance(found, dict):
        raise CheckpointError.of("this is JSON, but no mapping", where, "give a config.json")
    return found
