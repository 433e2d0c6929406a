"""History of facts: what was seen of every card and model at one time, or its mean over a span."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field

from reconciler.fleet.names import CardId
from reconciler.value_class import value_class

LOOK, FIVE_MINUTES, HOUR = 0, 300, 3600
"""Over how many seconds a frame is a mean; a look is of one moment."""
RECENT_WEIGHT = 0.3
"""What the newest latency weighs in the moving average; all before it weighs the rest."""

CardKey = tuple[str, CardId]
"""Node and card."""
ModelKey = str
"""The address of a replica, also of one that is not ours."""


@value_class
class Activity:
    """What an engine tells of the requests to one of its models, in counts since its start: `requests` answered and the `request_seconds`
    that they took as clients saw them, `tokens` written and the `token_seconds` of writing them, requests that `failed`. `running` and
    `waiting` are of now. None: it does not tell."""

    running: float | None = None
    waiting: float | None = None
    requests: float | None = None
    request_seconds: float | None = None
    tokens: float | None = None
    token_seconds: float | None = None
    failed: float | None = None


@value_class
class CardSample:
    """`used_bytes` is what the card tells, or what the plan counts where it does not. `utilisation` and `throttled` are shares 0..1 of
    time, `temperature` in °C, `power` in W."""

    used_bytes: int | None = None
    total_bytes: int | None = None
    utilisation: float | None = None
    temperature: float | None = None
    power: float | None = None
    throttled: float | None = None


@value_class
class ModelSample:
    """`resident` is a share 0..1 of time, `queue` the requests that wait. `latency` is the seconds of a request and `tokens_per_second` the
    speed of writing, both of what was done since the sample before. `failures` is a count: what failed since the sample before."""

    resident: float | None = None
    vram_bytes: int | None = None
    latency: float | None = None
    tokens_per_second: float | None = None
    queue: float | None = None
    failures: int = 0


@value_class
class Frame:
    """All samples of one look (`span` 0) at `at`, or their means over the `span` seconds that begin at `at` (seconds since 1970, UTC)."""

    at: int
    span: int = LOOK
    cards: Mapping[CardKey, CardSample] = field(default_factory=dict)
    models: Mapping[ModelKey, ModelSample] = field(default_factory=dict)


@value_class
class HistoryBounds:
    """How much history is kept: nothing older than `seconds`, never more than `size_bytes` of the state (0: none at all)."""

    seconds: float = 30 * 86400.0
    size_bytes: int = 256 * 2**20


def timeline(frames: Iterable[Frame]) -> Sequence[Frame]:
    """One line of frames, the oldest first, as fine as each time is known: looks, before them means of five minutes, then of hours."""
    every = sorted(frames, key=lambda one: (one.at, -one.span))
    begin = {span: min((one.at for one in every if one.span == span), default=None) for span in (LOOK, FIVE_MINUTES)}
    found = []
    for one in every:
        finer = [at for span, at in begin.items() if span < one.span and at is not None]
        if not finer or one.at + one.span <= min(finer):
            found.append(one)
    return found


def moving_average(before: float | None, now: float | None) -> float | None:
    """0.7 of what it was and 0.3 of what is new; what is unknown changes nothing."""
    if before is None or now is None:
        return before if now is None else now
    return (1 - RECENT_WEIGHT) * before + RECENT_WEIGHT * now
