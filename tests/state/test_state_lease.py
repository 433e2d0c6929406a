"""One writer at a time: who holds the lease, when it is taken over, and that a writer without it writes nothing."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.fleet import AppliedReplica, EngineId, LockHeld, StateError
from reconciler.state import StepStatus, open_reader, open_writer
from reconciler.state.lease import EXPIRY_SECONDS, HEARTBEAT_SECONDS, Standing
from reconciler.state.process import Process, ci_page, is_gone, this_process
from reconciler.state.sql.lease import break_lease, release_lease
from reconciler.state.sqlite.lease import Heartbeat, read_lease, still_ours, take_lease

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ME = Process("ben", "here", "boot-1", 100, 5000, "pid:[1]")
RUNNING = {100: 5000, 200: 6000}
"""Process ids of the machine to their start times."""
TABLE = RUNNING.get


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with open_writer(tmp_path / "s.db", command="init"):
        pass
    return tmp_path / "s.db"


@pytest.fixture
def conn(path: Path) -> Iterator[sqlite3.Connection]:
    conn = sqlite3.connect(path, isolation_level=None)
    yield conn
    conn.close()


def test_a_second_writer_is_told_who_where_when_and_what(path: Path) -> None:
    with (
        open_writer(path, command="gpurec apply"),
        pytest.raises(LockHeld) as caught,
        open_writer(path, command="gpurec apply -C elsewhere"),
    ):
        pass
    said = str(caught.value)
    me = this_process()
    assert caught.value.exit_code == 5
    for word in (me.who, me.host, str(os.getpid()), "`gpurec apply`", "--lock-timeout", str(path)):
        assert word in said


def test_the_lease_is_free_after_the_block_also_when_it_failed(path: Path) -> None:
    with pytest.raises(RuntimeError), open_writer(path, command="apply"):
        raise RuntimeError
    with open_writer(path, command="apply") as state:
        assert state.took_over is None


def test_a_reader_reads_while_a_writer_writes(path: Path) -> None:
    with open_writer(path, command="apply") as state:
        state.begin_run("p", "c", "apply")
        reader = open_reader(path)
        assert reader.applied().lineage is not None
        reader.close()


def test_waiting_for_the_lease_ends_when_its_holder_is_done(path: Path) -> None:
    first = open_writer(path, command="apply")
    first.__enter__()
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            first.__exit__(None, None, None)

    with open_writer(path, command="apply", lock_timeout=60, sleep=sleep) as state:
        assert state.took_over is None
    assert len(pauses) == 3


def test_waiting_for_the_lease_ends_with_the_timeout(path: Path) -> None:
    pauses: list[float] = []
    with (
        open_writer(path, command="apply"),
        pytest.raises(LockHeld),
        open_writer(path, command="apply", lock_timeout=1.2, sleep=pauses.append),
    ):
        pass
    assert sum(pauses) == pytest.approx(1.2)


def test_the_holder_of_another_host_is_replaced_only_after_its_expiry(path: Path, conn: sqlite3.Connection) -> None:
    there = replace(this_process(), host="elsewhere", boot="another boot", who="ann")
    take_lease(conn, path, "gpurec apply --keep-going", NOW, there)
    with pytest.raises(LockHeld, match="ann on elsewhere"):
        take_lease(conn, path, "apply", NOW + timedelta(seconds=30))
    held = take_lease(conn, path, "apply", NOW + timedelta(seconds=31))
    assert held.took_over is not None
    for word in ("ann", "elsewhere", "2026-01-01T00:00:00Z", "gpurec apply --keep-going", "30 s"):
        assert word in held.took_over


def test_a_live_holder_of_this_boot_is_never_replaced_however_old_its_heartbeat(path: Path, conn: sqlite3.Connection) -> None:
    take_lease(conn, path, "apply", NOW)
    with pytest.raises(LockHeld):
        take_lease(conn, path, "apply", NOW + timedelta(days=1))


def test_a_process_id_used_again_is_not_the_holder(path: Path, conn: sqlite3.Connection) -> None:
    me = this_process()
    assert me.started is not None
    take_lease(conn, path, "apply", NOW, replace(me, started=me.started - 1))
    assert take_lease(conn, path, "apply", NOW).took_over is not None


def test_a_process_of_another_pid_namespace_is_not_judged_by_its_id(path: Path, conn: sqlite3.Connection) -> None:
    dead = replace(ME, pid=7)
    assert is_gone(dead, ME, TABLE)
    assert not is_gone(replace(dead, namespace="pid:[2]"), ME, TABLE)
    assert not is_gone(replace(dead, boot="another boot"), ME, TABLE)
    for unknown in ({"boot": None}, {"namespace": None}):
        assert not is_gone(replace(dead, **unknown), replace(ME, **unknown), TABLE)


def test_the_heartbeat_is_5_s_and_the_expiry_30_s() -> None:
    assert (HEARTBEAT_SECONDS, EXPIRY_SECONDS) == (5, 30)


HOLDER = replace(ME, who="ann", pid=200, started=6000, ci="https://ci.example/7")
AGES = (0.0, -30.0, 30.001, -864000.0)


@pytest.mark.parametrize(
    ("holder", "standings"),
    [
        (HOLDER, [Standing.RUNNING] * 4),
        (replace(HOLDER, pid=201), [Standing.GONE] * 4),
        (replace(HOLDER, started=5999), [Standing.GONE] * 4),
        (replace(HOLDER, host="elsewhere", boot="boot-2", pid=201), [Standing.FRESH, Standing.FRESH, Standing.EXPIRED, Standing.EXPIRED]),
        (replace(HOLDER, namespace="pid:[2]", pid=201), [Standing.FRESH, Standing.FRESH, Standing.EXPIRED, Standing.EXPIRED]),
        (replace(HOLDER, boot=None, namespace=None), [Standing.FRESH, Standing.FRESH, Standing.EXPIRED, Standing.EXPIRED]),
    ],
    ids=["still there", "gone", "its id used again", "another host", "another container", "a system that does not tell"],
)
def test_a_lease_is_taken_over_at_once_from_the_gone_never_from_the_running_elsewhere_by_its_heartbeat(
    path: Path, conn: sqlite3.Connection, holder: Process, standings: list[Standing]
) -> None:
    """Less than 0: the clock of the holder is ahead."""
    for age, standing in zip(AGES, standings, strict=True):
        conn.execute("UPDATE lease SET owner = NULL")
        take_lease(conn, path, "apply", NOW, holder, lambda pid: None)
        later = NOW + timedelta(seconds=age)
        lease = read_lease(conn)
        assert lease is not None
        assert lease.process == holder
        assert lease.standing(ME, later, TABLE) is standing
        if standing.holds:
            with pytest.raises(LockHeld, match=r"https://ci\.example/7"):
                take_lease(conn, path, "apply", later, ME, TABLE)
            assert read_lease(conn) == lease
        else:
            assert take_lease(conn, path, "apply", later, ME, TABLE).took_over is not None


def test_a_broken_lease_is_free_and_its_holder_writes_nothing_more(path: Path, conn: sqlite3.Connection) -> None:
    held = take_lease(conn, path, "apply", NOW, HOLDER, TABLE)
    assert not break_lease(conn, "an owner of long ago")
    assert break_lease(conn, held.owner)
    assert read_lease(conn) is None
    assert not still_ours(conn, held)
    assert not Heartbeat(path, held, lambda: NOW).beat(conn)
    assert not break_lease(conn, held.owner)
    assert take_lease(conn, path, "apply", NOW, ME, TABLE).token == held.token + 2


GITHUB = {"GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://git.example", "GITHUB_REPOSITORY": "a/b", "GITHUB_RUN_ID": "17"}


@pytest.mark.parametrize(
    ("environment", "page"),
    [
        ({}, None),
        (GITHUB, "https://git.example/a/b/actions/runs/17"),
        ({**GITHUB, "GITHUB_SERVER_URL": ""}, "https://github.com/a/b/actions/runs/17"),
        ({"CI_JOB_URL": "https://gitlab.example/a/b/-/jobs/9"}, "https://gitlab.example/a/b/-/jobs/9"),
        ({"CI_JOB_URL": "https://job:hush@gitlab.example/9"}, "https://gitlab.example/9"),
        ({"CI_JOB_URL": "javascript:alert(1)"}, None),
        ({"CI_JOB_URL": "https://a.example/\x1b[2J"}, None),
        ({"CI_JOB_URL": "https://a.example/" + "9" * 500}, None),
        ({"CI_JOB_URL": "http://[a"}, None),
    ],
)
def test_the_page_of_a_ci_job_is_a_web_address_without_a_password(environment: dict[str, str], page: str | None) -> None:
    assert ci_page(environment) == page


def test_every_take_raises_the_fencing_token(path: Path, conn: sqlite3.Connection) -> None:
    tokens = []
    for _ in range(3):
        held = take_lease(conn, path, "apply", NOW)
        tokens.append(held.token)
        release_lease(conn, held)
    assert tokens == sorted(set(tokens))


def test_an_old_holder_can_neither_release_nor_refresh_the_lease_of_another(path: Path, conn: sqlite3.Connection) -> None:
    old = take_lease(conn, path, "apply", NOW, replace(this_process(), boot="gone"))
    new = take_lease(conn, path, "apply", NOW + timedelta(minutes=1))
    release_lease(conn, old)
    assert not Heartbeat(path, old, lambda: NOW).beat(conn)
    assert still_ours(conn, new)


def test_a_heartbeat_moves_the_time_of_the_lease(path: Path, conn: sqlite3.Connection) -> None:
    held = take_lease(conn, path, "apply", NOW)
    assert Heartbeat(path, held, lambda: NOW + timedelta(seconds=5)).beat(conn)
    lease = read_lease(conn)
    assert lease is not None
    assert (lease.since, lease.heartbeat) == ("2026-01-01T00:00:00Z", "2026-01-01T00:00:05Z")


def test_the_heartbeat_thread_beats_and_ends(path: Path, conn: sqlite3.Connection) -> None:
    held = take_lease(conn, path, "apply", NOW)
    beats: list[datetime] = []
    heartbeat: Heartbeat

    def clock() -> datetime:
        beats.append(NOW)
        if len(beats) == 3:
            heartbeat._stop.set()
        return NOW + timedelta(seconds=len(beats))

    heartbeat = Heartbeat(path, held, clock, every=0.001)
    heartbeat.start()
    heartbeat._thread.join(20)
    lease = read_lease(conn)
    assert lease is not None
    assert lease.heartbeat == "2026-01-01T00:00:03Z"


def test_a_writer_that_lost_its_lease_can_write_nothing(path: Path, conn: sqlite3.Connection) -> None:
    at = EngineId("n", "e")
    with open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        state.step_started(run, "s", "a", "load")
        conn.execute("UPDATE lease SET owner = 'other', token = token + 1")
        writes = (
            lambda: state.begin_run("p", "c", "apply"),
            lambda: state.step_started(run, "t", "a", "load"),
            lambda: state.step_finished(run, "s", StepStatus.DONE),
            lambda: state.record([AppliedReplica("model.a@n/e", "a", at, "a")]),
            lambda: state.finish_run(run, "done"),
        )
        for write in writes:
            with pytest.raises(StateError, match="taken over by another"):
                write()
        assert state.applied().replicas == {}
        assert [row.status for row in state.journal(run)] == [StepStatus.STARTED]
    assert conn.execute("SELECT owner FROM lease").fetchone() == ("other",)


_HOLDER = """
import sys
from pathlib import Path
from reconciler.state import open_writer
with open_writer(Path(sys.argv[1]), command="gpurec apply --auto-approve") as state:
    run = state.begin_run("p", "c", "apply")
    state.step_started(run, "load:x", "x", "load")
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("reaped", [True, False])
def test_the_lease_of_a_killed_process_is_taken_over_at_once_and_told(path: Path, reaped: bool) -> None:
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LockHeld, match=str(holder.pid)), open_writer(path, command="apply"):
        pass
    holder.send_signal(signal.SIGKILL)
    if reaped:
        holder.wait(20)
    else:
        assert holder.stdout.read() == ""  # its end of the pipe closes when it dies; nobody has waited for it yet
    with open_writer(path, command="apply", lock_timeout=5) as state:
        assert state.took_over is not None
        for word in (str(holder.pid), "gpurec apply --auto-approve", this_process().host, "gone"):
            assert word in state.took_over
        run = state.begin_run("p", "c", "apply")
        assert state.journal(run - 1)[0].status is StepStatus.INTERRUPTED
    holder.communicate()


FAR = replace(HOLDER, host="elsewhere", boot="boot-2", pid=201)


@pytest.mark.parametrize("skew", [timedelta(days=10), timedelta(minutes=-10)], ids=["ten days ahead", "ten minutes behind"])
def test_a_holder_by_another_clock_is_watched_and_stays_as_long_as_its_heartbeat_moves(
    path: Path, conn: sqlite3.Connection, skew: timedelta
) -> None:
    real = datetime.now(UTC)
    held = take_lease(conn, path, "apply", real + skew, FAR)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if sum(pauses) == 5:
            assert Heartbeat(path, held, lambda: real + skew + timedelta(seconds=5)).beat(conn)

    with (
        pytest.raises(LockHeld, match=r"by a clock that is .* (ahead of|behind) this one"),
        open_writer(path, command="apply", sleep=sleep),
    ):
        pass
    assert sum(pauses) == 5
    assert still_ours(conn, held)


@pytest.mark.parametrize("skew", [timedelta(days=10), timedelta(minutes=-10)], ids=["ten days ahead", "ten minutes behind"])
def test_a_dead_holder_by_another_clock_is_replaced_after_it_was_watched(path: Path, conn: sqlite3.Connection, skew: timedelta) -> None:
    take_lease(conn, path, "apply", datetime.now(UTC) + skew, FAR)
    pauses: list[float] = []
    with open_writer(path, command="apply", sleep=pauses.append) as state:
        assert state.took_over is not None
    assert sum(pauses) == EXPIRY_SECONDS


def test_a_holder_that_wrote_nothing_for_long_is_replaced_without_a_watch(path: Path, conn: sqlite3.Connection) -> None:
    take_lease(conn, path, "apply", datetime.now(UTC) - timedelta(days=1), FAR)
    conn.close()
    for each in (path, path.with_name("s.db-wal")):
        if each.exists():
            os.utime(each, (0, 0))

    def sleep(seconds: float) -> None:
        raise AssertionError("there is nothing to wait for")

    with open_writer(path, command="apply", sleep=sleep) as state:
        assert state.took_over is not None


def test_a_run_that_lost_its_lease_may_send_nothing_more(path: Path, conn: sqlite3.Connection) -> None:
    with open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        state.step_started(run, "s", "a", "load")
        state.prove_held()
        conn.execute("UPDATE lease SET owner = 'other', token = token + 1")
        with pytest.raises(StateError, match="taken over by another"):
            state.prove_held()


def test_the_heartbeat_goes_on_while_the_run_itself_is_stuck(path: Path, conn: sqlite3.Connection) -> None:
    held = take_lease(conn, path, "apply", NOW)
    beats = 0
    beaten = threading.Event()

    def clock() -> datetime:
        nonlocal beats
        beats += 1
        if beats == 3:
            beaten.set()
        return NOW + timedelta(seconds=beats)

    heartbeat = Heartbeat(path, held, clock, every=0.001)
    heartbeat.start()
    assert beaten.wait(20), "this thread, which is the run, did nothing else meanwhile"
    heartbeat.stop()
