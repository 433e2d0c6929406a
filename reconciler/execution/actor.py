"""What a kind of resource has to know to carry its steps out; how they are journalled, retried and told is the same for all kinds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from reconciler.fleet import GpurecError

Clock = Callable[[], float]
"""Seconds that only go forward."""
Sleep = Callable[[float], Awaitable[None]]


class Skip(Exception):
    """The step no longer fits the facts; nothing was sent. `code` and `message` as in the journal."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Actor(Protocol):
    """Carries out one step: look, act, wait. Each of the three may raise GpurecError for what failed; `look` raises Skip where the step no
    longer fits the facts."""

    async def look(self) -> bool:
        """Whether it is so already. Sends nothing."""
        ...

    def begin(self) -> None:
        """Right before the journal says that something is sent: what must be kept even if the run ends the next moment."""
        ...

    async def act(self) -> None:
        """Sends what changes it."""
        ...

    async def wait(self) -> None:
        """Returns once it is as asked."""
        ...

    async def close(self) -> None:
        """Ends what is still being sent. Called after each try, however it ended."""
        ...

    def keep(self) -> None:
        """Records what is there now, so that a crash right after loses nothing. Called after `look` said yes or `wait` returned."""
        ...

    async def failed(self, error: GpurecError) -> Failure:
        """Notes that it failed for good."""
        ...

    def pause(self, error: GpurecError, tries: int) -> float | None:
        """Seconds after which the step is tried again; None: it is not. `tries` counts those before this one."""
        ...

    def given_up(self, error: GpurecError) -> None:
        """It was to be tried again after `error`, and no longer fits."""
        ...


class Failure:
    """What the message of a failure gains (`more`), and whether what later plans assume was corrected by it."""

    __slots__ = ("corrected", "more")

    def __init__(self, more: str = "", corrected: bool = False) -> None:
        self.more, self.corrected = more, corrected


Progress = Callable[[str, int | None, int | None], None]
"""Hears how far something is: a word, and bytes done of bytes in all where they are known."""


def code_of(error: GpurecError) -> str:
    """The reason code of an error, for the journal."""
    code = getattr(error, "code", None)
    return code if isinstance(code, str) else "failed"
