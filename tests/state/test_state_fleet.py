"""A state knows which fleet it is of, and serves no other."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from old_stores import write_schema_1

from reconciler.fleet import StateError
from reconciler.state import OtherFleet, SqliteStore, open_writer
from reconciler.state.sqlite.copies import back_up, restore


def apply_for(path: Path, fleet: str | None) -> tuple[str, ...]:
    with open_writer(path, command="apply", fleet=fleet) as state:
        notices = state.notices
        state.finish_run(state.begin_run("p", "c", "apply"), "done")
    return notices


def test_a_state_serves_the_fleet_that_it_was_set_up_for_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    apply_for(path, "chat")
    SqliteStore(path).check_fleet("chat")
    for attempt in (lambda: SqliteStore(path).check_fleet("search"), lambda: apply_for(path, "search")):
        with pytest.raises(OtherFleet, match=r"fleet chat.* fleet search.*gpurec state rename-fleet chat search") as caught:
            attempt()
        assert caught.value.exit_code == 1


def test_a_refused_fleet_leaves_the_state_and_its_lock_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    apply_for(path, "chat")
    before = path.read_bytes()
    with pytest.raises(OtherFleet):
        apply_for(path, "search")
    assert path.read_bytes() == before


def test_a_state_of_before_takes_the_name_of_the_first_fleet_that_is_applied_with_it(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    write_schema_1(path)
    SqliteStore(path).check_fleet("chat")
    SqliteStore(path).check_fleet("search")
    (notice,) = apply_for(path, "chat")
    assert "did not say whose it is" in notice
    assert "fleet chat" in notice
    assert apply_for(path, "chat") == ()
    with pytest.raises(OtherFleet):
        SqliteStore(path).check_fleet("search")


def test_a_command_that_names_no_fleet_looks_after_the_state_of_any(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    apply_for(path, "chat")
    SqliteStore(path).check_fleet(None)
    assert apply_for(path, None) == ()
    with pytest.raises(OtherFleet):
        SqliteStore(path).check_fleet("search")


def test_a_renamed_fleet_goes_on_with_its_state(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    apply_for(path, "chat")
    with open_writer(path, command="state rename-fleet") as state:
        run = state.begin_run("", "", "state rename-fleet")
        with pytest.raises(StateError, match="fleet chat"):
            state.rename_fleet("other", "search")
        state.rename_fleet("chat", "search")
        state.finish_run(run, "done")
    SqliteStore(path).check_fleet("search")
    with pytest.raises(OtherFleet):
        SqliteStore(path).check_fleet("chat")


def test_a_backup_of_before_the_rename_comes_back_under_the_name_of_now(tmp_path: Path) -> None:
    path, copy = tmp_path / "s.db", tmp_path / "copy"
    apply_for(path, "chat")
    back_up(path, copy)
    with open_writer(path, command="state rename-fleet") as state:
        state.begin_run("", "", "state rename-fleet")
        state.rename_fleet("chat", "search")
    restore(path, copy)
    SqliteStore(path).check_fleet("search")


def test_a_forced_backup_of_another_fleet_brings_its_name_along(tmp_path: Path) -> None:
    path, other = tmp_path / "s.db", tmp_path / "other.db"
    apply_for(path, "chat")
    apply_for(other, "search")
    restore(path, other, force=True)
    with pytest.raises(OtherFleet):
        SqliteStore(path).check_fleet("chat")


def test_what_else_is_wrong_with_a_state_is_left_to_whoever_opens_it(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 100)
    with closing(sqlite3.connect(tmp_path / "other")) as conn:
        conn.execute("CREATE TABLE meta (key, value)")
    for name in ("text", "other", "missing"):
        SqliteStore(tmp_path / name).check_fleet("chat")
