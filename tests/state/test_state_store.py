"""What a store keeps, what it refuses, and how little it writes."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest

from reconciler.fleet import (
    NOTHING_APPLIED,
    Applied,
    AppliedReplica,
    AppliedResource,
    CardFacts,
    EngineFacts,
    EngineId,
    EngineKind,
    FleetFacts,
    Heat,
    Installed,
    LoadKey,
    LockHeld,
    Measured,
    MeasuredKey,
    ModelHeader,
    NodeFacts,
    Resident,
    StateError,
    replica_address,
)
from reconciler.state import Learned, Measurement, SettledStep, StateLevel, StepStatus, check_state, open_reader, open_writer
from reconciler.state.sqlite.connection import sqlite_said

AT = EngineId("gpu-a", "ollama")
KEY = LoadKey(EngineKind.OLLAMA, "llama3.1:latest", None)
NEED = MeasuredKey("sha256:w", "0.34.0", "NVIDIA A40", 4096, 1, "f16", True)


def replica(name: str = "llama3.1:latest", **fields: object) -> AppliedReplica:
    defaults: dict[str, object] = {"context": 8192, "options": {"num_batch": 512, "use_mmap": True}, "keep_alive": -1.0, "vram_bytes": 5}
    return AppliedReplica(replica_address(name, AT), name, AT, name, **{**defaults, **fields})  # type: ignore[arg-type]


def facts(residents: tuple[Resident, ...] = (), nodes: int = 1) -> FleetFacts:
    engine = EngineFacts(
        AT, EngineKind.OLLAMA, True, build="0.34.0", installed=(Installed("a:latest", 7, blob="sha256-1"),), residents=residents
    )
    seen = {
        f"gpu-{n}": NodeFacts(f"gpu-{n}", (CardFacts(0, total_bytes=8, compute_capability=(8, 6)),), 9, {"ollama": engine})
        for n in range(nodes)
    }
    return FleetFacts("2026-01-01T00:00:00Z", seen)


def test_the_header_of_a_file_is_one_row_for_all_nodes_and_goes_with_the_file(tmp_path: Path) -> None:
    header = ModelHeader({"general.architecture": "x", "x.a": (1, 2.5, True), "x.b": 1e-6}, (("blk.0.w", "q4_k", (256, 2)),))
    seen = facts(nodes=3)
    engine = seen.nodes["gpu-0"].engines["ollama"]
    engine = replace(engine, installed=tuple(replace(one, header=header) for one in engine.installed or ()))
    told = FleetFacts(seen.at, {name: replace(node, engines={"ollama": engine}) for name, node in seen.nodes.items()})
    path = tmp_path / "s.db"
    with open_writer(path, command="apply") as state:
        state.record_facts(told)
        assert state.recorded_facts() == told
        with closing(sqlite3.connect(path)) as conn:
            assert conn.execute("SELECT key FROM headers").fetchall() == [("sha256-1",)]
            assert not [body for (body,) in conn.execute("SELECT body FROM facts") if "blk.0" in body]
        state.record_facts(seen)
        assert state.recorded_facts() == seen
        with closing(sqlite3.connect(path)) as conn:
            assert conn.execute("SELECT count(*) FROM headers").fetchone() == (0,)


def read(path: Path) -> Applied:
    reader = open_reader(path)
    try:
        return reader.applied()
    finally:
        reader.close()


def test_a_missing_store_reads_as_nothing_applied_and_is_not_created(tmp_path: Path) -> None:
    reader = open_reader(tmp_path / "none.db")
    assert reader.applied() == NOTHING_APPLIED
    assert reader.recorded_facts() is None
    assert (reader.runs(), reader.journal(1)) == ((), ())
    reader.close()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_reads_as_nothing_applied(tmp_path: Path) -> None:
    (tmp_path / "s.db").touch()
    assert read(tmp_path / "s.db") == NOTHING_APPLIED


def test_what_was_recorded_is_read_back_field_by_field(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    seen = {"observed_context": 8192, "observed_gpu_fraction": 0.5, "observed_pinned": False}
    row = replica(**seen, residency="cpu", ensure="present", charges=((0, 5), ("amd0", 7), (-1, 2**40)))
    with open_writer(path, command="apply") as state:
        run = state.begin_run("sha256:p", "sha256:c", "apply")
        state.record([row])
        state.measure([Measurement(KEY, 7.0), Measurement(KEY, 2.5)])
        state.learn([Learned(NEED, Measured(5, 9)), Learned(NEED, Measured(7, None))])
        assert state.finish_run(run, "done") == 1
    found = read(path)
    assert found.replicas == {row.address: replace(row, serial=1)}
    assert found.measured == {NEED: Measured(7, 9)}
    assert found.load_seconds == {KEY: 2.5}
    assert found.serial == 1
    assert found.lineage is not None


def test_the_lineage_is_made_by_the_first_run_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_writer(path, command="apply") as state:
        assert state.applied().lineage is None
        state.begin_run("p", "c", "apply")
        first = state.applied().lineage
    with open_writer(path, command="apply") as state:
        state.begin_run("p", "c", "apply")
        assert state.applied().lineage == first
    assert first is not None


def test_the_serial_moves_once_a_run_and_only_when_something_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    serials = []
    for rows in ([replica()], [replica()], [replica(vram_bytes=6), replica("b:latest")], [replica("b:latest")]):
        with open_writer(path, command="apply") as state:
            run = state.begin_run("p", "c", "apply")
            for row in rows:
                state.record([row])
            serials.append(state.finish_run(run, "done"))
    assert serials == [1, 1, 2, 2]


def test_a_serial_that_moved_stays_moved_when_the_run_dies_before_its_end(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_writer(path, command="apply") as state:
        state.begin_run("p", "c", "apply")
        state.record([replica()])
    assert read(path).serial == 1


def test_addresses_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        state.record([replica(), replica("b:latest")])
        state.record([], gone=[replica().address, "model.never@there/was"])
        state.finish_run(run, "done")
    assert set(read(path).replicas) == {replica("b:latest").address}


def test_an_unchanged_apply_of_many_replicas_writes_a_handful_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    rows = [replica(f"m{n}:latest") for n in range(2000)]
    with open_writer(path, command="apply") as state:
        state.begin_run("p", "c", "apply")
        state.record(rows)
        state.record_facts(facts(nodes=200))
    with open_writer(path, command="apply") as state:
        conn = state._conn  # type: ignore[attr-defined]
        before = conn.total_changes
        run = state.begin_run("p", "c", "apply")
        state.record(rows, gone=["model.never@there/was"])
        state.measure([])
        state.record_facts(facts(nodes=200))
        state.finish_run(run, "done")
        assert conn.total_changes - before < 10


def test_facts_come_back_as_recorded_without_what_changes_at_every_look(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    seen = facts((Resident("a:latest", size_bytes=5, vram_bytes=4, context=4096, pinned=False, expires_in=12.5),))
    with open_writer(path, command="apply") as state:
        state.begin_run("p", "c", "apply")
        state.record_facts(seen)
        state.record_facts(facts((Resident("a:latest", size_bytes=5, vram_bytes=4, context=4096, pinned=False, expires_in=3.0),)))
    found = open_reader(path).recorded_facts()
    assert found == facts((Resident("a:latest", size_bytes=5, vram_bytes=4, context=4096, pinned=False),))


def test_only_nodes_that_changed_are_written(tmp_path: Path) -> None:
    with open_writer(tmp_path / "s.db", command="apply") as state:
        state.begin_run("p", "c", "apply")
        state.record_facts(facts(nodes=50))
        conn = state._conn  # type: ignore[attr-defined]
        before = conn.total_changes
        changed = facts(nodes=49)
        state.record_facts(FleetFacts(changed.at, {**changed.nodes, "gpu-3": NodeFacts("gpu-3", ())}))
        assert conn.total_changes - before == 3  # one changed, one gone, the time
        found = state.recorded_facts()
    assert found is not None
    assert found.nodes["gpu-3"].cards == ()
    assert len(found.nodes) == 49


def test_the_journal_says_started_before_and_the_end_after(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        state.step_started(run, "load:x", "x", "load")
        reader = open_reader(path)
        assert [row.status for row in reader.journal(run)] == [StepStatus.STARTED]
        state.step_finished(run, "load:x", StepStatus.FAILED, "out_of_memory: no")
        state.steps_settled(run, [SettledStep("load:y", "y", "load", StepStatus.SKIPPED, "need_not_met")])
        assert [(row.step_id, row.status, row.reason) for row in reader.journal(run)] == [
            ("load:x", StepStatus.FAILED, "out_of_memory: no"),
            ("load:y", StepStatus.SKIPPED, "need_not_met"),
        ]
        state.finish_run(run, "partial")
        assert [(record.result, record.command) for record in reader.runs()] == [("partial", "apply")]
        reader.close()


def test_a_step_that_never_started_cannot_finish(tmp_path: Path) -> None:
    with open_writer(tmp_path / "s.db", command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        with pytest.raises(StateError, match="never started"):
            state.step_finished(run, "load:x", StepStatus.DONE)


def test_a_run_that_died_is_marked_interrupted_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_writer(path, command="apply") as state:
        dead = state.begin_run("p", "c", "apply")
        state.step_started(dead, "load:x", "x", "load")
    with open_writer(path, command="apply") as state:
        state.begin_run("p", "c", "apply")
        assert state.runs()[1].result == "interrupted"
        assert state.journal(dead)[0].status is StepStatus.INTERRUPTED


def test_a_password_in_a_command_line_is_not_stored(tmp_path: Path) -> None:
    with open_writer(tmp_path / "s.db", command="apply --state postgresql://u:hush@db/x") as state:
        state.begin_run("p", "c", "apply --state postgresql://u:hush@db/x")
    assert b"hush" not in (tmp_path / "s.db").read_bytes()


def test_file_and_folder_are_for_their_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state" / "s.db"
    before = os.umask(0o777)
    try:
        with open_writer(path, command="apply", new_folder=True) as state:
            state.begin_run("p", "c", "apply")
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"s.db": 0o600, "s.db-wal": 0o600, "s.db-shm": 0o600}
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path.parent.parent)] == [0o700, 0o700]


def test_what_exists_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o755)
    with open_writer(folder / "s.db", command="apply"):
        pass
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_newer_schema_is_refused_by_readers_and_writers(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_writer(path, command="apply"):
        pass
    conn = sqlite3.connect(path)
    conn.execute("INSERT INTO migrations VALUES (99, 'later')")
    conn.commit()
    conn.close()
    with pytest.raises(StateError, match=r"newer gpurec \(schema 99"):
        open_reader(path)
    with pytest.raises(StateError, match="newer gpurec"), open_writer(path, command="apply"):
        pass


def test_another_programs_sqlite_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    conn = sqlite3.connect(path)
    conn.execute("CREATE TABLE bookmarks (url TEXT)")
    conn.commit()
    conn.close()
    with pytest.raises(StateError, match="not a gpurec state"):
        open_reader(path)
    with pytest.raises(StateError, match="not a gpurec state"), open_writer(path, command="apply"):
        pass


@pytest.mark.parametrize("content", [b"this is no database, whatever it is called\n" * 100, b"\0" * 8192])
def test_a_file_that_is_no_database_is_one_clear_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(content)
    with pytest.raises(StateError, match="not an SQLite file") as caught:
        open_reader(path)
    assert str(path) in str(caught.value)
    with pytest.raises(StateError, match="not an SQLite file"), open_writer(path, command="apply"):
        pass
    assert path.read_bytes() == content


def test_a_damaged_store_is_one_clear_sentence(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_writer(path, command="apply") as state:
        state.begin_run("p", "c", "apply")
        state.record([replica(f"m{n}:latest") for n in range(500)])
    content = bytearray(path.read_bytes())
    content[len(content) // 3 :] = os.urandom(len(content) - len(content) // 3)
    path.write_bytes(content)
    with pytest.raises(StateError, match="damaged"):
        read(path)


def test_a_folder_in_the_place_of_the_file_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be opened"):
        open_reader(tmp_path)
    with pytest.raises(StateError, match="cannot be opened"), open_writer(tmp_path, command="apply"):
        pass


def test_a_file_in_the_place_of_the_folder_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    for new_folder, said in ((False, "is a file"), (True, "cannot be created")):
        path = tmp_path / "state" / "s.db"
        with pytest.raises(StateError, match=said), open_writer(path, command="apply", new_folder=new_folder):
            pass


def test_a_folder_that_does_not_exist_is_made_only_where_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "mistyped" / "s.db"
    with pytest.raises(StateError, match=r"does not exist.*--state-new"), open_writer(path, command="apply"):
        pass
    assert not path.parent.exists()
    with open_writer(path, command="apply", new_folder=True):
        pass
    assert path.exists()


@pytest.mark.parametrize("there", ["nothing", "an empty file", "an empty database"])
def test_a_state_that_holds_nothing_yet_is_set_up_and_said(tmp_path: Path, there: str) -> None:
    path = tmp_path / "s.db"
    if there != "nothing":
        path.touch()
    if there == "an empty database":
        with closing(sqlite3.connect(path)) as conn:
            conn.execute("PRAGMA user_version = 1")
            conn.commit()
    with open_writer(path, command="apply", fleet="lab") as state:
        assert state.notices == (f"set up a new state for the fleet lab: {path}",)
        state.begin_run("p", "c", "apply")
    with open_writer(path, command="apply", fleet="lab") as state:
        assert state.notices == ()


def test_a_link_to_a_state_is_followed_by_all_that_opens_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "lab.db"
    link.symlink_to(Path("real") / "lab.db")
    with open_writer(link, command="apply") as state:
        state.begin_run("p", "c", "apply")
        assert {each.name for each in (tmp_path / "real").iterdir()} == {"lab.db", "lab.db-wal", "lab.db-shm"}
        assert all(one.level is not StateLevel.ERROR for one in check_state(link))
        with pytest.raises(LockHeld), open_writer(link, command="apply"):
            pass
    assert read(link).lineage is not None
    assert link.is_symlink()


def test_a_device_or_a_pipe_is_no_state_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "s.db")
    with pytest.raises(StateError, match="a device or a pipe"):
        open_reader(tmp_path / "s.db")
    with pytest.raises(StateError, match="a device or a pipe"), open_writer(tmp_path / "s.db", command="apply"):
        pass


_AS_NOBODY = """
import os, sys
from pathlib import Path
from reconciler.fleet import StateError
from reconciler.state import open_reader, open_writer
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
path = Path(sys.argv[1])
print(len(open_reader(path).applied().replicas))
try:
    with open_writer(path, command="apply"):
        print("written")
except StateError as error:
    print("refused", "read-only" in str(error), sep="\\n")
"""


def test_a_store_in_a_folder_that_cannot_be_written_is_read_and_refuses_a_writer() -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "s.db"
        with open_writer(path, command="apply") as state:
            state.begin_run("p", "c", "apply")
            state.record([replica()])
        path.chmod(0o444)
        path.parent.chmod(0o555)
        done = subprocess.run([sys.executable, "-c", _AS_NOBODY, str(path)], capture_output=True, text=True, check=False)
        path.parent.chmod(0o755)
    assert done.stdout.split() == ["1", "refused", "True"], done.stderr


def test_a_hundred_thousand_replicas_are_all_read(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    path = tmp_path / "s.db"
    with open_writer(path, command="apply") as state:
        state.begin_run("p", "c", "apply")
        state.record(replica(f"m{n}:latest") for n in range(100_000))
    started = time.perf_counter()
    found = read(path)
    record_property("read_seconds", round(time.perf_counter() - started, 3))
    assert len(found.replicas) == 100_000


def test_the_time_since_which_an_engine_is_silent_is_kept_until_it_answers(tmp_path: Path) -> None:
    def seen(at: str, reachable: bool) -> FleetFacts:
        engine = EngineFacts(EngineId("n", "e"), EngineKind.OLLAMA, reachable, residents=())
        return FleetFacts(at, {"n": NodeFacts("n", (), None, {"e": engine})})

    with open_writer(tmp_path / "s.db", command="apply") as state:
        told = []
        for at, reachable in (("t1", True), ("t2", False), ("t3", False), ("t4", True), ("t5", False)):
            state.record_facts(seen(at, reachable))
            told.append(dict(state.applied().silent))
    silent = EngineId("n", "e")
    assert told == [{}, {silent: "t2"}, {silent: "t2"}, {}, {silent: "t5"}]


def test_how_hot_a_card_was_is_kept_until_it_is_normal_again(tmp_path: Path) -> None:
    with open_writer(tmp_path / "s.db", command="apply") as state:
        state.record_heat({("n", 0): Heat.CRITICAL, ("n", 1): Heat.NORMAL})
        assert state.applied().heat == {("n", 0): Heat.CRITICAL}
        state.record_heat({("n", 1): Heat.WARNING})
        assert state.applied().heat == {("n", 0): Heat.CRITICAL, ("n", 1): Heat.WARNING}
        state.record_heat({("n", 0): Heat.NORMAL})
        assert state.applied().heat == {("n", 1): Heat.WARNING}


def test_two_incidents_of_one_second_are_two_and_one_told_twice_is_one(tmp_path: Path) -> None:
    moments = (datetime(2026, 1, 1, 12, 0, 0, micros, tzinfo=UTC) for micros in range(99))
    with open_writer(tmp_path / "s.db", command="apply", clock=lambda: next(moments)) as state:
        state.record_incident("model.m@n/e", "evicted", "w", evictor="x")
        state.record_incident("model.m@n/e", "evicted", "w")
        for _ in range(2):
            state.record_incident("model.m@n/e", "evicted", "w", at="2026-01-01T11:00:00Z", evictor="y")
        assert [(one.at[11:19], one.evictor) for one in state.applied().incidents] == [
            ("11:00:00", "y"),
            ("12:00:00", "x"),
            ("12:00:00", None),
        ]


def test_resources_of_other_kinds_are_kept_with_what_was_written_and_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    one = AppliedResource("file.out/a@local", {"content": "sha256:1", "mode": "0644"}, "text\n")
    with open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        state.record_resources((one,))
        state.record_resources((one,))
        assert state.finish_run(run, "done") == 1
    with closing(open_reader(path)) as reader:
        assert reader.applied().resources == {one.address: replace(one, serial=1)}
    with open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        state.record_resources((), (one.address, "file.never@local"))
        assert state.finish_run(run, "done") == 2
        assert state.applied().resources == {}


def test_to_record_one_resource_reads_no_other(tmp_path: Path) -> None:
    with open_writer(tmp_path / "s.db", command="apply") as state:
        state.begin_run("p", "c", "apply")
        state.record_resources(AppliedResource(f"file.{number}@local", {}, "text\n") for number in range(10))
        said: list[str] = []
        state._conn.set_trace_callback(said.append)  # type: ignore[attr-defined]
        state.record_resources((AppliedResource("file.3@local", {}, "new\n"),), ("file.4@local",))
        reads = [one for one in said if one.startswith("SELECT") and "FROM resources" in one]
        assert [one.partition("WHERE ")[2] for one in reads] == ["address = 'file.3@local'", "address = 'file.4@local'"]
        assert len(state.applied().resources) == 9


@pytest.mark.parametrize(("free", "said"), [(0, "the disk is full"), (4096, "the disk of the state fails")])
def test_a_full_disk_is_called_so_whatever_sqlite_calls_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, said: str) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR_SHMSIZE"
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(StateError, match=said), sqlite_said(tmp_path / "s.db"):
        raise error
