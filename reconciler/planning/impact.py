"""What a plan costs those who use the fleet: how long each model is away, what moves, what is displaced, what is downloaded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from reconciler.fleet import EngineId, EngineKind, parse_replica_address
from reconciler.placement import Occupancy
from reconciler.planning.kinds.model.change import Change
from reconciler.planning.kinds.model.changing_places import CHANGES_PLACES
from reconciler.planning.plan import Action, Impact, Move

Spells = Sequence[float | None]
"""So many seconds each; None: nobody measured them."""
NO_SERVERS: Mapping[str, Spells] = MappingProxyType({})
_FOR_ANOTHER = frozenset({"displaced", "eviction"})


def impact_of(
    ordered: Sequence[Change], board: Occupancy, restarted: Mapping[EngineId, float | None], servers: Mapping[str, Spells] = NO_SERVERS
) -> Impact:
    """Seconds without each model, by what loads took before: of its reloads, with the start of an engine that is `restarted` for so many
    seconds, or of the server that it is away with (`servers`, by the address of its one model), and of the moves whose new place waits for
    the old one to be left; None where one of them was never measured, and where one of ours leaves for good. `download_bytes` are those of
    what is pulled, as large as another engine of the kind lists it; None where none does."""
    away: dict[str, list[float | None]] = defaultdict(list)
    sizes: dict[tuple[EngineKind, str], int | None] = {}
    pulled: list[int | None] = []
    moves: list[Move] = []
    for change in ordered:
        if change.action is Action.RELOAD and change.address not in servers:
            at = change.slot.id
            away[change.model].append(_total([change.seconds, restarted[at]]) if at in restarted else change.seconds)
        elif change.action is Action.PULL:
            what = change.slot.kind, change.base_name
            if what not in sizes:
                sizes[what] = _size(*what, board)
            pulled.append(sizes[what])
    for address, spells in servers.items():
        if spells:
            away[parse_replica_address(address)[0]].extend(spells)
    for unload, load in _pairs(ordered):
        if unload.reason.code != CHANGES_PLACES:
            moves.append(Move(unload.model, unload.address, load.address if load is not None else None, unload.by, unload.id))
        if load is None:
            if unload.reason.code == "displaced":
                away[unload.model].append(None)
        elif not any(needed.action is Action.LOAD and needed.model == unload.model for needed in unload.needs):
            away[unload.model].append(_until(load, unload))
    downtime = {model: _total(seconds) for model, seconds in sorted(away.items())}
    displaced = {change.address for change in ordered if change.action is Action.UNLOAD and change.reason.code in _FOR_ANOTHER}
    return Impact(downtime, _whole(pulled), tuple(sorted(displaced)), tuple(sorted(moves, key=lambda one: one.address)))


def _pairs(ordered: Sequence[Change]) -> Iterator[tuple[Change, Change | None]]:
    """Each unload with the load that brings its model back, at its own place or at another one; with None what leaves for another model
    and comes nowhere. What is only not wanted any more, or in fewer places, is no move."""
    unloads = [change for change in ordered if change.action is Action.UNLOAD]
    left = {unload.address for unload in unloads}
    back: dict[str, Change] = {}
    loads: dict[str, list[Change]] = defaultdict(list)
    for change in ordered:
        if change.action is Action.LOAD and change.address in left:
            back[change.address] = change
        elif change.action is Action.LOAD:
            loads[change.model].append(change)
    for unload in unloads:
        if unload.address in back:
            yield unload, back.pop(unload.address)
        elif loads.get(unload.model):
            yield unload, loads[unload.model].pop(0)
        elif unload.reason.code in _FOR_ANOTHER:
            yield unload, None


def _until(load: Change, unload: Change) -> float | None:
    """Seconds of a load, and of those for which its own place was left and which come before it."""
    between = [one for one in load.needs if one.action in (Action.LOAD, Action.RELOAD) and any(needed is unload for needed in one.needs)]
    return _total([one.seconds for one in (*between, load)])


def _size(kind: EngineKind, name: str, board: Occupancy) -> int | None:
    """Bytes of what a pull of `name` fetches, where nothing of it is there yet."""
    listed = (slot.installed(name) for slot in board if slot.kind is kind)
    return max((one.size_bytes for one in listed if one is not None and one.size_bytes), default=None)


def _total(seconds: Sequence[float | None]) -> float | None:
    known = [one for one in seconds if one is not None]
    return sum(known) if len(known) == len(seconds) else None


def _whole(sizes: Sequence[int | None]) -> int | None:
    known = [one for one in sizes if one is not None]
    return sum(known) if len(known) == len(sizes) else None
