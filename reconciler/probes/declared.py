"""Cards as the inventory declares them: nothing is asked, so their use is unknown and their foreign use is what was declared."""

from __future__ import annotations

from fractions import Fraction

from reconciler.fleet import CardFacts, CardSpec, NodeSpec
from reconciler.probes.readings import half_precision

SOURCE = "declared"


def declared_cards(node: NodeSpec) -> tuple[CardFacts, ...] | None:
    """The node's cards; () when it is declared to have none, None when nothing is declared."""
    if node.gpus is None:
        return None
    return tuple(_declared(card, node) for card in node.gpus)


def _declared(card: CardSpec, node: NodeSpec) -> CardFacts:
    half, brain = half_precision(card.compute_capability)
    return CardFacts(
        index=card.index,
        uuid=card.uuid,
        name=card.name,
        total_bytes=_total(card, node.ram),
        used_bytes=None,
        foreign_bytes=card.foreign,
        compute_capability=card.compute_capability,
        driver=card.driver,
        source=SOURCE,
        assumed=True,
        float16=half,
        bfloat16=brain,
        unified=True if card.unified is not None else None,
        mig_parent=card.mig,
    )


def share_of_ram(ram: int, part: Fraction) -> int:
    """The bytes that a card without memory of its own may have of the node's."""
    return ram * part.numerator // part.denominator


def _total(card: CardSpec, ram: int | None) -> int | None:
    if card.vram is not None or card.unified is None:
        return card.vram
    return None if ram is None else share_of_ram(ram, card.unified)
