"""Cards as the inventory declares them: nothing is asked, so their use is unknown and their foreign use is what was declared."""

from __future__ import annotations

from reconciler.fleet import CardFacts, NodeSpec

SOURCE = "declared"


def declared_cards(node: NodeSpec) -> tuple[CardFacts, ...] | None:
    """The node's cards; () when it is declared to have none, None when nothing is declared."""
    if node.gpus is None:
        return None
    return tuple(
        CardFacts(
            index=card.index,
            uuid=card.uuid,
            name=card.name,
            total_bytes=card.vram,
            used_bytes=None,
            foreign_bytes=card.foreign,
            compute_capability=card.compute_capability,
            driver=card.driver,
            source=SOURCE,
            assumed=True,
        )
        for card in node.gpus
    )
