"""The history of facts as it is asked for: of the whole fleet, of one card, of one model. Asks no node and writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from reconciler.fleet import FIVE_MINUTES, HOUR, LOOK, CardKey, Frame, GpurecError, ModelKey, parse_replica_address, timeline
from reconciler.state import open_reader

SPANS = (LOOK, FIVE_MINUTES, HOUR)


@dataclass(frozen=True, slots=True)
class Past:
    """What is kept since a time (seconds since 1970), the oldest frame first."""

    since: int
    frames: Sequence[Frame]


def read_past(state: Path, seconds: float, *, card: str | None = None, model: str | None = None, now: float | None = None) -> Past:
    """The last `seconds` of the history, of one card (`NODE/GPU`) or model (an address) where that is given, else of all.

    Raises GpurecError for what is no card and no address, or of which nothing is kept in that time; StateError where it cannot be read.
    """
    began = int((datetime.now(UTC).timestamp() if now is None else now) - seconds)
    with closing(open_reader(state)) as reader:
        frames = timeline(reader.frames(SPANS, began))
    if card is not None:
        return Past(began, _of_card(frames, card, str(state)))
    return Past(began, _of_model(frames, model, str(state)) if model is not None else frames)


def _of_card(frames: Sequence[Frame], text: str, where: str) -> Sequence[Frame]:
    known = {key for frame in frames for key in frame.cards}
    key = next((one for one in known if card_name(one) == text), None)
    if key is None:
        raise _nothing(f"the card {text!r}", sorted(map(card_name, known)), where)
    return [replace(one, cards={key: one.cards[key]}, models={}) for one in frames if key in one.cards]


def _of_model(frames: Sequence[Frame], address: ModelKey, where: str) -> Sequence[Frame]:
    try:
        parse_replica_address(address)
    except ValueError as error:
        raise GpurecError.of(str(error), "--model", "gpurec state list shows addresses") from None
    known = {key for frame in frames for key in frame.models}
    if address not in known:
        raise _nothing(address, sorted(known), where)
    return [replace(one, cards={}, models={address: one.models[address]}) for one in frames if address in one.models]


def card_name(key: CardKey) -> str:
    """`NODE/GPU`."""
    return f"{key[0]}/{key[1]}"


def _nothing(what: str, known: Sequence[str], where: str) -> GpurecError:
    hint = f"it knows {', '.join(known[:5])}" if known else "gpurec watch and gpurec serve keep one"
    return GpurecError.of(f"the history has nothing of {what} in that time", where, hint)
