"""Where each wanted replica goes.

Keep what is right where it is; then, in order of priority, place what is missing: where it still is after another replica of it was
displaced, else where it was last applied, else the strategy's best engine with room, else by a search over what may move or matters less,
else by making room on one engine. Of one priority the largest is asked for first, so names decide ties alone. Everything is reserved on one
board, so no two replicas are sent to the same free space. Deterministic: sorted, ties by name.
The strategy chooses among places, and never decides whether there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from itertools import groupby

from reconciler.capacity import Occupancy
from reconciler.fleet import Applied, Desired, Ensure, Solver, Strategy
from reconciler.placement.bound import Bound, bound_of
from reconciler.placement.exact import improve
from reconciler.placement.keep import is_parted, keep, leaves, let_yield, load_anew_together, release_leaving
from reconciler.placement.mip import SolverBudget, require_highs
from reconciler.placement.missing import groups_of, make_way, place_missing, place_present
from reconciler.placement.objective import Objective, objective_of
from reconciler.placement.parting import part
from reconciler.placement.rearrange import bring_back, rearrange
from reconciler.placement.residents import Occupant, charge_found
from reconciler.placement.result import Placement, Proof
from reconciler.placement.search_state import NOTHING_HELD, HeldReplicas, Placing

EXACT_WORK, EXACT_SECONDS = 12_000_000, 300.0
"""What the exact solver may spend on one plan (`mip.Budget`): some 10 s of one core, and far more time than that."""
ROUNDS = 8
"""How often what has no place is asked for again since others got or changed theirs; four are enough in all cases seen."""
RETURNS = 2
"""How often what moved is brought back, and what has no place is asked for again since that left room."""


def place(
    board: Occupancy,
    desired: Desired,
    applied: Applied,
    held: HeldReplicas = NOTHING_HELD,
    finish: Callable[[Placing], None] | None = None,
    brief: bool = False,
) -> Placement:
    """The place of every wanted replica on a fresh board (as `set_up` gives it); the board is charged with the result. `finish` may change
    what was found, before residents that wait for a place of their own are let stay. `brief`: no search takes long."""
    placing = Placing(board, desired, applied, held, brief)
    every = charge_found(board, desired, applied, placing.names, placing.rows_at)
    for found in every:
        for model in (found.model, *found.also):
            if model is not None:
                placing.found_of[model.name].append(found)
    for model in placing.models:
        if model.each is not None:
            placing.groups_of[model.name] = groups_of(placing, model)
    for model in placing.company.mates_first(placing.models):
        if model.ensure is Ensure.LOADED:
            keep(placing, model, of_others=False)
    release_leaving(placing, every)
    without_room = placing.without_room_here()
    for model in placing.models:
        if model.name in without_room:
            keep(placing, model, of_others=False)
    load_anew_together(placing)
    let_yield(placing, every)
    _place_until_settled(placing, every)
    placing.settled = True
    if placing.company.mates and release_leaving(placing, every):
        _place_until_settled(placing, every)
    for _ in range(RETURNS):
        if not bring_back(placing):
            break
        _place_until_settled(placing, every)  # where that was is room now
    if finish is not None:
        finish(placing)
        release_leaving(placing, every)
        without_room = placing.without_room_here()
        for model in placing.models:
            if model.name in without_room:
                keep(placing, model)
    _stay_until_placed(placing, every)
    kept = {target.found for targets in placing.at.values() for target in targets.values() if target.found is not None}
    placing.result.unwanted = [found for found in every if found not in kept]
    placing.result.sharing = placing.may_share
    placing.result.unsearched = any(
        entry.model.ensure is Ensure.LOADED and (not placing.is_searched(entry.model) or entry.model.name in placing.company.involved)
        for entry in placing.result.lacking
    )
    placing.result.targets = [target for model in placing.models for target in placing.at[model.name].values()]
    return placing.result


def _place_by_priority(placing: Placing, names: Set[str]) -> None:
    """Gives these models their places, the most important first: where nobody has to leave, then by a search over all that may move, then
    by making room on one engine. What was displaced is asked for again in its turn."""
    for _, equal in groupby(placing.models, key=lambda model: model.priority):
        level = [*equal]
        asked = [model for model in level if model.name in names or model.name in placing.moved]
        for model in asked:
            if model.name in placing.moved:
                keep(placing, model)
        for model in asked:
            if model.ensure is Ensure.PRESENT:
                place_present(placing, model)
            else:
                place_missing(placing, model)
        rearrange(placing, level)
        for model in level:
            make_way(placing, model)


def place_most(boards: Callable[[], Occupancy], desired: Desired, applied: Applied, held: HeldReplicas = NOTHING_HELD) -> Placement:
    """As `place`, on a fresh board that `boards` makes. Where that leaves out what no search is made for (`is_searched`), all is placed
    by best fit on another board as well: that is taken where it leaves less out, by priority, or as little and disturbs less. Where the
    files ask for the exact solver, that goes on from there.

    SolverMissing: the exact solver is asked for, needed, and not installed."""

    def worth(placement: Placement) -> Objective:
        return objective_of(placement, desired, applied)

    best = place(boards(), desired, applied, held)
    by = desired
    if desired.strategy is not Strategy.BINPACK and best.unsearched:
        packing = replace(desired, strategy=Strategy.BINPACK)
        tight = place(boards(), packing, applied, held)
        if worth(tight).key < worth(best).key:
            best, by = tight, packing
    if desired.solver is Solver.EXACT:
        require_highs()
        best = _exact(best, lambda finish: place(boards(), by, applied, held, finish), worth, bound_of(best, desired, applied, worth(best)))
    best.again = lambda wishes, brief: place(boards(), replace(wishes, strategy=by.strategy), applied, held, brief=brief)
    return best


def _exact(
    best: Placement, again: Callable[[Callable[[Placing], None]], Placement], worth: Callable[[Placement], Objective], bound: Bound
) -> Placement:
    """What the exact solver makes of the best placement so far, which `again` makes anew; that one where it is no better."""
    if bound.proves(worth(best)):
        return best
    proofs: list[Proof] = []
    found = again(lambda placing: proofs.append(improve(placing, SolverBudget(EXACT_WORK, EXACT_SECONDS))))
    if worth(found).key < worth(best).key:
        best = found
    best.proof = proofs[0]
    return best


def _place_until_settled(placing: Placing, every: Sequence[Occupant]) -> None:
    """Gives all their places, and asks again for what has none as long as anything else got or changed its own since: a plan that left
    something out which the next one places, in the very fleet that it made, would not be the last word."""
    asked = {model.name for model in placing.models}
    for _ in range(ROUNDS):
        placing.result.lacking = [entry for entry in placing.result.lacking if entry.model.name not in asked]
        before = placing.version
        placing.begin_round()
        _place_by_priority(placing, asked)
        part(placing)
        release_leaving(placing, every)
        lacking = {entry.model.name for entry in placing.result.lacking if entry.model.ensure is Ensure.LOADED}
        asked = lacking | placing.moved
        if not asked or (placing.version == before and placing.as_there):
            return
        placing.as_there = placing.as_there or placing.version == before


def _stay_until_placed(placing: Placing, every: Sequence[Occupant]) -> None:
    """What is wanted elsewhere, and has no place there or none that can be asked now, stays as long as nobody else was given its room, nor
    another resident its very place, and it may be with all that are on its card then. So does what was to leave for places that its model
    has no more."""
    lacking = {lacking.model.name for lacking in placing.result.lacking}
    lacking |= {name for name, targets in placing.at.items() if any(placing.is_hoped_for(target) for target in targets.values())}
    stuck = {found: found.model for found in every if found.model is not None and found in placing.result.released}
    moving = {found: found.moving for found in every if found.moving is not None and found.moving.name in lacking}
    turn = {model.name: number for number, model in enumerate(placing.company.mates_first(placing.models))}
    for found, model in sorted((stuck | moving).items(), key=lambda pair: (turn[pair[1].name], pair[0].slot.id)):
        if found.slot in placing.at[model.name] or is_parted(placing, model, found):
            continue
        if found not in moving and leaves(placing, found):
            continue
        placing.result.spared.discard(found)
        if found not in placing.result.released or placing.come_back(found):
            placing.staying[model.name].append(found)
