"""The log beside the file: whole, torn, gone, and what a run that takes over says of it."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.state import StateLevel, check_state, open_writer
from reconciler.state.sqlite.log import log_path, look_at_log

_DIES = """
import os, signal, sys
from pathlib import Path
from reconciler.state import open_writer
with open_writer(Path(sys.argv[1]), command="gpurec apply") as state:
    run = state.begin_run("p", "c", "apply")
    for number in range(5):
        state.step_started(run, f"load:{number}", "x", "load")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def dead(tmp_path: Path) -> Path:
    """A state whose writer was killed: its log is still beside it."""
    path = tmp_path / "s.db"
    done = subprocess.run([sys.executable, "-c", _DIES, str(path)], check=False)
    assert done.returncode == -9
    return path


def steps(path: Path) -> int:
    with closing(sqlite3.connect(path)) as conn:
        return int(conn.execute("SELECT count(*) FROM journal").fetchone()[0])


def leave(path: Path) -> None:
    """The log stays as it was."""


def this_round(log: Path) -> bytearray:
    """The log without what an earlier, longer round of it left behind (sqlite.org/fileformat2.html, "WAL File Format")."""
    content = bytearray(log.read_bytes())
    frame, end = 24 + int.from_bytes(content[8:12], "big"), 32
    while content[end + 8 : end + 16] == content[16:24]:
        end += frame
    return content[:end]


def tear(path: Path) -> None:
    """The last page of the log did not reach the disk."""
    log = log_path(path)
    log.write_bytes(this_round(log)[:-1000])


def flip(path: Path) -> None:
    """One byte of the last page reached the disk wrong."""
    log = log_path(path)
    content = this_round(log)
    content[-1000] ^= 1
    log.write_bytes(content)


def spoil_head(path: Path) -> None:
    log = log_path(path)
    log.write_bytes(b"x" * 32 + log.read_bytes()[32:])


def delete(path: Path) -> None:
    log_path(path).unlink()


@pytest.mark.parametrize(
    ("harm", "level", "said", "left"),
    [
        (leave, StateLevel.OK, None, 5),
        (tear, StateLevel.WARNING, "torn", 4),
        (flip, StateLevel.WARNING, "torn", 4),
        (spoil_head, StateLevel.ERROR, "cannot be read", 0),
        (delete, StateLevel.ERROR, "is gone", 0),
    ],
)
def test_a_check_and_the_run_that_takes_over_say_what_became_of_the_log(
    dead: Path, harm: Callable[[Path], None], level: StateLevel, said: str | None, left: int
) -> None:
    harm(dead)
    for _ in range(2):  # looking changes nothing
        (finding,) = [one for one in check_state(dead) if one.name == "log"]
        assert finding.level is level
        assert said is None or said in finding.message
    with open_writer(dead, command="apply") as state:
        assert state.took_over is not None
        assert "gone" in state.took_over  # the process
        assert ("its log" in state.took_over) is (said is not None)
        assert said is None or said in state.took_over
    assert steps(dead) == left


def test_pages_of_an_earlier_round_of_the_log_are_no_tear(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("CREATE TABLE t (a)")
        for number in range(20):
            conn.execute("INSERT INTO t VALUES (?)", ("x" * 3000 + str(number),))
        conn.execute("PRAGMA wal_checkpoint(RESTART)")
        conn.execute("INSERT INTO t VALUES ('one more')")
        copy = tmp_path / "copy.db"
        shutil.copy(log_path(path), log_path(copy))
    log = look_at_log(copy)
    assert (log.missing, log.unreadable, log.commits, log.cut) == (False, False, 1, 0)


def test_the_log_agrees_with_sqlite_on_how_many_commits_are_whole(dead: Path) -> None:
    whole = look_at_log(dead).commits
    assert whole >= 6
    for expected in range(whole - 1, whole - 4, -1):
        content = log_path(dead).read_bytes()
        size = len(content)
        while look_at_log(dead).commits == expected + 1:
            size -= 500
            log_path(dead).write_bytes(content[:size])
        assert look_at_log(dead).commits == expected


def test_a_state_that_was_closed_has_no_log_and_that_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_writer(path, command="apply") as state:
        state.begin_run("p", "c", "apply")
    assert look_at_log(path).missing
    assert [one.level for one in check_state(path) if one.name == "log"] == [StateLevel.OK]
    with open_writer(path, command="apply") as state:
        assert state.took_over is None
