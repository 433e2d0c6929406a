"""The least bytes that any placement of a small instance leaves out, by trying all of them. It shares no sums with the program."""

from __future__ import annotations

from planted.instance import Instance, card_of
from planted.judge import allowed, beside, foes_of, residents_of
from reconciler.fleet import EngineId, EngineKind, ModelSpec

MOST_TRIED = 200_000
"""How many partial placements are tried before it is given up."""


def least_left_out(of: Instance) -> tuple[int, ...] | None:
    """Bytes without a place in the best placement, by priority, the highest first: no high priority pays for a low one. What nobody here
    asked for, and what is protected, stays where it is. None where there are too many placements to try all."""
    models = {model.name: model for model in of.desired.models}
    free = {
        (node.node, int(card.index)): (card.total_bytes or 0) - (card.foreign_bytes or 0)
        for node in of.facts.nodes.values()
        for card in node.cards or ()
    }
    for at, share in of.cards.shares.items():
        free[card_of(at)] -= int(share * of.cards.nodes[at.node][card_of(at)[1]])
    for agent in of.cards.agents:
        if agent.now is not None:
            free[agent.now] -= agent.size
    foes, mates = foes_of(of), {model.name: model.with_models for model in of.desired.models}
    engines = [spec.id for node in of.fleet.nodes.values() for spec in node.engines if spec.kind is not EngineKind.VLLM]
    own = {at: of.cards.limits.get(at, 10**15) for at in engines}
    places = {at: of.cards.most.get(at, 10**6) for at in engines}
    here: dict[str, set[EngineId]] = {name: set() for name in models}

    def change(name: str, at: EngineId, by: int) -> None:
        for card, count in of.takes(name, at).items():
            free[card] -= by * count
        own[at] -= by * of.sizes[name]
        places[at] -= by

    owned = {(row.model, row.at) for row in of.applied.replicas.values()}
    for at, names in residents_of(of).items():
        for name in names:
            if name in of.sizes and (models[name].protect if name in models else (name, at) not in owned):
                change(name, at, 1)
                if name in models:
                    here[name].add(at)
    wanted = sorted((model for model in models.values()), key=lambda model: (-model.priority, -of.sizes[model.name], model.name))
    replicas = [model for model in wanted for _ in range((model.replicas or 0) - len(here[model.name]))]
    levels = sorted({model.priority for model in wanted}, reverse=True)
    left = [0] * len(levels)
    best: list[tuple[int, ...] | None] = [None]
    tried = 0

    def on(name: str) -> set[tuple[str, int]]:
        return {card for at in here[name] for card in of.cards.of(at)}

    def may_take(model: ModelSpec, at: EngineId, size: int) -> bool:
        room = all(free[card] >= count for card, count in of.takes(model.name, at).items()) and own[at] >= size and places[at] > 0
        if not room or at in here[model.name] or not allowed(of, model, at) or beside(of, model, at, frozenset(here[model.name])):
            return False
        return all(on(foe).isdisjoint(of.cards.of(at)) for foe in foes[model.name])

    def all_with_their_mates() -> bool:
        return all(on(name) <= on(mate) for name, some in mates.items() for mate in some)

    def down(number: int, first: int) -> None:
        nonlocal tried
        tried += 1
        if tried > MOST_TRIED or (best[0] is not None and tuple(left) >= best[0]):
            return
        if number == len(replicas):
            best[0] = tuple(left) if all_with_their_mates() else best[0]
            return
        model = replicas[number]
        size, alike = of.sizes[model.name], number + 1 < len(replicas) and replicas[number + 1] is model
        for index in range(first, len(engines)):
            at = engines[index]
            if may_take(model, at, size):
                change(model.name, at, 1)
                here[model.name].add(at)
                down(number + 1, index + 1 if alike else 0)
                here[model.name].remove(at)
                change(model.name, at, -1)
        level = levels.index(model.priority)
        left[level] += size
        down(number + 1, len(engines) if alike else 0)
        left[level] -= size

    down(0, 0)
    return None if tried > MOST_TRIED else best[0]
