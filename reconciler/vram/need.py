"""The bytes a model needs on an engine, from the first source that knows: declared, measured, computed, file size with a stated
factor, catalogue.

There is no other source and no default: a model about which nothing is known has no need, and is not placed on a guess.
"""

from __future__ import annotations

from fractions import Fraction

from reconciler.fleet import EngineKind, ModelSpec
from reconciler.value_class import value_class
from reconciler.vram.catalogue import NO_CATALOGUE, Catalogue

FILE_SIZE_FACTOR = Fraction(6, 5)
"""Resident bytes over file bytes when nothing better is known: weights are the file, the rest is for cache and compute at a few thousand
tokens. A stand-in until needs are computed from the model's metadata; shown as `file size × 1.2` wherever it is used."""


@value_class
class Need:
    """Bytes on cards (or in RAM for a CPU replica) and where the figure comes from: `declared`, `measured`, `computed`, `file_size` or
    `catalogue`.

    A measured one is the whole of what a load takes. Where its card was seen, that is what the card lost; else it is `reported`, what the
    engine says of itself, and `beside`, what its process takes besides. `predicted` is what would be predicted in its place, where it is.
    """

    bytes: int
    source: str
    reported: int | None = None
    beside: int = 0
    predicted: int | None = None

    @property
    def measured(self) -> int | None:
        """The bytes where they were measured; of a name that shares a runner, which takes nothing, there is no such figure."""
        return self.bytes or None if self.source == "measured" else None


def known_need(
    model: ModelSpec,
    kind: EngineKind,
    file_bytes: int | None,
    measured: Need | None = None,
    computed: int | None = None,
    catalogue: Catalogue = NO_CATALOGUE,
    listed: int | None = None,
) -> Need | None:
    """What `model` needs on an engine of `kind`; None when no source knows.

    `file_bytes` is the installed file's size, `measured` what loads of just this kind took, `computed` the upper end of what `predict`
    makes of the model's header for the way that this engine runs it. `listed` is the same of the shape that the catalogue has of it, and
    goes there before the size that people report.
    """
    found = every_need(model, kind, file_bytes, measured, computed, catalogue, listed)
    return found[0] if found else None


def every_need(
    model: ModelSpec,
    kind: EngineKind,
    file_bytes: int | None,
    measured: Need | None = None,
    computed: int | None = None,
    catalogue: Catalogue = NO_CATALOGUE,
    listed: int | None = None,
) -> tuple[Need, ...]:
    """What each source that knows says, the one that counts first."""
    needs = []
    if model.vram is not None:
        needs.append(Need(model.vram, "declared"))
    if measured is not None:
        needs.append(measured)
    if computed is not None:
        needs.append(Need(computed, "computed"))
    if file_bytes is not None and file_bytes > 0:
        needs.append(Need(-(-file_bytes * FILE_SIZE_FACTOR.numerator // FILE_SIZE_FACTOR.denominator), "file_size"))
    known = catalogue.model(kind, model.base_name(kind))
    size = listed if listed is not None or known is None else known.vram
    if size is not None:
        needs.append(Need(size, "catalogue"))
    return tuple(needs)
