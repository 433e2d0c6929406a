"""Who would have to leave for an unplaced model, and what in the files lets them: lines, each tried."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import replace
from functools import partial

from reconciler.capacity import largest
from reconciler.fleet import Desired, ModelSpec, Unmanaged, format_bytes
from reconciler.placement.residents import Occupant
from reconciler.placement.result import Target
from reconciler.placement.trials import Line, Trials, setting

MOST_TRIED = 32
"""How many residents of a node are tried one by one for whether they must leave."""
MOST_NAMED = 3
MODELS_TRIED = 64
"""Of how many models it is tried whether one replica less of them makes room."""


def one_replica_less(model: ModelSpec, trials: Trials) -> list[Line]:
    """The first model, of those that matter least, of which one replica less makes room, whichever of them that is."""
    every: dict[str, list[Target]] = defaultdict(list)
    for one in trials.placement.targets:
        if one.model.priority >= model.priority and one.model.name != model.name and (one.model.replicas or 0) > 1:
            every[one.model.name].append(one)
    for name, some in sorted(every.items(), key=lambda entry: (entry[1][0].model.priority, entry[0]))[:MODELS_TRIED]:
        count = some[0].model.replicas or 0
        resident = all(one.found is not None for one in some)  # where the others of what is new would be then nobody knows
        if len(some) == count and resident and trials.each_helps(some):
            text = f"there is one replica less of {name}: `replicas: {count - 1}` under models.{name}"
            return [Line(text, setting(name, replicas=count - 1))]
    return []


def raised_priority(model: ModelSpec, trials: Trials) -> list[Line]:
    """The least priority with which what then matters less makes room."""
    equal = [one for one in trials.placement.targets if one.model.priority >= model.priority and one.model.name != model.name]
    others = [one for one in equal if one.slot.takes_orders and not one.stays]
    levels = sorted({one.model.priority for one in others}) if trials.gets_room else []
    least = bisect_left(levels, True, key=lambda level: bool(trials.helps([one for one in others if one.model.priority <= level])))
    for priority in levels[least : least + 1]:  # the more may leave, the more room there is
        going = trials.helps([one for one in others if one.model.priority <= priority])
        if going:
            who, most = _who_leaves(going, trials)
            text = f"it matters more than {most}, so that {who}: `priority: {priority + 1}` under models.{model.name}"
            return [Line(text, setting(model.name, priority=priority + 1))]
    return []


def _who_leaves(going: list[Target], trials: Trials) -> tuple[str, str]:
    """Who of one node leaves, as a clause: all those without whom it does not go, else whoever does; and the most important of them."""
    node = going[0].slot.id.node
    needed = [one for one in going[:MOST_TRIED] if not trials.helps([other for other in going if other is not one])]
    most = max(going, key=lambda one: (one.model.priority, one in needed, largest(one.charges) or 0, one.model.name)).model.name
    names = sorted({one.model.name for one in needed})
    if len(going) > MOST_TRIED or (not names and not trials.helps([one for one in going if one.model.name == most])):
        return f"some of the {len(going)} models on {node} leave", most
    if not names:
        return f"{most} or what else is on {node} leaves", most
    if not trials.helps(needed):
        names.append(f"some of what else is on {node}")
    shown = names if len(names) <= MOST_NAMED else [*names[: MOST_NAMED - 1], f"{len(names) - MOST_NAMED + 1} more"]
    *first, last = shown
    return (f"{', '.join(first)} and {last} leave" if first else f"{last} leaves"), most


def strangers_that_would_go(trials: Trials, unmanaged: Unmanaged) -> list[Line]:
    """What makes residents of others leave: `yield` those with a finite keep-alive, `unload` all."""
    strangers = [found for found in trials.placement.unwanted if found.model is None and found.owned is None]
    finite = [found for found in strangers if found.yields]
    lines = []
    before: list[Occupant] = []
    for may_go, policy in ((finite, Unmanaged.YIELD), (strangers, Unmanaged.UNLOAD)):
        if unmanaged in (policy, Unmanaged.UNLOAD):
            continue
        going = trials.helps(may_go)
        if going and going != before:
            held = sum(largest(found.charges) or 0 for found in going)
            ones, makes = ("1 unmanaged resident", "makes") if len(going) == 1 else (f"{len(going)} unmanaged residents", "make")
            text = f"{ones} ({format_bytes(held)}) {makes} room: `policy: {{unmanaged: {policy.value}}}`"
            lines.append(Line(text, partial(_with_unmanaged, policy)))
        before = going
    return lines


def protected_that_would_go(model: ModelSpec, trials: Trials) -> list[Line]:
    """What matters less and is protected."""
    spared = trials.helps([one for one in trials.placement.targets if one.model.priority < model.priority and one.protected])
    if not spared:
        return []
    return [Line(f"{len(spared)} protected replicas of lower priority may go, {spared[0].model.name} first: `protect: false` there")]


def _with_unmanaged(policy: Unmanaged, desired: Desired) -> Desired:
    return replace(desired, policy=replace(desired.policy, unmanaged=policy))
