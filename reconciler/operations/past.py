"""The history of facts as it is asked for: of the whole fleet, of one card, of one model. Asks no node and writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

from reconciler.fleet import FIVE_MINUTES, HOUR, LOOK, CardKey, Frame, GpurecError, ModelKey, parse_replica_address, timeline
from reconciler.state import Store
from reconciler.value_class import value_class

SPANS = (LOOK, FIVE_MINUTES, HOUR)


@value_class
class Past:
    """What is kept since a time (seconds since 1970), the oldest frame first."""

    since: int
    frames: Sequence[Frame]


def read_past(state: Store, seconds: float, *, card: str | None = None, model: str | None = None, now: float | None = None) -> Past:
    """The last `seconds` of the history, of one card (`NODE/GPU`) or model (an address) where that is given, else of all.

    Raises GpurecError for what is no card and no address, or of which nothing is kept in that time; StateError where it cannot be read.
    """
    began = int((datetime.now(UTC).timestamp() if now is None else now) - seconds)
    pick = _OfCard(card) if card is not None else _OfModel(model) if model is not None else None
    with closing(state.reader()) as reader:
        every = reader.frames(SPANS, began)
        frames = timeline(every if pick is None else filter(None, map(pick.of, every)))
    if pick is not None and not frames:
        hint = f"it knows {', '.join(sorted(pick.known)[:5])}" if pick.known else "gpurec watch and gpurec serve keep one"
        raise GpurecError.of(f"the history has nothing of {card or model} in that time", str(state), hint)
    return Past(began, frames)


class _OfCard:
    """Picks a card out of frames, one after the other: all of a month would not be held at once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.known: set[str] = set()

    def of(self, frame: Frame) -> Frame | None:
        self.known.update(map(card_name, frame.cards))
        found = {key: one for key, one in frame.cards.items() if card_name(key) == self._name}
        return replace(frame, cards=found, models={}) if found else None


class _OfModel:
    """The same for a model. Raises GpurecError for what is no address."""

    def __init__(self, address: ModelKey) -> None:
        try:
            parse_replica_address(address)
        except ValueError as error:
            raise GpurecError.of(str(error), "--model", "gpurec state list shows addresses") from None
        self._address = address
        self.known: set[str] = set()

    def of(self, frame: Frame) -> Frame | None:
        self.known.update(frame.models)
        one = frame.models.get(self._address)
        return replace(frame, cards={}, models={self._address: one}) if one is not None else None


def card_name(key: CardKey) -> str:
    """`NODE/GPU`."""
    return f"{key[0]}/{key[1]}"
