"""Why agents have no place: every engine or card that was asked, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set

from reconciler.capacity import Card, fits_alone
from reconciler.fleet import AgentSpec, Near, format_bytes, format_capability
from reconciler.placement.agents.offers import Offers, is_full, unfit_card, unfit_offer
from reconciler.placement.agents.orders import AgentLoad
from reconciler.placement.agents.result import UnplacedAgents

SHOWN = 32
"""How many engines or cards are listed one by one; all are counted by reason."""


def why_unplaced(
    spec: AgentSpec,
    count: int,
    offers: Offers,
    load: AgentLoad,
    hosts: Set[str],
    cards: Sequence[Card],
    is_given: Callable[[Card], bool],
    node: str | None = None,
) -> UnplacedAgents:
    """The reasons of everything that `count` agents of one name could have used, as the board stands; of `node` only, where it is given.
    `is_given`: whether one more may have a card for itself."""
    if not any(one in hosts for one in spec.nodes):
        return UnplacedAgents(spec, count, f"none of the hosts of {spec.on!r} runs containers: declare `docker:` on one", node=node)
    answers = _of_offers(spec, offers, load, hosts, node) if spec.model is not None else _of_cards(spec, cards, load, is_given, node)
    counts = Counter(code for _, code, _ in answers)
    return UnplacedAgents(spec, count, _whole(spec, counts), tuple(answers[:SHOWN]), dict(sorted(counts.items())), node)


def _of_offers(spec: AgentSpec, offers: Offers, load: AgentLoad, hosts: Set[str], node: str | None) -> list[tuple[str, str, str]]:
    assert spec.model is not None
    answers = []
    mine = frozenset(spec.nodes) & hosts
    for offer in offers.of(spec.model):
        code = unfit_offer(offer, spec)
        if code is None and spec.near is Near.NODE and (offer.node not in mine if node is None else offer.node != node):
            code = "other_node"
        if code is None and is_full(offer.cards, load.agents):
            code = "agents_per_gpu"
        answers.append((offer.where, code or "taken", in_words(code or "taken", spec, offer.cards, load.agents)))
    return answers


def _of_cards(
    spec: AgentSpec, cards: Sequence[Card], load: AgentLoad, is_given: Callable[[Card], bool], node: str | None
) -> list[tuple[str, str, str]]:
    answers = []
    for card in cards:
        if node is not None and card.node != node:
            continue
        code = unfit_card(card, spec.requirement)
        if code is None and (card.facts is None or card.facts.uuid is None):
            code = "no_uuid"
        if code is None and is_full((card,), load.agents):
            code = "agents_per_gpu"
        if code is None and not is_given(card):
            code = "card_given"
        if code is None and not fits_alone(card, spec.requirement.vram or 0):
            code = "foreign_unknown" if card.is_closed else "vram_unknown" if card.usable is None else "insufficient_vram"
        answers.append((f"{card.node}/{card.index}", code or "taken", in_words(code or "taken", spec, (card,), load.agents)))
    return answers


def _whole(spec: AgentSpec, counts: Mapping[str, int]) -> str:
    if not counts:
        if spec.model is not None:
            return f"its model {spec.model} has no place, and no resident answers to that name"
        return "none of its nodes has a card that is known"
    if set(counts) == {"agents_per_gpu"}:
        return "every card that qualifies has as many agents as limits.max_agents_per_gpu allows"
    if set(counts) == {"other_node"}:
        return "its model is on no node where it may run, and it asks for `near: node`"
    return (
        "no card qualifies"
        if spec.needs_card and not counts.keys() & {"agents_per_gpu", "insufficient_vram", "card_given"}
        else "no card has room for it"
    )


def in_words(code: str, spec: AgentSpec, cards: Sequence[Card], agents: Mapping[Card, int]) -> str:
    """One reason with the numbers that matter."""
    required = spec.requirement
    match code:
        case "not_on_gpu":
            return "the model is not on a card there, and the agent requires one"
        case "card_too_small":
            largest = max((card.total for card in cards if card.total is not None), default=0)
            return f"its card has {format_bytes(largest)}, and {format_bytes(required.vram or 0)} are required"
        case "vram_unknown":
            return "the size of its card is not known"
        case "foreign_unknown":
            return "what other programs use of its card cannot be read, and policy.unknown_foreign is refuse"
        case "compute_capability":
            found = next((card.facts.compute_capability for card in cards if card.facts is not None), None)
            return f"compute capability {format_capability(found) if found else 'unknown'}, required {required.compute_capability}"
        case "compute_capability_unknown":
            return f"its compute capability is not known, required {required.compute_capability}"
        case "card_fault":
            return "its card is at fault"
        case "no_uuid":
            return "the UUID of its card is not known, so it cannot be given to a container: declare it under `gpus:`"
        case "agents_per_gpu":
            full = max(cards, key=lambda card: agents.get(card, 0))
            return f"card {full.index} has {agents.get(full, 0)} agents already (limits.max_agents_per_gpu)"
        case "card_given":
            return "its cluster gives a card to one pod, or to as many as it has shares, and those that are there have it"
        case "insufficient_vram":
            free = max((max(0, card.free) for card in cards), default=0)
            return f"{format_bytes(free)} free, {format_bytes(required.vram or 0)} required"
        case "other_node":
            return "it is on another node (near: node)"
        case _:
            return "it is taken by another agent of the same name"
