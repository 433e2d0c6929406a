"""`make fuzz`: every surface with what a fuzzer makes of its seeds, as many at a time as there are cores; prints executions and tracebacks.

    python tests/fuzz/fuzz.py [--seconds S] [--runs N] [--seed N] [SURFACE ...]

The fuzzer is atheris (libFuzzer over Python's branches). What it found worth keeping lies in build/fuzz/SURFACE, what broke something in
build/fuzz/SURFACE.crash-*: put that into tests/fuzz/found/SURFACE/, where the fast tests try it from then on.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from secrets import randbelow
from typing import NamedTuple

import atheris

with atheris.instrument_imports(include=["reconciler"], enable_loader_override=False):
    from oracle import LONGEST, Surface, hold
    from surfaces import SURFACES

HERE = Path(__file__).resolve().parent
KEPT = HERE.parents[1] / "build" / "fuzz"
FOUND = HERE / "found"
MEMORY = Path("/dev/shm")
LIMITS = (f"-max_len={LONGEST}", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1")
"""Bytes of an input; seconds and MiB that one may take."""
_COUNT = re.compile(r"stat::number_of_executed_units:\s+(\d+)")


class Ran(NamedTuple):
    """What came of one surface. `output` is the fuzzer's."""

    name: str
    executions: int
    failed: bool
    seconds: float
    output: str


def fuzz(surface: Surface, bounds: Sequence[str], scratch: Path) -> None:
    """Runs the fuzzer in this process, which it ends: from the seeds, from what was found before, and from what earlier runs kept."""
    folders = [KEPT / surface.name, scratch / surface.name, FOUND / surface.name]
    for folder in folders[:2]:
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(surface.seeds()):
        (folders[1] / str(number)).write_bytes(seed)
    known = [str(folder) for folder in folders if folder.is_dir()]
    atheris.Setup([sys.argv[0], *bounds, *LIMITS, f"-artifact_prefix={KEPT / surface.name}.", *known], lambda data: hold(surface, data))
    atheris.Fuzz()


def started(surface: Surface, bounds: Sequence[str], scratch: Path) -> int:
    """A child that fuzzes one surface, with its output in a file; forked, since instrumenting gpurec takes longer than many a run."""
    child = os.fork()
    if child == 0:
        try:
            with (scratch / f"{surface.name}.log").open("wb") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            fuzz(surface, bounds, scratch)
        finally:
            os._exit(1)
    return child


def all_of(surfaces: Sequence[Surface], bounds: Sequence[str], scratch: Path) -> Iterator[Ran]:
    """Each surface as it ends."""
    waiting, running = list(reversed(surfaces)), dict[int, tuple[str, float]]()
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            surface = waiting.pop()
            running[started(surface, bounds, scratch)] = surface.name, time.monotonic()
        child, status = os.wait()
        name, since = running.pop(child)
        output = (scratch / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        count = _COUNT.search(output)
        yield Ran(name, int(count[1]) if count else 0, status != 0 or count is None, time.monotonic() - since, output)


def main(surfaces: Mapping[str, Surface]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600, help="how long each surface is tried, at most")
    parser.add_argument("--runs", type=int, help="how many inputs each surface is tried with, at most")
    parser.add_argument("--seed", type=int, help="draws what that seed drew; by default 1 with --runs, else any")
    parser.add_argument("names", nargs="*", metavar="SURFACE", help=f"all by default: {', '.join(surfaces)}")
    chosen = parser.parse_args()
    seed = chosen.seed or (1 if chosen.runs else randbelow(2**31) + 1)
    bounds = [f"-max_total_time={chosen.seconds}", f"-seed={seed}", *((f"-runs={chosen.runs}",) if chosen.runs else ())]
    failed = executions = 0
    with tempfile.TemporaryDirectory(prefix="gpurec-fuzz-", dir=MEMORY if MEMORY.is_dir() else None) as scratch:
        tempfile.tempdir = scratch
        for ran in all_of([surfaces[name] for name in chosen.names or surfaces], bounds, Path(scratch)):
            failed, executions = failed + ran.failed, executions + ran.executions
            print(f"{ran.name:<22}{ran.executions:>10,} executions, {int(ran.failed)} tracebacks, {ran.seconds:.0f} s", flush=True)
            if ran.failed:
                print("\n".join(ran.output.splitlines()[-60:]), flush=True)
    print(f"{failed} tracebacks in {executions:,} executions (seed {seed})")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(SURFACES))
