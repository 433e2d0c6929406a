"""A state file that is replaced or removed while a run works: noticed before anything more is sent, and the other file is left alone."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.fleet import AppliedReplica, EngineId, StateError
from reconciler.state import StepStatus, open_reader, open_writer, read_rescue
from reconciler.state.sqlite.copies import back_up
from reconciler.state.sqlite.lease import Heartbeat

ROW = AppliedReplica("model.a@n/e", "a", EngineId("n", "e"), "a")


def other_state(path: Path) -> Path:
    other = path.with_name("other.db")
    with open_writer(other, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        state.record([AppliedReplica("model.z@n/e", "z", EngineId("n", "e"), "z")])
        state.finish_run(run, "done")
    back_up(other, path.with_name("copy.db"))
    return path.with_name("copy.db")


def replaced(path: Path) -> None:
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink()
    other_state(path).replace(path)


def replaced_beside_its_log(path: Path) -> None:
    other_state(path).replace(path)


def removed_beside_its_log(path: Path) -> None:
    path.unlink()


def removed(path: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink()


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (replaced, "was replaced by another file"),
        (replaced_beside_its_log, "was replaced by another file"),
        (removed, "was removed"),
        (removed_beside_its_log, "was removed"),
    ],
)
def test_it_is_noticed_before_the_next_step_and_what_was_done_is_kept_apart(tmp_path: Path, act: Callable[[Path], None], said: str) -> None:
    path = tmp_path / "s.db"
    with pytest.raises(StateError, match=said) as caught, open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        state.step_started(run, "one", "a", "load")
        act(path)
        after = path.read_bytes() if path.exists() else None
        with pytest.raises(StateError, match=said):
            state.prove_held()
        with pytest.raises(StateError, match=said):
            state.step_started(run, "two", "b", "load")
        state.record([ROW])
        state.step_finished(run, "one", StepStatus.DONE)
        state.finish_run(run, "interrupted")
    assert "rescue journal" in str(caught.value)
    (rescue,) = tmp_path.glob("s.db.rescue-*")
    assert [entry.op for entry in read_rescue(rescue).entries] == ["recorded", "step_finished", "run_finished"]
    assert (path.read_bytes() if path.exists() else None) == after
    assert not path.with_name("s.db-wal").exists()
    assert len(list(tmp_path.glob("s.db-wal.replaced-*"))) == act.__name__.endswith("beside_its_log")  # what was in it is not lost
    if after is not None:
        with closing(open_reader(path)) as other:
            assert set(other.applied().replicas) == {"model.z@n/e"}


def test_the_heartbeat_of_a_removed_state_makes_no_new_file(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_writer(path, command="apply") as state:
        held = state._held  # type: ignore[attr-defined]
        heartbeat = Heartbeat(path, held, lambda: datetime.now(UTC), every=0.001)
        removed(path)
        heartbeat.start()
        heartbeat._thread.join(20)
        assert not heartbeat._thread.is_alive()
    assert not path.exists()


def test_the_heartbeat_takes_the_log_away_from_beside_another_file(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with suppress(StateError), open_writer(path, command="apply") as state:
        heartbeat = Heartbeat(path, state._held, lambda: datetime.now(UTC), every=0.001)  # type: ignore[attr-defined]
        replaced_beside_its_log(path)
        heartbeat.start()
        heartbeat._thread.join(20)
        with closing(open_reader(path)) as other:  # while the run goes on
            assert set(other.applied().replicas) == {"model.z@n/e"}
    with closing(open_reader(path)) as other:
        assert set(other.applied().replicas) == {"model.z@n/e"}


def overwritten(path: Path) -> None:
    """As `cp` does it: the file stays the same one."""
    path.write_bytes(other_state(path).read_bytes())


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def taken_by_another_program(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"no database at all" * 1000)


@pytest.mark.parametrize("act", [overwritten, emptied, taken_by_another_program])
def test_what_is_written_over_the_file_is_noticed_and_left_as_it_is(tmp_path: Path, act: Callable[[Path], None]) -> None:
    path = tmp_path / "s.db"
    with pytest.raises(StateError, match="overwritten by another program") as caught, open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        state.step_started(run, "one", "a", "load")
        act(path)
        after = path.read_bytes()
        with pytest.raises(StateError, match="overwritten by another program"):
            state.prove_held()
        with pytest.raises(StateError, match="overwritten by another program"):
            state.step_started(run, "two", "b", "load")
        state.record([ROW])
        state.step_finished(run, "one", StepStatus.DONE)
        state.finish_run(run, "interrupted")
    assert "rescue journal" in str(caught.value)
    assert path.read_bytes() == after
    assert len(list(tmp_path.glob("s.db-wal.replaced-*"))) == 1  # what was in it is not lost
    if act is overwritten:
        with closing(open_reader(path)) as other:
            assert set(other.applied().replicas) == {"model.z@n/e"}


def test_what_the_run_itself_writes_into_the_file_is_its_own(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        before = path.stat().st_size
        state.record([replace(ROW, address=f"model.{number}@n/e", model="a" * 4000) for number in range(3000)])
        assert path.stat().st_size > before  # the log was folded into it
        os.utime(path, (0, 0))  # as `touch` does, or a program that keeps copies
        state.prove_held()
        state.finish_run(run, "done")


def test_another_state_that_was_copied_over_this_one_is_known_by_its_lineage(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with pytest.raises(StateError, match="overwritten with another") as caught, open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        with closing(sqlite3.connect(path)) as conn:  # what a copy over the file comes to, without tearing its pages
            conn.execute("UPDATE meta SET value = 'another' WHERE key = 'lineage'")
            conn.commit()
        with pytest.raises(StateError, match="overwritten with another"):
            state.step_started(run, "one", "a", "load")
        state.record([ROW])
    assert "rescue journal" in str(caught.value)
    with closing(open_reader(path)) as other:
        assert other.applied().replicas == {}
