"""An older store becomes a newer one step by step, or stays what it was."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from old_stores import LEASED_1, WRITERS, write_schema_1

from reconciler.fleet import AppliedReplica, EngineId, EngineKind, Heat, LoadKey, LockHeld, StateError
from reconciler.state import StepStatus, open_reader, open_writer
from reconciler.state.sqlite import schema
from reconciler.state.sqlite.schema import MIGRATIONS, SCHEMA_VERSION, migrate, schema_version

OWNED = AppliedReplica(
    "model.a:1@n/e", "a:1", EngineId("n", "e"), "a:1-c8192", "loaded", 8192, {"num_batch": 512}, -1.0, "gpu", 8192, 1.0, True, 5, 3
)  # fmt: skip


def columns(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every table's columns without their order, and every index."""
    with closing(sqlite3.connect(path)) as conn:
        names = [name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        found: dict[str, list[tuple[object, ...]]] = {name: sorted(conn.execute(f"PRAGMA table_info({name})"), key=str) for name in names}
        found["indices"] = conn.execute("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index' ORDER BY name").fetchall()
    return found


def test_there_is_a_store_of_every_earlier_schema_to_test_with() -> None:
    assert sorted(WRITERS) == list(range(1, SCHEMA_VERSION))


@pytest.mark.parametrize("version", sorted(WRITERS))
def test_every_earlier_schema_becomes_the_one_of_a_new_store_and_keeps_what_it_held(tmp_path: Path, version: int) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    WRITERS[version](old)
    with open_writer(new, command="apply"):
        pass
    with open_writer(old, command="apply") as state:
        applied = state.applied()
        assert (applied.lineage, applied.serial, dict(applied.replicas)) == ("l-1", 3, {OWNED.address: OWNED})
        assert applied.load_seconds == {LoadKey(EngineKind.OLLAMA, "a:1", None): 2.5}
        assert applied.measured == {}  # nobody can say of which weights and on which card it was measured
        run = state.begin_run("p", "c", "apply")
        assert [(one.id, one.result) for one in state.runs()] == [(run, "running"), (2, "interrupted"), (1, "done")]
        assert [row.status for row in state.journal(2)] == [StepStatus.INTERRUPTED]
        assert state.finish_run(run, "done") == 3
    assert columns(old) == columns(new)
    with closing(sqlite3.connect(old)) as conn:
        assert [row[0] for row in conn.execute("SELECT version FROM migrations ORDER BY version")] == [*range(1, SCHEMA_VERSION + 1)]
        assert conn.execute("PRAGMA foreign_key_check").fetchall() == []


def test_the_heat_of_a_card_is_kept_and_that_of_one_whose_id_is_a_name_can_be(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    WRITERS[11](path)
    with open_writer(path, command="apply") as state:
        assert state.applied().heat == {("n", 0): Heat(1)}
        state.record_heat({("n", "amd0"): Heat(2)})
        assert state.applied().heat[("n", "amd0")] == Heat(2)


def test_a_card_is_known_by_the_same_id_after_ids_became_json(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    WRITERS[14](path)
    with closing(open_reader(path)) as state:
        assert state.applied().heat == {("n", 0): Heat(1), ("n", "amd0"): Heat(2)}


@pytest.mark.parametrize("version", sorted(WRITERS))
def test_a_reader_reads_an_older_schema_and_leaves_the_file_as_it_is(tmp_path: Path, version: int) -> None:
    path = tmp_path / "s.db"
    WRITERS[version](path)
    before = path.read_bytes()
    with closing(open_reader(path)) as state:
        assert dict(state.applied().replicas) == {OWNED.address: OWNED}
        assert [one.result for one in state.runs()] == ["running", "done"]
        assert state.runs()[1].steps == {"done": 1}
    assert path.read_bytes() == before
    assert path.with_name("s.db-wal").stat().st_size == 0  # SQLite itself makes it for readers


@pytest.mark.parametrize("version", sorted(WRITERS))
def test_schema_3_knows_of_an_older_store_what_it_holds_now_and_nothing_of_before(tmp_path: Path, version: int) -> None:
    path = tmp_path / "s.db"
    WRITERS[version](path)
    with closing(open_reader(path)) as state:
        unseen = replace(OWNED, observed_context=None, observed_gpu_fraction=None, observed_pinned=None)
        assert state.applied_at(3) == {OWNED.address: unseen}
        with pytest.raises(StateError, match="knows no serial 2; it knows serials 3 to 3"):
            state.applied_at(2)


def test_schema_2_parts_the_boot_id_from_the_pid_namespace(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    write_schema_1(path, LEASED_1)
    with closing(open_reader(path)) as state:
        lease = state.lease()
    assert lease is not None
    assert (lease.process.boot, lease.process.namespace, lease.process.ci) == ("boot-9", "pid:[4026531836]", None)


def test_a_store_is_not_migrated_while_an_older_program_writes_to_it(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    write_schema_1(path, LEASED_1, f"UPDATE lease SET heartbeat_at = {time.time()}")
    with pytest.raises(LockHeld, match="ann on h"), open_writer(path, command="apply"):
        pass
    with closing(sqlite3.connect(path)) as conn:
        assert schema_version(conn, path) == 1


def test_a_migration_that_fails_leaves_the_version_before_it_and_the_next_try_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.db"
    write_schema_1(path)
    steps = []

    def good(conn: sqlite3.Connection) -> None:
        steps.append("good")
        conn.execute("CREATE TABLE good (a)")

    def bad(conn: sqlite3.Connection) -> None:
        conn.execute("CREATE TABLE half (a)")
        raise RuntimeError("power cut")

    def set_migrations(*added: object) -> None:
        monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, *added))
        monkeypatch.setattr(schema, "SCHEMA_VERSION", len(MIGRATIONS) + len(added))

    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        set_migrations(good, bad)
        with pytest.raises(RuntimeError):
            migrate(conn, path, "now")
        assert schema_version(conn, path) == len(MIGRATIONS) + 1
        assert not conn.in_transaction
        assert {"good"} == {name for (name,) in conn.execute("SELECT name FROM sqlite_master")} & {"good", "half"}
        set_migrations(good, lambda conn: conn.execute("CREATE TABLE half (a)"))
        migrate(conn, path, "now")
        assert schema_version(conn, path) == len(MIGRATIONS) + 2
    assert steps == ["good"]


_MAKES = """
import sys
from pathlib import Path
from reconciler.state import open_writer
with open_writer(Path(sys.argv[1]), command="apply", fleet="lab"):
    print("sqlite_utils" in sys.modules, "numpy" in sys.modules)
import numpy
"""


def test_making_a_state_brings_no_numpy_into_a_process_and_leaves_it_to_who_asks_for_it(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _MAKES, str(tmp_path / "s.db")], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
