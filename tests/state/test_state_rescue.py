"""A disk that takes no more: what was done to the nodes is kept beside the state, and read in later."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import stat
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from reconciler import fleet
from reconciler.fleet import AppliedReplica, EngineId, EngineKind, FleetFacts, LoadKey, MeasuredKey, StateError, replica_address
from reconciler.state import Learned, Measurement, SettledStep, StateWriter, StepStatus, break_lock, look_at_lock, open_reader, open_writer
from reconciler.state.sql.connection import Unwritable
from reconciler.state.sql.entries import Entry, MeasuredEntry, NeedsLearned, Recorded, RunFinishedEntry, StepFinished, StepsSettled
from reconciler.state.sql.rescue import RescueHead, RescueJournal, find_rescues, read_rescue
from reconciler.state.sqlite.connection import rescue_place

AT = EngineId("gpu-a", "ollama")
KEY = LoadKey(EngineKind.OLLAMA, "a:1", 8192)
NEED = MeasuredKey("sha256:w", "0.34.0", "NVIDIA A40", 8192, 1, "f16", True)


def replica(name: str = "a:1", **fields: object) -> AppliedReplica:
    return AppliedReplica(replica_address(name, AT), name, AT, name, options={"num_batch": 512}, **fields)  # type: ignore[arg-type]


def full_disk(state: StateWriter) -> None:
    """SQLite's own limit answers like a disk without a free page."""
    conn = state._conn  # type: ignore[attr-defined]
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    state.own_file.written()  # type: ignore[attr-defined]
    (pages,) = conn.execute("PRAGMA page_count").fetchone()
    conn.execute(f"PRAGMA max_page_count = {pages}")


def read_only_disk(state: StateWriter) -> None:
    state._conn.execute("PRAGMA query_only = ON")  # type: ignore[attr-defined]


def work(state: StateWriter, run: int) -> None:
    """What a run tells of three steps. Long names, so that a full disk is met soon."""
    state.step_finished(run, "load:a", StepStatus.DONE, "x" * 9000)
    state.record([replica()], gone=[replica("old:1").address])
    state.measure([Measurement(KEY, 2.5)])
    state.learn([Learned(NEED, fleet.Measured(7, None))])
    state.record_incident("model.a@n/e", "evicted", "sha256:asked")
    state.steps_settled(run, [SettledStep("load:b", "b", "load", StepStatus.SKIPPED, "need_not_met: it waited")])
    state.record_facts(FleetFacts("2026-01-01T00:00:00Z", {}))
    state.finish_run(run, "partial", unplaced=1, deferred=2)


def begin(path: Path, spoil: Callable[[StateWriter], None]) -> Path:
    """A run that does its work while its state cannot be written; returns its rescue journal."""
    with open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        state.record([replica("old:1")])
        state.finish_run(run, "done")
    with pytest.raises(StateError) as caught, open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        state.step_started(run, "load:a", "a", "load")
        spoil(state)
        work(state, run)
        rescue = state.rescue
        with pytest.raises(Unwritable):
            state.step_started(run, "load:z", "z", "load")
    assert rescue is not None
    assert str(rescue) in str(caught.value)
    assert "gpurec state recover" in str(caught.value)
    lock = look_at_lock(path)
    if lock is not None:  # it could not be given back; in life the process is gone and the next run takes it over
        break_lock(path, lock)
    return rescue


@pytest.mark.parametrize("spoil", [full_disk, read_only_disk])
def test_what_a_run_did_on_a_full_or_read_only_disk_is_kept_and_read_in_as_if_nothing_had_happened(
    tmp_path: Path, spoil: Callable[[StateWriter], None]
) -> None:
    path = tmp_path / "s.db"
    rescue = begin(path, spoil)
    assert (rescue.parent, stat.S_IMODE(rescue.stat().st_mode)) == (tmp_path, 0o600)
    with closing(open_reader(path)) as before:
        assert set(before.applied().replicas) == {replica("old:1").address}
        assert before.runs()[0].result == "running"
    assert find_rescues(rescue_place(path)) == [rescue]
    for _ in range(2):  # a second time changes nothing
        with open_writer(path, command="state recover") as state:
            assert state.read_in(read_rescue(rescue)) == 2
    with closing(open_reader(path)) as after:
        applied = after.applied()
        assert {address: row.options for address, row in applied.replicas.items()} == {replica().address: {"num_batch": 512}}
        assert (applied.measured, applied.load_seconds) == ({NEED: fleet.Measured(7, None)}, {KEY: 2.5})
        assert [(one.address, one.code) for one in applied.incidents] == [("model.a@n/e", "evicted")]
        assert [(row.step_id, row.status) for row in after.journal(2)] == [("load:a", StepStatus.DONE), ("load:b", StepStatus.SKIPPED)]
        run = after.runs()[0]
        assert (run.result, run.unplaced, run.deferred) == ("partial", 1, 2)
        assert run.finished_at is not None


def test_what_came_and_went_again_while_nothing_could_be_written_is_gone_after_recovery(tmp_path: Path) -> None:
    def come_and_go(state: StateWriter) -> None:
        read_only_disk(state)
        state.record([replica("new:1"), replica("old:1", vram_bytes=9)])
        state.record([replica("old:1")], gone=[replica("new:1").address])  # as the database has it still

    path = tmp_path / "s.db"
    with open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        state.record([replica("old:1")])
        state.finish_run(run, "done")
    with pytest.raises(StateError, match="rescue journal"), open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        come_and_go(state)
        rescue = state.rescue
    lock = look_at_lock(path)
    assert lock is not None
    assert rescue is not None
    break_lock(path, lock)
    with open_writer(path, command="apply") as state:
        for number in range(3):  # later runs that record something else
            run = state.begin_run("p", "c", "apply")
            state.record([replica("other:1", vram_bytes=number)])
            state.finish_run(run, "done")
        state.record([], gone=[replica("other:1").address])
    with open_writer(path, command="state recover") as state:
        state.read_in(read_rescue(rescue))
        assert {one.model: one.vram_bytes for one in state.applied().replicas.values()} == {"old:1": None}


def test_no_step_begins_on_a_disk_that_is_full_already(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with pytest.raises(Unwritable, match="disk is full"), open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        full_disk(state)
        state.step_started(run, "load:a", "a" * 9000, "load")
    assert find_rescues(rescue_place(path)) == []


def test_an_error_of_the_run_is_told_together_with_the_rescue_journal(tmp_path: Path) -> None:
    with pytest.raises(StateError) as caught, open_writer(tmp_path / "s.db", command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        read_only_disk(state)
        state.finish_run(run, "failed")
        raise StateError.of("the first thing that went wrong")
    assert [problem.what[:9] for problem in caught.value.problems] == ["the first", "the state"]


def test_a_writer_that_lost_its_lock_writes_no_rescue_journal_either(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with pytest.raises(StateError, match="taken over"), open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        with closing(sqlite3.connect(path)) as other:
            other.execute("UPDATE lease SET owner = 'other', token = token + 1")
            other.commit()
        state.finish_run(run, "done")
    assert find_rescues(rescue_place(path)) == []


HEAD = RescueHead("/somewhere/s.db", "l", 7, 3, "2026-01-01T00:00:00Z", "the disk is full")
ENTRIES: tuple[Entry, ...] = (
    StepFinished(7, "load:a", StepStatus.FAILED, "out_of_memory: no", "2026-01-01T00:00:00Z", 1.5),
    StepsSettled(7, (SettledStep("load:b", "b", "load", StepStatus.SKIPPED),), "2026-01-01T00:00:00Z"),
    Recorded((replica(observed_pinned=True, vram_bytes=2**40, keep_alive=-1.0),), ("model.x@n/e",)),
    MeasuredEntry((Measurement(KEY, 2.5),)),
    NeedsLearned((Learned(NEED, fleet.Measured(None, 9)),)),
    RunFinishedEntry(7, "done", "2026-01-01T00:00:00Z", None, 0, 0),
)


def written(folder: Path, entries: tuple[Entry, ...] = ENTRIES) -> Path:
    journal = RescueJournal(HEAD, [folder])
    for entry in entries:
        journal.append(entry)
    journal.close()
    assert journal.path is not None
    return journal.path


def test_every_kind_of_entry_comes_back_as_it_went(tmp_path: Path) -> None:
    rescued = read_rescue(written(tmp_path))
    assert (rescued.head, rescued.entries, rescued.torn) == (HEAD, ENTRIES, False)


def test_a_folder_that_takes_nothing_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    journal = RescueJournal(HEAD, [tmp_path / "file", tmp_path])
    assert journal.path is not None
    assert journal.path.parent == tmp_path


def test_a_disk_that_fills_up_on_the_way_moves_all_of_the_journal_to_the_next_folder(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    left = 600

    def write(file: int, content: bytes) -> int:
        nonlocal left
        if Path(f"/proc/self/fd/{file}").readlink().parent == first:
            if left <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            content, left = content[:left], left - len(content)
        return os.write(file, content)

    journal = RescueJournal(HEAD, [first, second], write)
    for entry in ENTRIES:
        journal.append(entry)
    assert journal.path is not None
    assert list(first.iterdir()) == []
    assert read_rescue(journal.path).entries == ENTRIES
    assert journal.path.parent == second


def test_where_nothing_can_be_written_at_all_that_is_said(tmp_path: Path) -> None:
    def write(file: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StateError, match="No space left on device"):
        RescueJournal(HEAD, [tmp_path], write)
    assert list(tmp_path.iterdir()) == []


def test_a_last_line_that_was_cut_off_is_left_out_and_told(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    rescued = read_rescue(path)
    assert (rescued.entries, rescued.torn) == (ENTRIES[:-1], True)


def bad_line(text: str) -> Callable[[list[str]], list[str]]:
    return lambda lines: [*lines[:2], text + "\n", *lines[2:]]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda lines: [], "empty"),
        (lambda lines: lines[1:], "first line"),
        (lambda lines: [json.dumps({**asdict(HEAD), "gpurec_rescue": 9}) + "\n"], "format 9"),
        (bad_line("{"), "line 3"),
        (bad_line('{"op":"drop_table"}'), "line 3"),
        (bad_line('{"op":"recorded","replicas":[],"gone":"x"}'), "line 3"),
    ],
)
def test_a_file_that_is_no_rescue_journal_is_refused(tmp_path: Path, spoil: Callable[[list[str]], list[str]], said: str) -> None:
    path = written(tmp_path)
    path.write_text("".join(spoil(path.read_text().splitlines(keepends=True))))
    with pytest.raises(StateError, match=said):
        read_rescue(path)


def test_only_journals_of_this_very_state_are_found_and_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, temporary = tmp_path / "state", tmp_path / "tmp"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    path = folder / "s.db"
    rescue = begin(path, read_only_disk)
    written(temporary)  # of /somewhere/s.db
    (temporary / "s.db.rescue-9-x.jsonl").symlink_to(rescue)
    moved = temporary / rescue.name
    rescue.rename(moved)
    assert find_rescues(rescue_place(path)) == [moved]


def test_a_journal_of_another_lineage_or_of_an_unknown_run_is_not_read_in(tmp_path: Path) -> None:
    rescue = begin(tmp_path / "s.db", read_only_disk)
    with open_writer(tmp_path / "other.db", command="apply") as state:
        state.begin_run("p", "c", "apply")
        with pytest.raises(StateError, match="another state"):
            state.read_in(read_rescue(rescue))
    with open_writer(tmp_path / "s.db", command="apply") as state:
        head, *entries = rescue.read_text().splitlines(keepends=True)
        rescue.write_text(json.dumps({**json.loads(head), "run_id": 99}) + "\n" + "".join(entries))
        with pytest.raises(StateError, match="nothing of run 99"):
            state.read_in(read_rescue(rescue))


def test_what_a_later_run_recorded_stands(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    rescue = begin(path, read_only_disk)
    with open_writer(path, command="apply") as state:
        for vram in (1, 2):
            run = state.begin_run("p", "c", "apply")
            state.record([replica(vram_bytes=vram), replica("old:1", vram_bytes=vram)])
            state.finish_run(run, "done")
    with open_writer(path, command="state recover") as state:
        assert state.read_in(read_rescue(rescue)) > 3
    with closing(open_reader(path)) as after:
        assert {row.model: row.vram_bytes for row in after.applied().replicas.values()} == {"a:1": 2, "old:1": 2}
        assert after.run(2).result == "partial"  # type: ignore[union-attr]
