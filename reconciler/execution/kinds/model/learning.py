"""What the loads of a run teach about needs: the engine's report at its end, and what cards lost where only one load can be the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from reconciler.capacity.seen import taken_between
from reconciler.execution.lookup import find_installed, find_resident, is_there
from reconciler.execution.outcome import StepResult
from reconciler.fleet import Applied, CardFacts, Desired, Fleet, FleetFacts, Resident
from reconciler.placement import set_up
from reconciler.planning import Action, ModelStep, Plan, model_steps
from reconciler.state import Learned, StepStatus
from reconciler.vram import SeenLoad, learned

LookAtCards = Callable[[Collection[str]], Awaitable[Mapping[str, Sequence[CardFacts]]]]
"""The cards of these nodes as they are now; a node whose cards cannot be seen is left out."""
_MOVES = frozenset({Action.LOAD, Action.RELOAD, Action.UNLOAD})


def learned_needs(
    plan: Plan,
    fleet: Fleet,
    desired: Desired,
    before: FleetFacts,
    after: FleetFacts,
    cards: Mapping[str, Sequence[CardFacts]],
    applied: Callable[[], Applied],
    results: Mapping[str, StepResult],
) -> Iterator[Learned]:
    """What every load that this run did teaches, each under all that it depends on; nothing of a load that contradicts itself.

    `after` has the touched engines as they are at the end of the run, `cards` those of their nodes that could be looked at then.
    """
    done = [step for step in model_steps(plan.steps) if step.action in (Action.LOAD, Action.RELOAD) and _was_done(results.get(step.id))]
    if not done:
        return
    names = {step.node for step in done}
    some = Fleet(fleet.name, {name: fleet.nodes[name] for name in sorted(names) if name in fleet.nodes})
    board = set_up(some, FleetFacts(after.at, {name: node for name, node in after.nodes.items() if name in names}), desired.limits)
    moves = Counter((step.node, card) for step in model_steps(plan.steps) if step.action in _MOVES for card in step.cards)
    rows = applied()
    models = {model.name: model for model in desired.models}
    for step in done:
        slot = board.slots.get(step.at)
        engine = after.engine(step.at)
        wanted = models.get(step.model)
        model = wanted.called(slot.kind, step.engine_name, wanted.context) if wanted is not None and slot is not None else None
        if slot is None or engine is None or model is None:
            continue
        resident, file = find_resident(engine, step.engine_name), find_installed(engine, step.engine_name)
        key = slot.knowledge.key(slot, model, rows)
        if key is None or resident is None or not is_there(resident) or not _whole(resident):
            continue
        if resident.context is not None and key.context is not None:
            key = replace(key, context=resident.context)
        alone = step.action is Action.LOAD and all(moves[step.node, card] == 1 for card in step.cards)
        card, own = _lost(step, before, cards) if alone else (None, False)
        reported = None if slot.knowledge.report_falls_short(slot, model, rows) else resident.vram_bytes
        found = learned(SeenLoad(reported, card, file.size_bytes if file is not None else None, own))
        if found is not None:
            yield Learned(key, found)


def _whole(resident: Resident) -> bool:
    """Not known to be on cards only in part, or not at all: a part is no measure of the need."""
    return resident.gpu_fraction is None or resident.gpu_fraction >= 1.0


def _was_done(result: StepResult | None) -> bool:
    return result is not None and result.status is StepStatus.DONE


def _lost(step: ModelStep, before: FleetFacts, after: Mapping[str, Sequence[CardFacts]]) -> tuple[int | None, bool]:
    """What the step's cards lost from before to after: of the engine's own processes where both looks show them, else altogether."""
    seen = before.nodes.get(step.node)
    old = {card.index: card for card in (seen.cards if seen is not None else None) or ()}
    new = {card.index: card for card in after.get(step.node, ())}
    pairs = [(old[card], new[card]) for card in step.cards if card in old and card in new]
    if not pairs or len(pairs) < len(step.cards):
        return None, False
    return taken_between(pairs, step.engine)
