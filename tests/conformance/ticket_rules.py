"""What every state promises of tickets that wait beside it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from reconciler.fleet import LOOK, CardSample, Frame, HistoryBounds, StateError, Ticket, TicketKept, Tickets
from reconciler.state import StateLevel
from reconciler.state.sql.waiting_tickets import waiting_tickets

if TYPE_CHECKING:
    from state_rules import StateRule, Subject


def what_waits_as_a_ticket_and_cannot_be_read_holds_up_nothing_else_and_is_told(subject: Subject) -> None:
    store, at = subject.store(), "2026-01-01T09:00:00Z"
    assert store.record_ticket(Ticket("0x0", None, 1, 1, at), fleet="lab") is TicketKept.RECORDED
    waiting = waiting_tickets(store.rescues)
    assert waiting.add(Ticket("0x1", None, 10, 5, at))
    damaged = waiting.folders[0] / "0.json"
    damaged.write_text('{"id": "0x2"')
    told = [one for one in store.check() if one.name == "tickets"]
    waits = f"1 ticket waits to be taken in (it counts already), since {at}"
    assert [(one.level, one.message) for one in told[:1]] == [(StateLevel.WARNING, waits)]
    assert [(one.level, str(damaged) in one.message) for one in told[1:]] == [(StateLevel.ERROR, True)]
    with pytest.raises(StateError, match="cannot be read"):
        store.tickets()  # nobody knows all of them
    look = Frame(1_767_225_600, LOOK, {("a", 0): CardSample(1, 8, 0.5)}, {})
    store.keep_looks([look], fleet="lab", bounds=HistoryBounds(86400))
    with closing(store.reader()) as state:
        assert (state.tickets(), len(list(state.frames((LOOK,))))) == (Tickets(2, 11, 6), 1)
    assert [str(damaged) in one.sentence() for one in store.unreadable_tickets()] == [True]
    damaged.unlink()
    assert (store.tickets(), store.unreadable_tickets()) == (Tickets(2, 11, 6), ())
    waiting.forget((Ticket("", None, 0, 0, at),))
    assert [one for one in store.check() if one.name == "tickets"] == []


def by_no_looks_the_tickets_that_wait_are_taken_in_and_nothing_else_is_done(subject: Subject) -> None:
    store = subject.store()
    store.keep_looks([], fleet="lab", bounds=HistoryBounds(0, 0))
    assert not store.exists()
    assert waiting_tickets(store.rescues).add(Ticket("0x1", None, 10, 5, "2026-01-01T09:00:00Z"))
    store.keep_looks([], fleet="lab", bounds=HistoryBounds(0, 0))
    with closing(store.reader()) as state:
        assert state.tickets() == Tickets(1, 10, 5)
    assert [one for one in store.check() if one.name == "tickets"] == []


def a_ticket_whose_file_stays_counts_once_however_old_it_gets(subject: Subject) -> None:
    store, old = subject.store(), Ticket("0x1", None, 10, 5, "2026-01-01T09:00:00Z")
    waiting = waiting_tickets(store.rescues)
    assert waiting.add(old)
    for number, month in enumerate(("03", "05", "07"), 1):
        store.record_ticket(Ticket(month, None, 10, 5, f"2026-{month}-01T09:00:00Z"), fleet="lab")
        waiting.add(old)  # as one that cannot be removed
        assert store.tickets() == Tickets(number + 1, (number + 1) * 10, (number + 1) * 5)
        with closing(store.reader()) as state:
            assert state.tickets().count == number + 1
    waiting.forget((old,))


RULES: tuple[StateRule, ...] = (
    what_waits_as_a_ticket_and_cannot_be_read_holds_up_nothing_else_and_is_told,
    by_no_looks_the_tickets_that_wait_are_taken_in_and_nothing_else_is_done,
    a_ticket_whose_file_stays_counts_once_however_old_it_gets,
)
