"""Rows that llama.cpp printed, what the prediction says of the same load, and the error table of each architecture."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from vram.branch_models import BRANCHES
from vram.more_models import MORE
from vram.peers import file_size_rule, xllamacpp
from vram.recorded import recorded
from vram.shapes import Model, write
from vram.special_models import SPECIAL
from vram.truth_models import truth_model
from vram.variant_models import VARIANTS

from reconciler.gguf import read_model
from reconciler.vram import CACHE_TYPES, Geometry, RunSettings, geometry_of, predict

DATA = Path(__file__).parent / "data"
MIB = 2**20
UNSEEN = MORE | SPECIAL | VARIANTS | BRANCHES
"""Models of more_b11434.csv: none of them is in the first table."""


@dataclass(frozen=True)
class Place:
    """MiB of weights, of cache and state, and of the compute buffer, on one card or on the host."""

    weights: float
    context: float
    compute: float


@dataclass(frozen=True)
class Row:
    """One load, and what llama.cpp printed of it."""

    file: str
    settings: RunSettings
    cards: tuple[Place, ...]
    host: Place

    @property
    def partial(self) -> bool:
        return self.settings.offloaded < 900


@dataclass(frozen=True)
class Verdict:
    """A row, and the same places as predicted."""

    row: Row
    architecture: str
    file_bytes: int
    cards: tuple[Place, ...]
    host: Place

    @property
    def compute_errors(self) -> list[float]:
        """MiB too much (or, negative, too little), of each card."""
        return [mine.compute - theirs.compute for mine, theirs in zip(self.cards, self.row.cards, strict=True)]

    @property
    def exact_error(self) -> float:
        """The largest error of weights, cache and state anywhere, MiB."""
        pairs = [*zip(self.cards, self.row.cards, strict=True), (self.host, self.row.host)]
        return max(max(abs(mine.weights - theirs.weights), abs(mine.context - theirs.context)) for mine, theirs in pairs)


def model_of(name: str) -> Model:
    if name in UNSEEN:
        return UNSEEN[name]()
    return recorded()[name] if name in recorded() else truth_model(name)


@cache
def geometry(name: str) -> tuple[Geometry, int]:
    """The geometry of a model's file, written sparse and read back, and the file's size."""
    with TemporaryDirectory() as folder:
        found = read_model(write(Path(folder) / "model.gguf", model_of(name)))
        return geometry_of(found.header), found.bytes


def rows(name: str, every: int = 1) -> Iterator[Row]:
    """Each `every`-th row of a table in `data/`."""
    with (DATA / name).open(encoding="utf-8") as file:
        table = csv.DictReader(line for line in file if not line.startswith("#"))
        for index, line in enumerate(table):
            if index % every == 0:
                yield _row(line)


def _row(line: dict[str, str]) -> Row:
    keys, _, values = line["kv_type"].partition("/")
    slots, unified = int(line["n_parallel"]), line["kv_unified"] == "yes"
    split = tuple(int(one) for one in line["tensor_split"].split(":")) if line["tensor_split"] else (1,)
    settings = RunSettings(
        context=int(line["n_ctx"]) // slots,
        parallel=slots,
        key_type=CACHE_TYPES[keys],
        value_type=CACHE_TYPES[values or keys],
        flash_attention=line["flash_attn"] == "on",
        ubatch=int(line["n_ubatch"]),
        offloaded=int(line["ngl"]),
        split=split,
        unified=unified,
        reserve_batch=line["outputs"] == "batch",
    )
    if len(split) > 1:
        cards = tuple(Place(*(float(part) for part in one.split(":"))) for one in line["per_device_mib"].split("|"))
    else:
        cards = (_place(line, "device"),)
    return Row(line["file"], settings, cards, _place(line, "host"))


def _place(line: dict[str, str], where: str) -> Place:
    return Place(*(float(line[f"{where}_{term}_mib"]) for term in ("model", "context", "compute")))


def judged(found: Iterable[Row]) -> Iterator[Verdict]:
    for row in found:
        shape, size = geometry(row.file)
        said = predict(shape, row.settings)
        assert not said.unknown, (row, said.unknown)
        cards = tuple(Place(one.weights / MIB, ((one.kv or 0) + (one.state or 0)) / MIB, (one.compute or 0) / MIB) for one in said.cards)
        host = Place(said.host.weights / MIB, (said.host.kv or 0) / MIB, (said.host.compute or 0) / MIB)
        yield Verdict(row, shape.architecture, size, cards, host)


HEAD = (
    "| architecture | rows | weights, KV, state: largest error | compute: largest error | within 1 MiB "
    "| xllamacpp: median, largest | file size × 1.2: median, largest |"
)


def error_table(verdicts: Sequence[Verdict]) -> list[str]:
    """Markdown: for each architecture its rows, the largest errors, and what simpler rules say of all that the card holds in those rows.

    The simpler rules are judged only where everything lies on one card.
    """
    lines = [HEAD, "|---|---|---|---|---|---|---|"]
    for name in sorted({one.architecture for one in verdicts}):
        mine = [one for one in verdicts if one.architecture == name]
        errors = [abs(error) for one in mine for error in one.compute_errors]
        close = sum(error <= 1 for error in errors) / len(errors)
        exact = max(one.exact_error for one in mine)
        whole = [one for one in mine if len(one.cards) == 1 and not one.row.partial]
        peers = [_spread([rule(one) for one in whole]) for rule in (peer_error, rough_error)]
        lines.append(f"| {name} | {len(mine)} | {exact:.3f} MiB | {max(errors):.2f} MiB | {close:.0%} | {peers[0]} | {peers[1]} |")
    return lines


def _spread(errors: Sequence[float]) -> str:
    found = sorted(map(abs, errors))
    return f"{found[len(found) // 2]:.0%}, {found[-1]:.0%}"


def _held(verdict: Verdict) -> float:
    """MiB that the row's cards hold."""
    return sum(card.weights + card.context + card.compute for card in verdict.row.cards)


def rough_error(verdict: Verdict) -> float:
    """Relative error of `file size × 1.2`."""
    return file_size_rule(verdict.file_bytes) / MIB / _held(verdict) - 1


def peer_error(verdict: Verdict) -> float:
    """Relative error of xllamacpp's arithmetic."""
    return xllamacpp(geometry(verdict.row.file)[0], verdict.row.settings) / MIB / _held(verdict) - 1
