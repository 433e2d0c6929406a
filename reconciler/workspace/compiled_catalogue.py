"""The package's catalogue as it is shipped beside its YAML: read in a thousandth of a second, where the YAML takes a tenth of one.

`make catalogue` writes it anew after the YAML was changed; a test holds the two equal.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from reconciler.value_class import value_class
from reconciler.vram import Catalogue, KnownGpu, KnownModel, Shape

COMPILED = "catalogue.json"


@value_class
class _Compiled:
    models: tuple[KnownModel, ...]
    gpus: tuple[KnownGpu, ...]
    shapes: tuple[Shape, ...]


def shipped_catalogue() -> Catalogue:
    """The package's catalogue."""
    found = msgspec.json.decode(Path(__file__).with_name(COMPILED).read_bytes(), type=_Compiled)
    return Catalogue(
        {(model.engine, model.name): model for model in found.models},
        {key: card for card in found.gpus for key in (card.name.lower(), *card.pci)},
        {shape.name: shape for shape in found.shapes},
    )


def compiled(catalogue: Catalogue) -> bytes:
    """The text of the file, one entry a line."""
    cards = {id(card): card for card in catalogue.gpus.values()}
    found = _Compiled(tuple(catalogue.models.values()), tuple(cards.values()), tuple(catalogue.shapes.values()))
    return msgspec.json.encode(found).replace(b"},{", b"},\n{") + b"\n"
