"""What others than a run write into a store: looks, agents that were allocated over HTTP, and tickets. One transaction each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence, Set
from contextlib import closing
from typing import TypeVar

from reconciler.fleet import AllocatedAgent, Frame, GpurecError, HistoryBounds, LockHeld, Problem, StateError, Ticket, TicketKept, Tickets
from reconciler.state.protocol import StateReader
from reconciler.state.sql.allocated import delete_agent, insert_agent, insert_ticket
from reconciler.state.sql.connection import Connection
from reconciler.state.sql.fleet_name import OtherFleet
from reconciler.state.sql.frames import write_looks
from reconciler.state.sql.rescue import RescuePlace
from reconciler.state.sql.waiting_tickets import waiting_tickets

Found = TypeVar("Found")


class WrittenBeside(ABC):
    """Of a Store: what is written without the lease, while no run has it. Whatever is written takes the tickets in that wait."""

    __slots__ = ()

    @property
    @abstractmethod
    def rescues(self) -> RescuePlace: ...

    @abstractmethod
    def reader(self) -> StateReader: ...

    @abstractmethod
    def _beside(self, write: Callable[[Connection], Found], fleet: str, new_folder: bool) -> tuple[Found, str | None]:
        """Does `write` in one transaction; says where the state was set up for it. Raises LockHeld and StateError."""

    def keep_looks(self, looks: Sequence[Frame], *, fleet: str, bounds: HistoryBounds, new_folder: bool = False) -> str | None:
        if not looks and not waiting_tickets(self.rescues).read()[0]:
            return None
        return self._write(lambda conn, _: write_looks(conn, looks, bounds) if looks else None, fleet, new_folder)[1]

    def allocate(self, agent: AllocatedAgent, *, fleet: str, command: str, new_folder: bool = False) -> AllocatedAgent | None:
        return self._write(lambda conn, _: insert_agent(conn, agent, command), fleet, new_folder)[0]

    def release(self, name: str, *, fleet: str, command: str, new_folder: bool = False) -> bool:
        return self._write(lambda conn, _: delete_agent(conn, name, command), fleet, new_folder)[0]

    def record_ticket(self, ticket: Ticket, *, fleet: str, new_folder: bool = False) -> TicketKept:
        try:
            new = self._write(lambda conn, waiting: insert_ticket(conn, ticket, waiting), fleet, new_folder)[0]
        except OtherFleet:
            raise
        except (LockHeld, StateError):
            try:
                waiting_tickets(self.rescues).add(ticket)
            except (OSError, GpurecError):
                pass
            else:
                return TicketKept.WAITING
            raise
        return TicketKept.RECORDED if new else TicketKept.KNOWN

    def tickets(self) -> Tickets:
        waiting = waiting_tickets(self.rescues).every()  # first: what is taken in meanwhile is then found in the state
        with closing(self.reader()) as state:
            return state.tickets(waiting)

    def unreadable_tickets(self) -> Sequence[Problem]:
        return waiting_tickets(self.rescues).read()[1]

    def _write(self, write: Callable[[Connection, Set[str]], Found], fleet: str, new_folder: bool) -> tuple[Found, str | None]:
        """`write` is also given the ids of the tickets that wait, which are in the state by then."""
        waiting = waiting_tickets(self.rescues)
        tickets, _ = waiting.read()
        ids = frozenset(one.id for one in tickets)

        def all_of_it(conn: Connection) -> Found:
            for ticket in tickets:
                insert_ticket(conn, ticket, ids)
            return write(conn, ids)

        found = self._beside(all_of_it, fleet, new_folder)
        waiting.forget(tickets)
        return found
