"""A state in a real PostgreSQL: the rules of every state, and what happens when a client, a connection or the server goes away."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from certificates import Authority
from cli_lab import Lab, served
from cutting import CuttingProxy
from postgres import Postgres
from processes import LOOPBACK
from state_rules import ODD, RULES, StateRule, apply, fill, read, refused, row, verify_copy

from reconciler.fleet import LockHeld, StateError
from reconciler.operations.recovery import take_in_rescues
from reconciler.sim import builtin_fleet
from reconciler.state import SqliteStore, StepStatus, Store, copy_state, find_rescues, open_state
from reconciler.state.postgres.connection import ConnectionLost, PostgresConnection, connect
from reconciler.state.postgres.lease import Heartbeat
from reconciler.state.postgres.opening import open_writer
from reconciler.state.postgres.store import PostgresStore
from reconciler.state.postgres.writer import PostgresWriter

BOUND = 2.0
"""How many times as long as a file a database may take to be read."""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    made = Postgres()
    made.start()
    yield made
    made.remove()


@dataclass(frozen=True)
class InPostgres:
    server: Postgres
    database: str
    folder: Path
    port: int

    def store(self, fleet: str = "lab") -> PostgresStore:
        found = open_state(f"postgresql://gpurec@{LOOPBACK}:{self.port}/{self.database}", self.folder, fleet)
        assert isinstance(found, PostgresStore)
        return found

    def renamed(self, old: str, new: str) -> Store:
        return self.store(new)

    def behind(self, statement: str) -> None:
        with psycopg.connect(self.server.url, autocommit=True) as conn:
            conn.execute("SET search_path TO gpurec_lab")
            conn.execute(statement.encode())


@pytest.fixture
def database(server: Postgres, tmp_path: Path) -> InPostgres:
    for (schema,) in server.query("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, 'gpurec_')"):
        server.query(f'DROP SCHEMA "{schema}" CASCADE')
    return InPostgres(server, "postgres", tmp_path, server.port)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.__name__))
def test_conformance_of_the_state_in_postgresql(rule: StateRule, database: InPostgres) -> None:
    rule(database)


def test_its_tables_have_the_columns_of_those_in_a_file(database: InPostgres) -> None:
    apply(database.store(), [row()])
    apply(SqliteStore(database.folder / "s.db"), [row()])
    with connect(database.store().address)._raw as conn:
        rows = conn.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'gpurec_lab' AND table_name <> 'shards'"
        ).fetchall()  # loops share no file
    import sqlite3

    with closing(sqlite3.connect(database.folder / "s.db")) as conn:
        tables = [str(name) for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {(table, str(column[1])) for table in tables for column in conn.execute(f"PRAGMA table_info({table})")}
    assert set(rows) - columns == {("lease", "writes"), ("journal", "rowid")}
    assert columns - set(rows) == set()


def test_a_state_goes_from_a_file_into_a_database_and_back_and_holds_the_same(database: InPostgres) -> None:
    file, back = SqliteStore(database.folder / "lab.db"), SqliteStore(database.folder / "back.db")
    fill(file)
    verify_copy(file, database.store())
    done = copy_state(database.store(), back)
    assert (read(back), done.lineage) == (read(database.store()), read(file).lineage)


def expire(database: InPostgres, seconds: float) -> None:
    """The lease is of another machine, and was last heard of so long ago."""
    database.behind(
        f"UPDATE lease SET host = 'elsewhere', boot = 'another', heartbeat_at = extract(epoch FROM clock_timestamp()) - {seconds}"
    )


def test_a_holder_on_another_machine_stands_for_30_s_by_the_clock_of_the_server(database: InPostgres) -> None:
    store = database.store()
    with store.writer(command="gpurec apply --keep-going", fleet="lab") as state:
        run = state.begin_run("p", "c", "apply")
        expire(database, 28)
        with pytest.raises(LockHeld, match="elsewhere"), store.writer(command="apply", fleet="lab"):
            pass
        expire(database, 31)
        with store.writer(command="apply", fleet="lab") as other:
            assert other.took_over is not None
            assert "not heard of for more than 30 s" in other.took_over
            refused(state, run)


def test_a_heartbeat_of_the_future_is_watched_and_stays_as_long_as_it_moves(database: InPostgres) -> None:
    store = database.store()
    apply(store, [row()])
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            expire(database, -3601)

    with store.writer(command="apply", fleet="lab"):
        expire(database, -3600)
        with pytest.raises(LockHeld), open_writer(store.address, store.rescues, command="apply", sleep=sleep):
            pass
        expire(database, -3600)
        with open_writer(store.address, store.rescues, command="apply", sleep=lambda _: None) as state:
            assert state.took_over is not None


def test_the_thread_of_the_heartbeat_tells_that_a_run_is_alive_and_comes_back_after_its_connection_was_ended(database: InPostgres) -> None:
    store = database.store()
    with store.writer(command="apply", fleet="lab") as state:
        assert isinstance(state, PostgresWriter)
        heartbeat = Heartbeat(lambda: store.address, state._held, every=0.01)
        heartbeat.start()
        try:
            for _ in range(2):
                expire(database, 100)
                until(lambda: age(store) < 50)
                database.behind("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        finally:
            heartbeat.stop()
        state.prove_held()


def age(store: Store) -> float:
    lock = store.lock()
    assert lock is not None
    return time.time() - lock.lease.heartbeat_at


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, "it never came to that"


def test_a_connection_that_is_cut_at_any_point_loses_nothing_and_does_nothing_twice(database: InPostgres) -> None:
    """The proxy cuts the n-th piece of what the writer and the server say, for every thirteenth n until a run is over before it is cut."""
    direct, proxy = database.store(), CuttingProxy(database.server.port)
    store = replace(database, port=proxy.port).store()
    apply(direct, [row()])
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)  # writer and proxy are threads of this process, and wait for each other all the time
    try:
        cut = 1
        while proxy.cuts == (cut - 1) // 13:
            with store.writer(command="apply", fleet="lab") as state:
                proxy.cut_after(cut)
                run = state.begin_run("p", "c", "apply")
                state.step_started(run, "s", "m", "load")
                state.prove_held()
                state.record([row(f"m{number:03}", vram_bytes=cut) for number in range(120)])
                state.step_finished(run, "s", StepStatus.DONE)
                serial = state.finish_run(run, "done")
                proxy.cut_after(None)
            with closing(direct.reader()) as reader:
                assert {one.vram_bytes for one in reader.applied().replicas.values()} == {5, cut}
                expected = 2 + (cut - 1) // 13
                assert (reader.applied().serial, serial) == (expected, expected)
                assert [(one.step_id, one.status) for one in reader.journal(run)] == [("s", StepStatus.DONE)]
                assert [one.result for one in reader.runs(200)] == ["done"] * expected
            assert find_rescues(store.rescues) == []
            cut += 13
    finally:
        sys.setswitchinterval(switching)
        proxy.close()
    assert cut > 60, "that many pieces were cut"


def test_a_server_that_is_still_at_a_commit_whose_connection_was_cut_is_waited_for_and_nothing_is_written_twice(
    database: InPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = database.store("lab")
    commit = PostgresConnection.commit
    late: list[threading.Timer] = []

    def cut(connection: PostgresConnection) -> None:
        """The client lost the connection; the server goes on, and is through with it after it was asked what became of it."""
        monkeypatch.setattr(PostgresConnection, "commit", commit)
        late.append(threading.Timer(0.5, commit, [connection]))
        late[0].start()
        raise ConnectionLost("cut")

    with store.writer(command="apply", fleet="lab") as writer:
        monkeypatch.setattr(PostgresConnection, "commit", cut)
        run = writer.begin_run("p", "c", "apply")
        late[0].join()
        writer.finish_run(run, "done")
    with closing(store.reader()) as state:
        assert [one.result for one in state.runs(10)] == ["done"]


def test_a_server_that_is_killed_during_an_apply_and_starts_again_is_waited_for(tmp_path: Path) -> None:
    server = Postgres()
    try:
        server.start()
        store = open_state(server.url, tmp_path, "lab")
        with store.writer(command="apply", fleet="lab") as state:
            run = state.begin_run("p", "c", "apply")
            state.step_started(run, "s", "m", "load")
            server.kill()
            server.stop()
            server.start()
            state.prove_held()
            state.record([row()])
            state.step_finished(run, "s", StepStatus.DONE)
            assert state.finish_run(run, "done") == 1
        assert list(read(store).replicas) == [row().address]
    finally:
        server.remove()


def test_what_running_steps_come_to_is_rescued_where_the_server_stays_away_and_read_in_later(tmp_path: Path) -> None:
    server = Postgres()
    try:
        server.start()
        store = open_state(server.url, tmp_path, "lab")
        assert isinstance(store, PostgresStore)
        with (
            pytest.raises(StateError, match=r"kept in a rescue journal"),
            open_writer(store.address, store.rescues, command="apply", fleet="lab", sleep=lambda _: None) as state,
        ):
            run = state.begin_run("p", "c", "apply")
            state.step_started(run, "s", "m", "load")
            server.stop()
            state.record([row(options={"stop": ODD})])
            state.step_finished(run, "s", StepStatus.DONE)
            assert state.takes_no_more
            with pytest.raises(StateError, match="nothing new is begun"):
                state.step_started(run, "t", "n", "load")
            state.finish_run(run, "done")
        server.start()
        (rescue,) = find_rescues(store.rescues)
        assert (rescue.parent, rescue.stat().st_mode & 0o777) == (tmp_path, 0o600)
        assert [one.name for one in store.check() if one.name == "rescue"] == ["rescue"]
        until(lambda: store.lock() is None)  # what could not be given back is given back as soon as that can be
        take_in_rescues(store, 0)
        assert read(store).replicas == {row().address: row(options={"stop": ODD}, serial=1)}
        with closing(store.reader()) as reader:
            assert [one.status for one in reader.journal(run)] == [StepStatus.DONE]
        assert find_rescues(store.rescues) == []
    finally:
        server.remove()


def test_a_standby_that_lacks_the_end_of_a_run_is_told_and_not_written_to(tmp_path: Path) -> None:
    """The other server has what the first one held before the last writes, as one that was promoted too early has."""
    first = Postgres()
    second: Postgres | None = None
    try:
        first.start()
        store = open_state(first.url, tmp_path, "lab")
        apply(store, [row("before")])
        with pytest.raises(StateError, match=r"kept in a rescue journal"), store.writer(command="apply", fleet="lab") as state:
            run = state.begin_run("p", "c", "apply")
            first.stop()
            second = first.copy(first.port)
            first.start()
            state.record([row("lost")])
            first.stop()
            second.start()
            with pytest.raises(StateError, match="is behind what this run wrote to it: another server answers now"):
                state.prove_held()
            with pytest.raises(StateError, match="is behind"):
                state.step_started(run, "s", "m", "load")
            state.record([row("late")])
        assert list(read(store).replicas) == [row("before").address]
        assert len(find_rescues(store.rescues)) == 1
    finally:
        first.remove()
        if second is not None:
            second.remove()


_HOLDER = """
import sys
from reconciler.state import open_state
with open_state(sys.argv[1], fleet="lab").writer(command="gpurec apply --auto-approve", fleet="lab") as state:
    run = state.begin_run("p", "c", "apply")
    state.step_started(run, "load:x", "x", "load")
    print("held", flush=True)
    sys.stdin.read()
    state.step_finished(run, "load:x", "done")
"""


def holder(store: PostgresStore) -> subprocess.Popen[str]:
    url = f"postgresql://gpurec@{LOOPBACK}:{store.address.settings['port']}/{store.address.settings['dbname']}"
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_client_that_is_killed_between_journal_and_write_is_taken_over_at_once_and_its_step_is_interrupted(database: InPostgres) -> None:
    store = database.store()
    process = holder(store)
    with pytest.raises(LockHeld, match=str(process.pid)), store.writer(command="apply", fleet="lab"):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    with store.writer(command="apply", fleet="lab") as state:
        assert state.took_over is not None
        assert "that process is gone" in state.took_over
        run = state.begin_run("p", "c", "apply")
        assert [one.status for one in state.journal(run - 1)] == [StepStatus.INTERRUPTED]
    process.communicate()


def test_a_client_that_was_stopped_and_wakes_up_after_a_takeover_writes_nothing(database: InPostgres) -> None:
    store = database.store()
    process = holder(store)
    process.send_signal(signal.SIGSTOP)
    expire(database, 31)
    with store.writer(command="apply", fleet="lab") as state:
        run = state.begin_run("p", "c", "apply")
        process.send_signal(signal.SIGCONT)
        _, said = process.communicate("\n", timeout=30)
        assert "the lock of this run was taken over by another" in said
        state.prove_held()
        assert [one.status for one in state.journal(run - 1)] == [StepStatus.INTERRUPTED]


def test_a_role_that_owns_its_schema_and_nothing_else_can_do_everything(database: InPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    database.server.query("CREATE ROLE fleet LOGIN PASSWORD 'HUSH'")
    store = open_state(f"postgresql://fleet@{LOOPBACK}:{database.port}/{database.database}", database.folder, "lab")
    with pytest.raises(StateError, match=r"may not do this: permission denied for database.*owns the schema"):
        apply(store, [row()])
    database.server.query("CREATE SCHEMA gpurec_lab AUTHORIZATION fleet")
    monkeypatch.setenv("PGPASSWORD", "HUSH")
    assert apply(store, [row(f"m{number}") for number in range(200)]) == 1
    assert {one.name: one.message for one in store.check()}["role"] == "fleet"


def test_reading_many_replicas_takes_at_most_twice_as_long_as_from_a_file(
    database: InPostgres, record_property: Callable[[str, object], None]
) -> None:
    rows = [row(f"m{number:06}", options={"num_batch": 512}, charges=((0, 5),)) for number in range(10_000)]
    taken: dict[str, float] = {}
    for name, store in (("file", SqliteStore(database.folder / "lab.db")), ("postgresql", database.store())):
        with store.writer(command="apply", fleet="lab") as state:
            run = state.begin_run("p", "c", "apply")
            taken[f"{name} write"] = spent(lambda state=state: state.record(rows))  # type: ignore[misc]
            state.finish_run(run, "done")
        taken[name] = min(spent(lambda store=store: read(store)) for _ in range(3))  # type: ignore[misc]
    for name, seconds in taken.items():
        record_property(f"{name}_seconds", round(seconds, 2))
    print(taken)
    assert taken["postgresql"] <= BOUND * taken["file"]


def spent(act: Callable[[], object]) -> float:
    """CPU time of this process, in seconds: the machine has other work too."""
    began = time.process_time()
    act()
    return time.process_time() - began


def test_a_server_whose_certificate_or_name_is_not_verified_is_refused(tmp_path: Path) -> None:
    server, authority = Postgres(), Authority(tmp_path)
    (tmp_path / "other").mkdir()
    try:
        server.encrypt(authority.issue("db", f"IP:{LOOPBACK}"))
        server.start()

        def version(host: str, authorities: str | Path) -> str:
            store = open_state(
                f"postgresql://gpurec@{host}:{server.port}/postgres?sslmode=verify-full&sslrootcert={authorities}", tmp_path, "lab"
            )
            assert isinstance(store, PostgresStore)
            with closing(connect(store.address)) as conn:
                assert conn.encrypted
                return conn.server

        assert version(LOOPBACK, authority.ca).startswith("15")
        for host, authorities in ((LOOPBACK, "system"), (LOOPBACK, Authority(tmp_path / "other").ca), ("localhost", authority.ca)):
            with pytest.raises(StateError, match=r"cannot be used: .*(certificate verify failed|does not match host name)"):
                version(host, authorities)
    finally:
        server.remove()


def test_two_workspaces_on_one_state_are_one_fleet_for_every_command(database: InPostgres, tmp_path: Path) -> None:
    """As two people with a clone each, against a simulated fleet."""
    url = f"postgresql://gpurec@{LOOPBACK}:{database.port}/{database.database}"
    (tmp_path / "ann").mkdir()
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path / "ann") as ann:
        shutil.copytree(ann.root, tmp_path / "ben")
        ben = Lab(ann.fleet, tmp_path / "ben")

        def say(lab: Lab, *arguments: str, status: int = 0) -> str:
            done = lab.run("--state", url, *arguments)
            assert done.exit_code == status, (arguments, done.output, done.exception)
            return str(done.output)

        assert "nothing" in say(ben, "state", "list").lower()
        assert f"set up a new state for the fleet demo: postgresql://{LOOPBACK}" in say(ann, "apply", "--auto-approve")
        assert "No changes." in say(ben, "plan")
        assert "No changes." in say(ben, "apply", "--auto-approve")
        assert [one["result"] for one in json.loads(say(ben, "history", "--format", "json"))] == ["done", "done"]
        owned = say(ben, "state", "list")
        assert "model.nomic-embed-text" in owned
        assert "nomic-embed-text" in say(ben, "state", "show", owned.split()[0])
        say(ben, "plan", "--out", str(tmp_path / "none.json"))
        engine = next(iter(ann.fleet.engines.values()))
        engine.restart()
        say(ann, "drift", status=2)
        say(ben, "apply", "--auto-approve")
        say(ann, "drift")
        ben.want("version: 1\npolicy: {guards: {allow_empty: true}}\nmodels: {}\n")
        assert "unload" in say(ben, "apply", "--auto-approve")
        assert json.loads(say(ann, "rollback", "1", "--format", "json"))["rollback"] == 1
        assert "to load" in say(ann, "watch", "--once", status=2)
        assert "ada/0" in say(ben, "history", "--facts")
        say(ann, "apply", "--auto-approve")
        assert "sound" in say(ann, "state", "check")
        assert "not locked" in say(ann, "lock", "status")
        assert "nomic-embed-text" in say(ben, "status")
        assert "gpurec is a superuser" in " ".join(say(ben, "doctor").split())
        assert owned.split()[0] in say(ben, "explain", owned.split()[0])
        say(ann, "state", "rm", owned.split()[0])
        assert say(ben, "state", "list").split() == owned.split()[1:]
        assert "is for a state in a file" in say(ann, "state", "backup", status=1)
        with database.store("other").writer(command="apply", fleet="other"):
            pass
        assert "Both hold the same" in say(ben, "state", "copy", url, "state/demo.db", "--state-new"), "of two fleets that of its files"
        assert ben.run("state", "list").output == say(ben, "state", "list")
        with database.store("demo").writer(command="gpurec apply of somebody else"):
            assert "apply of somebody else" in say(ann, "apply", "--auto-approve", status=5)
