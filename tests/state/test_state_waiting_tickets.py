"""Tickets that wait beside a state: what of a folder stays after a crash, and whose it is."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.fleet import StateError, Ticket, TicketKept, Tickets
from reconciler.state import RescuePlace, copy_state, open_state
from reconciler.state.sql.waiting_tickets import waiting_tickets

AT = "2026-01-01T09:00:00Z"
ONE, TWO = Ticket("0x1", None, 7, 3, AT), Ticket("0x2", "me", 8, 4, AT)


@pytest.mark.parametrize("left", [[], [".gpurec-0123456789abcdef"]], ids=["nothing", "a draft"])
def test_a_folder_that_a_crash_left_without_a_ticket_holds_up_no_copy(tmp_path: Path, left: list[str]) -> None:
    store = open_state(str(tmp_path / "s.db"), tmp_path)
    assert store.record_ticket(ONE, fleet="lab") is TicketKept.RECORDED
    (tmp_path / "s.db.tickets").mkdir(0o700)
    for name in left:
        (tmp_path / "s.db.tickets" / name).touch()
    copy = open_state(str(tmp_path / "copy.db"), tmp_path)
    copy_state(store, copy)
    with closing(copy.reader()) as state:
        assert state.tickets() == Tickets(1, 7, 3)


def test_tickets_of_databases_whose_names_read_alike_wait_apart_and_are_found_wherever_they_lie(tmp_path: Path) -> None:
    state, tmp = tmp_path / "state", tmp_path / "tmp"
    tmp.mkdir()
    urls = ("postgresql://h/gpu-a", "postgresql://h/gpu_a")
    first, other = (waiting_tickets(RescuePlace(url, (tmp,))) for url in urls)
    assert first.add(ONE)
    assert other.every() == ()
    state.mkdir()  # it is the better place from now on
    now = waiting_tickets(RescuePlace(urls[0], (state, tmp)))
    assert now.add(TWO)
    assert now.every() == (TWO, ONE)
    assert next(first.folders[0].iterdir()).stat().st_mode & 0o777 == 0o600
    assert now.folders[0].stat().st_mode & 0o777 == 0o700
    now.forget((ONE, TWO))
    assert [*state.iterdir(), *tmp.iterdir()] == []


def test_a_check_tells_of_tickets_that_wait_for_a_state_which_is_not_there_yet(tmp_path: Path) -> None:
    store = open_state(str(tmp_path / "s.db"), tmp_path)
    with pytest.raises(StateError, match="there is no state yet"):
        store.check()
    assert waiting_tickets(RescuePlace(str(tmp_path / "s.db"), (tmp_path,))).add(ONE)
    state, tickets = store.check()
    assert (state.name, state.message) == ("state", "there is none yet")
    assert (tickets.name, tickets.hint) == ("tickets", "gpurec watch --once takes them in")
    assert not store.exists()


def test_a_folder_that_somebody_else_put_there_is_neither_read_nor_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = RescuePlace("postgresql://h/gpu", (tmp_path,))
    mine = waiting_tickets(place)
    assert mine.add(ONE)
    real = mine.folders[0].rename(tmp_path / "elsewhere")
    mine.folders[0].symlink_to(real)
    assert mine.every() == ()
    with pytest.raises(StateError, match="no folder of ours"):
        mine.add(TWO)
    mine.folders[0].unlink()
    real.rename(mine.folders[0])
    assert mine.every() == (ONE,)
    owner = mine.folders[0].stat().st_uid + 7
    if os.getuid() == 0:
        os.chown(mine.folders[0], owner, -1)
    else:
        monkeypatch.setattr(os, "getuid", lambda: owner)
    assert mine.every() == ()
    with pytest.raises(StateError, match="no folder of ours"):
        mine.add(TWO)
