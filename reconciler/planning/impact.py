"""What a plan costs those who use the fleet: how long each model is away, what is downloaded, who is evicted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from reconciler.fleet import EngineKind
from reconciler.placement import Occupancy
from reconciler.planning.kinds.model.changes import Change
from reconciler.planning.plan import Action, Impact


def impact_of(ordered: Sequence[Change], board: Occupancy, evictions: Sequence[str]) -> Impact:
    """Seconds without each model, by what loads took before: of its reloads, and of the moves whose new place waits for the old one to be
    left; None where one of them was never measured. `download_bytes` are those of what is pulled, as large as another engine of the kind
    lists it; None where none does."""
    away: dict[str, list[float | None]] = defaultdict(list)
    sizes: dict[tuple[EngineKind, str], int | None] = {}
    pulled: list[int | None] = []
    for change in ordered:
        if change.action is Action.RELOAD:
            away[change.model].append(change.seconds)
        elif change.action is Action.PULL and change.reason.code != "make_tag":
            what = change.slot.kind, change.base_name
            if what not in sizes:
                sizes[what] = _size(*what, board)
            pulled.append(sizes[what])
    for model, seconds in _moves(ordered):
        away[model].append(seconds)
    downtime = {model: _total(seconds) for model, seconds in sorted(away.items())}
    return Impact(downtime, _whole(pulled), tuple(sorted(evictions)))


def _moves(ordered: Sequence[Change]) -> Iterator[tuple[str, float | None]]:
    """Models that leave a place without waiting for their load (at another place, or in another order), with the seconds until then."""
    loads: dict[str, list[Change]] = defaultdict(list)
    for change in ordered:
        if change.action is Action.LOAD:
            loads[change.model].append(change)
    for change in ordered:
        left = loads.get(change.model) if change.action is Action.UNLOAD else None
        if left and not any(needed.action is Action.LOAD and needed.model == change.model for needed in change.needs):
            yield change.model, _until(left.pop(0), change)


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
