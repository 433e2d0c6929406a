"""What can be asked of a daemon that runs containers. One maker a kind of daemon; each call is bounded in time and in size."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from reconciler.engines.protocol import PullProgress
from reconciler.fleet import (
    ContainerFacts,
    ContainerFile,
    ContainersLookedFor,
    ContainerSpec,
    GpurecError,
    NodeContainers,
    Problem,
    WatchedEnv,
)

LAST_LINES = 20
"""Lines of a log that a message holds."""


class ContainerError(GpurecError):
    """A daemon could not be asked, or said no. `code` is a word such as `unreachable`, `no_such_image`, `name_taken`, `port_taken`,
    `card_unavailable`, `start_failed`, `no_such_container`, `daemon_error`; `log` are the last lines that the container wrote."""

    def __init__(self, problem: Problem, code: str, log: Sequence[str] = ()) -> None:
        super().__init__(problem)
        self.code = code
        self.log = tuple(log)


class ContainerHost(Protocol):
    """A daemon of one node. Everything but `observe` raises ContainerError. A container is named by its id, never by its name alone: a name
    may have gone to another since it was seen."""

    @property
    def shown(self) -> str:
        """What errors name: the node, and how its daemon is reached."""
        ...

    async def observe(self, wanted: ContainersLookedFor) -> NodeContainers:
        """All containers of the fleet with their declared fields, and of others those that have a name or a port that is asked about.
        Never raises: a daemon that is away, or talks nonsense, makes them unknown, with the reason."""
        ...

    async def inspect(self, container: str, watched: WatchedEnv, fleet: str) -> ContainerFacts | None:
        """One container by its id; None where there is none."""
        ...

    async def has_image(self, image: str) -> bool:
        """Whether an image is there, so that a container can be made of it without a registry."""
        ...

    def pull(self, image: str) -> AsyncIterator[PullProgress]:
        """Fetches an image (a tag, or a digest) with the login that is declared for its registry; ends when it is there, raises when it
        failed, also inside a 200 stream. Bounded by a stall, not by its length."""
        ...

    async def create(self, spec: ContainerSpec, name: str | None = None) -> str:
        """Makes a container, under `name` for a while where that is another than its own, with its files in it, and does not start it.
        Secrets are read now. Returns its id; where anything fails nothing is left behind."""
        ...

    async def start(self, container: str) -> None:
        """Starts it; one that runs already is left alone. A card, port or program that cannot be had fails here, not at `create`, with the
        last lines of its log; it is then there, and does not run."""
        ...

    async def stop(self, container: str, grace: float | None = None) -> None:
        """Stops it, killing it after `grace` seconds (None: what it was made with, else the daemon's 10). One that does not run, or is
        gone, is as asked."""
        ...

    async def remove(self, container: str) -> None:
        """Kills and removes it, with its anonymous volumes; named ones stay. One that is gone is as asked."""
        ...

    async def rename(self, container: str, name: str) -> None:
        """Gives it another name. `name_taken` where somebody has that."""
        ...

    async def copy_in(self, container: str, files: Sequence[ContainerFile]) -> None:
        """Puts files into it, running or not; their folders are made."""
        ...

    async def logs(self, container: str, lines: int = LAST_LINES) -> tuple[str, ...]:
        """The last lines it wrote, on stdout and stderr, each safe to show; () where the daemon keeps none."""
        ...

    async def changed(self, container: str, within: float) -> None:
        """Returns once the container started, ended, changed its health or was removed, and after `within` seconds in any case; look again
        then. What happened before this call is not told."""
        ...

    async def aclose(self) -> None:
        """Ends all connections, and what was started for them."""
        ...
