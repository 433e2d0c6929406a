"""Which models sit on which card, as far as anybody can tell. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from reconciler.fleet import CardFacts, CardId, Fleet, FleetFacts, Resident, parse_replica_address
from reconciler.health.joining import cards_of
from reconciler.planning import Plan
from reconciler.value_class import value_class


@value_class
class Holder:
    """A model of an engine on a card. `certain` False: its engine has several cards, and nobody sees on which of them it is. Bytes are
    those that the plan counts, else what the engine says that it holds on cards in all. `address` is that by which the plan knows it."""

    engine: str
    model: str
    vram_bytes: int | None
    certain: bool
    address: str | None = None


def holders_by_card(fleet: Fleet, facts: FleetFacts, plan: Plan | None = None) -> Mapping[tuple[str, CardId], tuple[Holder, ...]]:
    """The models of every card, by node and index of the card; with the bytes that `plan` counts, where one is given."""
    counted = {
        (parse_replica_address(address)[1], one.name): (one.vram_bytes, address)
        for address, one in (plan.residents if plan is not None else {}).items()
    }
    found: dict[tuple[str, CardId], list[Holder]] = defaultdict(list)
    for name, node in sorted(facts.nodes.items()):
        spec = fleet.nodes.get(name)
        for engine in spec.engines if spec is not None and node.cards else ():
            seen = node.engines.get(engine.id.engine)
            cards = _narrowed(engine.id.engine, cards_of(engine, node.cards or ()))
            for resident in (seen.residents if seen is not None else None) or ():
                if _is_on_cpu(resident):
                    continue
                for card in cards:
                    held, address = counted.get((engine.id, resident.name), (resident.vram_bytes, None))
                    holder = Holder(engine.id.engine, resident.shown, held, len(cards) == 1, address)
                    found[name, card.index].append(holder)
    return {at: tuple(holders) for at, holders in found.items()}


def _narrowed(engine: str, cards: Sequence[CardFacts]) -> Sequence[CardFacts]:
    """Those on which a process of the engine is seen, where its processes are seen at all."""
    return [card for card in cards if any(process.engine == engine for process in card.processes or ())] or cards


def _is_on_cpu(resident: Resident) -> bool:
    return resident.vram_bytes == 0
