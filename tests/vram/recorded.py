"""Models of `data/shapes_b11434.jsonl`: keys and tensor tables, one model a line, as llama.cpp's own loader asks for them.

The names of blocks are folded: `{}` stands for the number, followed by the blocks that have this shape and type.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from vram.shapes import Model

FILE = Path(__file__).parent / "data" / "shapes_b11434.jsonl"


@cache
def recorded() -> dict[str, Model]:
    """Every model of the file by its name."""
    with FILE.open(encoding="utf-8") as lines:
        return dict(unfolded(line) for line in lines if line.strip())


def unfolded(line: str) -> tuple[str, Model]:
    """Name and model of one line."""
    found = json.loads(line)
    model = Model(found["arch"], found["keys"], vocab=found["vocab"])
    for name, shape, kind, blocks in found["tensors"]:
        for number in _blocks(blocks):
            model.put(name.replace("{}", str(number), 1), *shape, kind=kind)
    return found["name"], model


def _blocks(text: str) -> Iterable[int]:
    """`0-2,5` → 0, 1, 2, 5; nothing: the name has no number."""
    if not text:
        return (0,)
    ends = (part.partition("-") for part in text.split(","))
    return (number for first, _, last in ends for number in range(int(first), int(last or first) + 1))


def folded(name: str, model: Model) -> str:
    """The line of one model."""
    groups: dict[tuple[str, tuple[int, ...], str], list[int]] = {}
    for tensor, shape, kind in model.typed():
        parts = tensor.split(".")
        at = next((index for index, part in enumerate(parts) if part.isdigit()), None)
        pattern = tensor if at is None else ".".join([*parts[:at], "{}", *parts[at + 1 :]])
        groups.setdefault((pattern, shape, kind), []).append(-1 if at is None else int(parts[at]))
    tensors = [[pattern, list(shape), kind, _ranges(numbers)] for (pattern, shape, kind), numbers in groups.items()]
    line = {"name": name, "arch": model.arch, "vocab": model.vocab, "keys": model.keys, "tensors": tensors}
    return json.dumps(line, separators=(",", ":"))


def _ranges(numbers: list[int]) -> str:
    if numbers == [-1]:
        return ""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in found)
