"""What the loop tells as it goes on, as values: a log and a page are readers of this one stream."""

from __future__ import annotations

from typing import TypeAlias

from reconciler.fleet import GpurecError
from reconciler.operations.reporter import OperationEvent
from reconciler.service.conditions import Condition
from reconciler.state import Shard
from reconciler.value_class import value_class


@value_class
class Started:
    """The loop begins. `applies`: it carries plans out, and does not only look. `shard`: it looks at that part of the fleet."""

    fleet: str
    applies: bool
    interval: float
    shard: Shard | None = None


@value_class
class Listening:
    """A service answers at this url from now on."""

    url: str


@value_class
class Told:
    """A condition that holds since now, or has changed."""

    condition: Condition


@value_class
class Over:
    """A condition that was told and does not hold any more."""

    condition: Condition


@value_class
class Looked:
    """A look is over, with all that it led to. `as_wanted` replicas and other resources needed nothing, `holding` conditions hold, `steps`
    were carried out."""

    as_wanted: int
    holding: int
    steps: int
    seconds: float


@value_class
class TurnFailed:
    """A look, or what it led to, ended with this error; the next look is made all the same."""

    error: Exception


@value_class
class Reloaded:
    """The files were read again. `error`: they are wrong, and what was read before still counts."""

    error: GpurecError | None = None


@value_class
class AlertLost:
    """An alert was given up; `webhook` says for whom, without its url, and `why` in one sentence. `again`: so was the one before it, for
    the same reason."""

    webhook: str
    why: str
    again: bool = False


@value_class
class WatchEnded:
    """The loop was asked to end, and has."""


WatchEvent: TypeAlias = "Started | Listening | Told | Over | Looked | TurnFailed | Reloaded | AlertLost | WatchEnded | OperationEvent"
