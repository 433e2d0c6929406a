"""The state by size: opening, reading, an apply with nothing to do, and what journalling costs beside a load."""

from __future__ import annotations

import gc
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median

from measure import slope

from reconciler.fleet import AppliedReplica, EngineId, replica_address
from reconciler.state import StepStatus, open_reader, open_writer

SIZES = (1000, 10_000, 100_000)
OPENS_SECONDS = 0.1
ROWS = 12
LOAD_SECONDS, SHARE = 2.0, 0.02
"""A small model from a warm disk; the least that a journalled step does beside its two commits."""
STEPS = 200


def rows(count: int) -> list[AppliedReplica]:
    """Ten replicas a node."""
    found = []
    for number in range(count):
        at = EngineId(f"node{number // 10:05d}", "ollama")
        name = f"m{number % 10}:latest"
        found.append(AppliedReplica(replica_address(name, at), name, at, name, keep_alive=-1.0, observed_pinned=True, vram_bytes=2**30))
    return found


def timed(act: Callable[[], object], turns: int = 5) -> float:
    """Median seconds of some turns, the cycle collector off as in the commands."""
    seconds = []
    for _ in range(turns):
        gc.disable()
        start = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - start)
        gc.enable()
    return median(seconds)


def open_and_close(path: Path) -> None:
    with closing(open_reader(path)) as state:
        state.lease()


def read(path: Path) -> None:
    with closing(open_reader(path)) as state:
        state.applied()


def raw(path: Path) -> None:
    """The same rows by sqlite3 alone: the baseline."""
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("SELECT * FROM replicas ORDER BY address").fetchall()


def empty_apply(path: Path, owned: list[AppliedReplica]) -> int:
    """Rows that an apply writes which finds everything as it was."""
    with open_writer(path, command="bench") as state:
        conn: sqlite3.Connection = state._conn  # type: ignore[attr-defined]
        before = conn.total_changes
        run = state.begin_run("p", "c", "bench")
        state.record(owned)
        state.finish_run(run, "done")
        return conn.total_changes - before


def journal_step_seconds(path: Path) -> float:
    """Seconds of the two commits of one step, on this disk."""
    with open_writer(path, command="bench") as state:
        run = state.begin_run("p", "c", "bench")
        start = time.perf_counter()
        for number in range(STEPS):
            state.step_started(run, f"load:{number}", "model.m@n/e", "load")
            state.step_finished(run, f"load:{number}", StepStatus.DONE)
        seconds = (time.perf_counter() - start) / STEPS
        state.finish_run(run, "done")
    return seconds


def main() -> bool:
    """Prints the table and says whether every bound holds."""
    good = True
    with tempfile.TemporaryDirectory(prefix="gpurec-bench-") as folder:
        print(f"\nstate\n{'replicas':>9} {'open, ms':>9} {'read, s':>8} {'sqlite3 alone':>14} {'empty apply, s':>15} {'rows written':>13}")
        applies = []
        for count in SIZES:
            path = Path(folder) / f"{count}.db"
            owned = rows(count)
            with open_writer(path, command="bench") as state:
                run = state.begin_run("p", "c", "bench")
                state.record(owned)
                state.finish_run(run, "done")
            opens, reads, alone = timed(lambda p=path: open_and_close(p)), timed(lambda p=path: read(p)), timed(lambda p=path: raw(p))
            start = time.perf_counter()
            written = empty_apply(path, owned)
            applies.append(time.perf_counter() - start)
            print(f"{count:>9} {opens * 1000:>9.1f} {reads:>8.3f} {reads / alone:>13.1f}x {applies[-1]:>15.2f} {written:>13}")
            good = good and opens <= OPENS_SECONDS and written <= ROWS
        grows = slope(SIZES[1:], applies[1:])
        good = good and grows <= 1.15
        print(
            f"at the top opened in {opens / OPENS_SECONDS:.2f} of {OPENS_SECONDS * 1000:.0f} ms; an empty apply writes the same "
            f"{written} rows at every size, its time grows with slope {grows:.2f}: {'holds' if good else 'DOES NOT HOLD'}"
        )
        cost = journal_step_seconds(Path(folder) / "journal.db")
        fine = cost <= LOAD_SECONDS * SHARE
        print(
            f"journalling a step: {cost * 1000:.1f} ms, {cost / LOAD_SECONDS:.2%} of a load of {LOAD_SECONDS:.0f} s "
            f"(bound {SHARE:.0%}): {'holds' if fine else 'DOES NOT HOLD'}"
        )
    return good and fine


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
