"""What was last known of what a look could not see. It is kept when facts are recorded, so that an outage hides no drift."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import replace
from typing import TypeVar

from reconciler.fleet.facts import CardFacts, EngineFacts, FleetFacts, NodeFacts
from reconciler.fleet.names import EngineId

T = TypeVar("T")
_DECLARED = "declared"


def with_last_known(
    seen: FleetFacts, recorded: Callable[[], FleetFacts | None], names: Collection[str], changed: Set[EngineId]
) -> FleetFacts:
    """The facts to record after `seen`: of what it could not see, on the nodes `names` of the fleet, they hold what `recorded` has, and
    still say that it could not be seen. `recorded` is asked only where something is missing.

    What is resident and installed on an engine of `changed` is unknown where it was not seen: a step may have changed it since. An engine
    that gpurec has not started holds nothing, which is known.
    """
    partial = [name for name in names if (node := seen.nodes.get(name)) is None or _is_partial(node)]
    before = recorded() if partial else None
    if before is None:
        return seen
    nodes = dict(seen.nodes)
    for name in partial:
        was, now = before.nodes.get(name), seen.nodes.get(name)
        if was is not None:
            nodes[name] = _node(now, was, changed) if now is not None else was
    return FleetFacts(seen.at, nodes)


def cards_unread(node: NodeFacts) -> bool:
    """Whether its cards were asked for in vain: those that the look has are the declared ones, if any."""
    return node.card_probe is not None and node.card_probe.reason is not None


def same_card(one: CardFacts, other: CardFacts) -> bool:
    """Whether two looks saw one card: by UUID where both know it, else by index."""
    if one.uuid is not None and other.uuid is not None:
        return one.uuid == other.uuid
    return one.index == other.index


def _is_partial(node: NodeFacts) -> bool:
    cards = node.cards is None or cards_unread(node) or any(card.fault is not None for card in node.cards)
    return cards or any(engine.silent or engine.residents is None or engine.installed is None for engine in node.engines.values())


def _node(now: NodeFacts, was: NodeFacts, changed: Set[EngineId]) -> NodeFacts:
    engines = {name: _engine(one, was.engines.get(name), changed) for name, one in now.engines.items()}
    return replace(now, cards=_cards(now, was.cards), ram_bytes=_or(now.ram_bytes, was.ram_bytes), engines=engines)


def _engine(now: EngineFacts, was: EngineFacts | None, changed: Set[EngineId]) -> EngineFacts:
    if was is None or was.kind is not now.kind or not (now.reachable or now.silent):
        return now
    if now.silent:
        now = replace(now, build=was.build, mode=was.mode, max_residents=was.max_residents)
    if now.id in changed:
        return now
    return replace(now, installed=_or(now.installed, was.installed), residents=_or(now.residents, was.residents))


def _cards(now: NodeFacts, were: Sequence[CardFacts] | None) -> tuple[CardFacts, ...] | None:
    if were is None:
        return now.cards
    if now.cards is None or (cards_unread(now) and any(card.source != _DECLARED for card in were)):
        return tuple(were)
    return tuple(_card(card, were) if card.fault is not None else card for card in now.cards)


def _card(now: CardFacts, were: Sequence[CardFacts]) -> CardFacts:
    """A card that cannot be used tells little of itself."""
    was = next((one for one in were if same_card(one, now)), None)
    if was is None:
        return now
    return replace(
        now,
        uuid=_or(now.uuid, was.uuid),
        name=_or(now.name, was.name),
        total_bytes=_or(now.total_bytes, was.total_bytes),
        compute_capability=_or(now.compute_capability, was.compute_capability),
        driver=_or(now.driver, was.driver),
        cuda=_or(now.cuda, was.cuda),
    )


def _or(now: T | None, was: T | None) -> T | None:
    return now if now is not None else was
