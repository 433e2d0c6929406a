"""Frames of history as bytes, their means, and which of them are kept: the same for every store.

A frame is one row whatever the fleet: written once, at the end of its table, and read whole.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TypeVar

import msgspec

from reconciler.fleet import FIVE_MINUTES, HOUR, LOOK, CardSample, Frame, HistoryBounds, ModelSample
from reconciler.state.not_as_written import NotAsWritten
from reconciler.state.renames import address_now
from reconciler.value_class import value_class

FULL_RATE = 100
"""So many looks are kept one by one."""
FIVE_MINUTE_MEANS = 2 * 86400 // FIVE_MINUTES
"""Two days of them; before that an hour is one mean."""
FUTURE = 300
"""Seconds by which a frame may be ahead of the clock; one that is more was made by a clock that was wrong."""
MOST_BYTES = 64 * 2**20
"""Of a frame that is read at all, unpacked."""
Sample = TypeVar("Sample")
Key = TypeVar("Key")


_Card = tuple[str, int | str, int | None, int | None, float | None, float | None, float | None, float | None]
"""Node, card, and the fields of its sample in their order."""
_Model = tuple[str, float | None, int | None, float | None, float | None, float | None, int]
"""Address, and the fields of its sample."""


class _Packed(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    cards: list[_Card]
    models: list[_Model]


_ENCODER, _DECODER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(_Packed)


def pack(frame: Frame) -> bytes:
    """The samples of a frame, without its time and span."""
    cards: list[_Card] = []
    for (node, card), one in frame.cards.items():
        shares = (_short(one.utilisation), _short(one.temperature), _short(one.power), _short(one.throttled))
        cards.append((node, card, one.used_bytes, one.total_bytes, *shares))
    models: list[_Model] = [
        (at, _short(one.resident), one.vram_bytes, _short(one.latency), _short(one.tokens_per_second), _short(one.queue), one.failures)
        for at, one in frame.models.items()
    ]
    return zlib.compress(_ENCODER.encode(_Packed(cards, models)), 1)


def unpack(at: int, span: int, body: bytes) -> Frame:
    """The frame of a row. Raises NotAsWritten for what `pack` did not write."""
    unzipped = zlib.decompressobj()
    try:
        packed = _DECODER.decode(unzipped.decompress(body, MOST_BYTES))
    except (zlib.error, msgspec.MsgspecError):
        raise NotAsWritten("is no frame of history") from None
    if not unzipped.eof:
        raise NotAsWritten("is no frame of history: it is cut, or larger than any is")
    cards = {(row[0], row[1]): CardSample(*row[2:]) for row in packed.cards}
    return Frame(at, span, cards, {row[0]: ModelSample(*row[1:]) for row in packed.models})


def _short(value: float | None) -> float | int | None:
    """Six digits: a whole one is a byte or two instead of nine."""
    if value is None:
        return None
    short = float(f"{value:.6g}")
    return int(short) if short.is_integer() and abs(short) < 2**53 else short


def renamed(frame: Frame, old: str, new: str) -> Frame:
    """The same after a node got another name."""
    cards = {(new if node == old else node, card): one for (node, card), one in frame.cards.items()}
    return replace(frame, cards=cards, models={address_now(at, {old: new}): one for at, one in frame.models.items()})


def mean(at: int, span: int, frames: Sequence[Frame]) -> Frame:
    """What is known of each card and model on an average; what failed is counted together."""
    cards = {key: _card(found) for key, found in _by_key([one.cards for one in frames]).items()}
    return Frame(at, span, cards, {key: _model(found) for key, found in _by_key([one.models for one in frames]).items()})


def _by_key(parts: Iterable[Mapping[Key, Sample]]) -> dict[Key, list[Sample]]:
    seen: dict[Key, list[Sample]] = {}
    for part in parts:
        for key, one in part.items():
            seen.setdefault(key, []).append(one)
    return seen


def _card(found: Sequence[CardSample]) -> CardSample:
    if len(found) == 1:
        return found[0]
    return CardSample(
        _whole([one.used_bytes for one in found]),
        _whole([one.total_bytes for one in found]),
        _mean([one.utilisation for one in found]),
        _mean([one.temperature for one in found]),
        _mean([one.power for one in found]),
        _mean([one.throttled for one in found]),
    )


def _model(found: Sequence[ModelSample]) -> ModelSample:
    if len(found) == 1:
        return found[0]
    return ModelSample(
        _mean([one.resident for one in found]),
        _whole([one.vram_bytes for one in found]),
        _mean([one.latency for one in found]),
        _mean([one.tokens_per_second for one in found]),
        _mean([one.queue for one in found]),
        sum(one.failures for one in found),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _whole(values: Sequence[int | None]) -> int | None:
    middle = _mean(values)
    return None if middle is None else round(middle)


@value_class
class StoredFrame:
    """What is there of a frame before it is read: its span, its time and the bytes that it takes."""

    span: int
    at: int
    size: int


Load = Callable[[Collection[tuple[int, int]]], Sequence[Frame]]
"""Reads frames by span and time."""


@value_class
class HistoryChange:
    """What a store is to write and to forget (by span and time)."""

    new: tuple[Frame, ...]
    gone: tuple[tuple[int, int], ...]


def change_of(looks: Sequence[Frame], there: Collection[StoredFrame], load: Load, bounds: HistoryBounds) -> HistoryChange:
    """What becomes of a history when `looks`, the oldest first, come to it: means of what is complete, and an end of what is old.

    A look that is not later than the last one comes before it, or to what another loop saw of other nodes at the same second. Frames of the
    future are of a clock that was wrong, and go, unless they are the most: then the clock of now may be (a machine that starts in the year
    2000 until it hears the time), and they are left alone.
    """
    now = max((one.at for one in looks), default=0)
    last = max((one.at + one.span for one in there if one.at <= now + FUTURE), default=now)
    ahead = {(one.span, one.at) for one in there if one.at > now + FUTURE}
    known = {(one.span, one.at) for one in there} - ahead
    wrong = ahead if len(ahead) <= len(known) + len(looks) else frozenset[tuple[int, int]]()
    frames: dict[tuple[int, int], Frame] = {}
    for one in looks:
        key = one.span, one.at
        there_already = frames.get(key) or (load([key])[0] if key in known else None)
        frames[key] = one if there_already is None else _laid_over(there_already, one)
    for span, parts in ((FIVE_MINUTES, LOOK), (HOUR, FIVE_MINUTES)):
        whole = _complete({at for s, at in known | frames.keys() if s == parts}, {at for s, at in known if s == span}, span, now)
        for at, inside in whole.items():
            found = [frames.get((parts, one)) or load([(parts, one)])[0] for one in inside]
            frames[span, at] = mean(at, span, found)
    sizes = {(one.span, one.at): one.size for one in there if (one.span, one.at) in known}
    old = min(now, last) - bounds.seconds  # a clock that jumps ahead once ends nothing
    left = bounds.size_bytes - sum(one.size for one in there if (one.span, one.at) in ahead - wrong)
    gone = (wrong | _too_many({*known, *frames}, sizes, old, left)) - {(LOOK, one.at) for one in looks}
    return HistoryChange(
        tuple(one for key, one in frames.items() if key not in gone), tuple(sorted(gone & {(one.span, one.at) for one in there}))
    )


def _laid_over(before: Frame, one: Frame) -> Frame:
    return replace(one, cards={**before.cards, **one.cards}, models={**before.models, **one.models})


def _complete(parts: Collection[int], means: Collection[int], span: int, now: int) -> dict[int, list[int]]:
    """The spans that are over and have no mean yet, with the times of what is in them. None before the last that has one."""
    since = max(means, default=-1)
    inside = [at for at in sorted(parts) if at - at % span > since and at - at % span + span <= now]
    return {at: list(group) for at, group in groupby(inside, lambda one: one - one % span)}


def _too_many(keys: Collection[tuple[int, int]], sizes: Mapping[tuple[int, int], int], old: float, most: int) -> set[tuple[int, int]]:
    """Of each span the newest are kept: so many of it, none that is too old, and all of them within their size, looks first."""
    gone, taken = set(), 0
    folded = max((at + FIVE_MINUTES for span, at in keys if span == FIVE_MINUTES), default=0)
    for span, count in ((LOOK, FULL_RATE), (FIVE_MINUTES, FIVE_MINUTE_MEANS), (HOUR, None)):
        for place, at in enumerate(sorted((at for s, at in keys if s == span), reverse=True)):
            taken += sizes.get((span, at), 0)
            late = count is not None and place >= count and not (span == LOOK and at >= folded)
            if late or at < old or taken > most:
                gone.add((span, at))
    return gone
