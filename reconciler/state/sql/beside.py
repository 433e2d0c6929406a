"""What others than a run write into a store: looks, agents that were allocated over HTTP, and tickets. One transaction each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from reconciler.fleet import AllocatedAgent, Frame, HistoryBounds, Ticket
from reconciler.state.sql.allocated import delete_agent, insert_agent, insert_ticket
from reconciler.state.sql.connection import Connection
from reconciler.state.sql.frames import write_looks

Found = TypeVar("Found")


class WrittenBeside(ABC):
    """Of a Store: what is written without the lease, while no run has it."""

    __slots__ = ()

    @abstractmethod
    def _beside(self, write: Callable[[Connection], Found], fleet: str, new_folder: bool) -> tuple[Found, str | None]:
        """Does `write` in one transaction; says where the state was set up for it. Raises LockHeld and StateError."""

    def keep_looks(self, looks: Sequence[Frame], *, fleet: str, bounds: HistoryBounds, new_folder: bool = False) -> str | None:
        return self._beside(lambda conn: write_looks(conn, looks, bounds), fleet, new_folder)[1]

    def allocate(self, agent: AllocatedAgent, *, fleet: str, command: str, new_folder: bool = False) -> AllocatedAgent | None:
        return self._beside(lambda conn: insert_agent(conn, agent, command), fleet, new_folder)[0]

    def release(self, name: str, *, fleet: str, command: str, new_folder: bool = False) -> bool:
        return self._beside(lambda conn: delete_agent(conn, name, command), fleet, new_folder)[0]

    def record_ticket(self, ticket: Ticket, *, fleet: str, new_folder: bool = False) -> bool:
        return self._beside(lambda conn: insert_ticket(conn, ticket), fleet, new_folder)[0]
