"""Whole commands, timed from outside: wall seconds, CPU seconds and the largest memory of the process, by the system's own accounting."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Run:
    """One finished command. Seconds, and bytes of the largest resident set."""

    wall: float
    cpu: float
    memory: int
    status: int


def run(command: Sequence[str], cwd: Path | None = None) -> Run:
    """Runs a command to its end; its output is thrown away."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    complaint = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 2):
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {complaint.decode(errors='replace')[-2000:]}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, process.returncode)


def median_of(command: Sequence[str], runs: int, cwd: Path | None = None) -> Run:
    """The run with the median wall time, after one that is not counted."""
    run(command, cwd)
    done = sorted((run(command, cwd) for _ in range(runs)), key=lambda each: each.wall)
    middle = median(range(len(done)))
    return done[int(middle)]


def slope(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The exponent of growth: the slope of log seconds over log size by least squares."""
    xs, ys = [math.log(size) for size in sizes], [math.log(second) for second in seconds]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / sum((x - mean_x) ** 2 for x in xs)


def gpurec(*arguments: str) -> list[str]:
    """The command line of this environment's gpurec."""
    return [str(Path(sys.executable).parent / "gpurec"), *arguments]
