"""Backups are whole and private; a restore replaces all or nothing, keeps what was there, and never what is newer or of another."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from old_stores import write_schema_1

from reconciler.fleet import AppliedReplica, EngineId, LockHeld, StateError, replica_address
from reconciler.state import check_state, look_at_lock, open_reader, open_writer
from reconciler.state.sqlite.check import StateLevel
from reconciler.state.sqlite.copies import back_up, restore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AT = EngineId("n", "e")


def clock() -> datetime:
    return NOW


def apply(path: Path, *names: str, gone: tuple[str, ...] = ()) -> None:
    with open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        state.step_started(run, "load:x", "x", "load")
        state.record(
            [AppliedReplica(replica_address(name, AT), name, AT, name) for name in names], [replica_address(name, AT) for name in gone]
        )
        state.finish_run(run, "done")


def owned(path: Path) -> set[str]:
    with closing(open_reader(path)) as state:
        return {one.model for one in state.applied().replicas.values()}


def files(path: Path) -> list[str]:
    """What lies in the folder, without what SQLite itself makes for readers."""
    return sorted(each.name for each in path.parent.iterdir() if not each.name.endswith(("-wal", "-shm")))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    apply(tmp_path / "s.db", "a", "b")
    return tmp_path / "s.db"


@pytest.fixture
def backup(path: Path) -> Path:
    """A backup of `a` and `b`; since then `c` came and `a` went."""
    copy = back_up(path, path.with_name("copy"))
    apply(path, "c", gone=("a",))
    return copy


def test_a_backup_is_one_private_file_that_is_a_whole_state(path: Path) -> None:
    copy = back_up(path, path.with_name("copy"))
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert files(path) == ["copy", "s.db"]
    assert owned(copy) == {"a", "b"}
    assert {one.name for one in check_state(copy) if one.level is StateLevel.ERROR} == set()


def test_a_backup_while_a_run_writes_is_of_one_moment_and_holds_no_lock(path: Path) -> None:
    with open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        state.record([AppliedReplica(replica_address("d", AT), "d", AT, "d")])
        copy = back_up(path, path.with_name("copy"))
        assert look_at_lock(path) is not None
        state.finish_run(run, "done")
    assert look_at_lock(copy) is None
    assert owned(copy) == {"a", "b", "d"}


def test_a_backup_overwrites_nothing(path: Path, backup: Path) -> None:
    before = backup.read_bytes()
    with pytest.raises(StateError, match="overwrites nothing"):
        back_up(path, backup)
    assert backup.read_bytes() == before


def test_there_must_be_something_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no state yet"):
        back_up(tmp_path / "none.db", tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_a_restore_brings_back_all_and_keeps_what_was_there(path: Path, backup: Path) -> None:
    with closing(open_reader(path)) as state:
        lineage = state.applied().lineage
    done = restore(path, backup, clock=clock)
    assert (done.lineage, done.serial) == (lineage, 1)
    assert owned(path) == {"a", "b"}
    assert done.kept == path.with_name("s.db.before-restore-20260101T000000Z")
    assert owned(done.kept) == {"b", "c"}
    assert files(path) == ["copy", "s.db", done.kept.name]
    with closing(open_reader(path)) as state:
        assert [(run.command, run.result) for run in state.runs()] == [("state restore", "done"), ("apply", "done")]


def test_a_restore_leaves_the_lock_and_its_token_rising(path: Path, backup: Path) -> None:
    def token() -> int:
        with closing(sqlite3.connect(path)) as conn:
            return int(conn.execute("SELECT token FROM lease").fetchone()[0])

    before = token()
    restore(path, backup, clock=clock)
    assert token() > before
    assert look_at_lock(path) is None
    apply(path, "e")


def test_a_restore_waits_for_no_run_that_holds_the_lock(path: Path, backup: Path) -> None:
    with open_writer(path, command="apply"), pytest.raises(LockHeld):
        restore(path, backup)
    assert owned(path) == {"b", "c"}


def test_a_backup_of_an_older_schema_is_migrated_on_its_way_in(tmp_path: Path) -> None:
    write_schema_1(tmp_path / "old")
    done = restore(tmp_path / "new" / "s.db", tmp_path / "old", new_folder=True)
    assert (done.lineage, done.serial, done.kept) == ("l-1", 3, None)
    assert owned(tmp_path / "new" / "s.db") == {"a:1"}


def test_a_backup_of_another_lineage_needs_force(path: Path, tmp_path: Path) -> None:
    apply(tmp_path / "other.db", "z")
    with pytest.raises(StateError, match="another state") as caught:
        restore(path, tmp_path / "other.db")
    assert "--force" in str(caught.value)
    assert owned(path) == {"a", "b"}
    restore(path, tmp_path / "other.db", force=True)
    assert owned(path) == {"z"}


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("INSERT INTO migrations VALUES (99, 'later')")
        conn.commit()


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 * 2 :] = os.urandom(len(content) - 4096 * 2)
    path.write_bytes(content)


def no_database(path: Path) -> None:
    path.write_text("nothing of that kind\n" * 100)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: 4096 * 3])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [newer, damaged, no_database, cut, empty])
@pytest.mark.parametrize("force", [False, True])
def test_a_backup_that_is_newer_damaged_or_none_is_refused_even_with_force(path: Path, backup: Path, harm: object, force: bool) -> None:
    harm(backup)  # type: ignore[operator]
    with pytest.raises(StateError):
        restore(path, backup, force=force)
    assert owned(path) == {"b", "c"}
    assert files(path) == ["copy", "s.db"]


def test_a_file_that_is_no_backup_is_named_as_such_and_no_other_state_is_asked_for(path: Path, backup: Path) -> None:
    no_database(backup)
    with pytest.raises(StateError, match="this is no backup of a state, or a damaged one; take another one"):
        restore(path, backup)


def test_the_state_itself_is_no_backup_of_it(path: Path) -> None:
    with pytest.raises(StateError, match="the state itself"):
        restore(path, path)


@pytest.mark.parametrize("harm", [damaged, no_database])
def test_a_damaged_state_is_replaced_only_with_force_and_moved_aside(path: Path, backup: Path, harm: object) -> None:
    harm(path)  # type: ignore[operator]
    before = path.read_bytes()
    with pytest.raises(StateError, match="--force"):
        restore(path, backup)
    assert path.read_bytes() == before
    done = restore(path, backup, force=True, clock=clock)
    assert done.kept == path.with_name("s.db.damaged-20260101T000000Z")
    assert done.kept.read_bytes() == before
    assert owned(path) == {"a", "b"}
