"""What a store is to the rest of the program, wherever it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from reconciler.fleet import AllocatedAgent, Frame, HistoryBounds, Problem, StateError, Ticket, TicketKept, Tickets
from reconciler.state.finding import StateFinding
from reconciler.state.lease import Lock, lock_held
from reconciler.state.protocol import StateReader
from reconciler.state.shards import ShardBoard
from reconciler.state.sql.rescue import RescuePlace, RescueWriter


class Store(Protocol):
    """Where the state of a fleet is kept. Opened anew for each use; its text is what people call it, without a secret."""

    @property
    def file(self) -> Path | None:
        """The file of a state that is one, for what only such a state can: copies, and who else may write it. None for a database."""
        ...

    @property
    def fleet(self) -> str:
        """The fleet that the place is named for."""
        ...

    @property
    def rescues(self) -> RescuePlace:
        """Where lies what a run could not write to it."""
        ...

    def exists(self) -> bool:
        """False where the first apply sets it up."""
        ...

    def check_fleet(self, fleet: str | None, inventory: str | None = None) -> None:
        """Raises OtherFleet where it is of another fleet than `fleet` (None: any); `inventory` is what alone gave the fleet its name: one
        of another name is refused. What else is wrong with it is found by whoever opens it."""
        ...

    def check_place(self) -> None:
        """Raises StateError where it can only be set up when somebody says that this place is meant."""
        ...

    def reader(self) -> StateReader:
        """Raises StateError where it cannot be read; one that is not there yet reads as empty."""
        ...

    def writer(
        self, *, command: str, fleet: str | None = None, new_folder: bool = False, lock_timeout: float = 0
    ) -> AbstractContextManager[RescueWriter]:
        """Under the lease, which it takes and gives back. Raises LockHeld; StateError where it cannot be written or is of another fleet."""
        ...

    def keep_looks(self, looks: Sequence[Frame], *, fleet: str, bounds: HistoryBounds, new_folder: bool = False) -> str | None:
        """Adds looks, the oldest first, to the history of facts, without the lease, and says so where the state was set up for it. What is
        written and forgotten is `reconciler.state.frames.change_of`. Tickets that wait are taken in with it, also by no looks.

        Raises LockHeld where a run that has the lease must be over first: the looks are to be given again then. Raises StateError where it
        cannot be written or is of another fleet.
        """
        ...

    def allocate(self, agent: AllocatedAgent, *, fleet: str, command: str, new_folder: bool = False) -> AllocatedAgent | None:
        """Keeps an agent that is wanted beside those of the files, and tells it in the history of runs as `command`. Where one of
        its name is there it keeps nothing, and returns that one. Raises as `keep_looks` does."""
        ...

    def release(self, name: str, *, fleet: str, command: str, new_folder: bool = False) -> bool:
        """Forgets such an agent; False where there is none. Raises as `keep_looks` does."""
        ...

    def record_ticket(self, ticket: Ticket, *, fleet: str, new_folder: bool = False) -> TicketKept:
        """Keeps a ticket, once by its id. Where the state cannot be written now, or a run holds the lease, the ticket waits in a file
        beside it, and is taken in with the next look, agent or ticket.

        Raises LockHeld or StateError where that cannot be written either, and StateError for the state of another fleet.
        """
        ...

    def tickets(self) -> Tickets:
        """How many tickets ever came, and their sums, with those that wait beside it. Raises StateError where it cannot be read."""
        ...

    def unreadable_tickets(self) -> Sequence[Problem]:
        """What waits beside it as a ticket and cannot be read; it is left where it lies, and nothing else waits for it."""
        ...

    def lock(self) -> Lock | None:
        """Who holds the lease; None when nobody does, or there is no state. Writes nothing."""
        ...

    def break_lock(self, lock: Lock) -> None:
        """Takes exactly this lock away. Raises StateError when another run has it by now, or nobody."""
        ...

    def shards(self, fleet: str) -> ShardBoard:
        """Where several loops over one fleet know of each other. Raises StateError for a file, which only one machine has."""
        ...

    def check(self) -> Sequence[StateFinding]:
        """Everything that can be told of its health. Raises StateError where there is no state."""
        ...


def refuse_if_locked(store: Store) -> None:
    """Raises LockHeld when a run holds the store, without taking its lease: for whoever plans first and takes it later."""
    lock = store.lock()
    if lock is not None and lock.standing.holds:
        raise lock_held(lock.lease, str(store))


def file_of(store: Store, command: str, instead: str) -> Path:
    """The file of a store, for a command that only such a one can serve. Raises StateError for a database, with what does it there."""
    if store.file is None:
        raise StateError.of(f"{command} is for a state in a file", str(store), instead)
    return store.file
