"""`gpurec plan` against the floor program of the same run, by the CPU of whole processes, on even and uneven fleets; what a start costs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from measure import Run, gpurec, run

HERE = Path(__file__).parent
SIZES = (1000, 2000, 10_000)
TURNS = 3
MOST_MEMORY, DOUBLING = 300e6, 2.1
JSON_NODES, JSON_RATIO, JSON_MEMORY = 2000, 1.6, 120e6
START_RATIO = 3.0
NAIVE = "import json,sqlite3,sys\njson.load(open(sys.argv[1]))\nsqlite3.connect(sys.argv[2]).execute('select * from replicas').fetchall()\n"
BARE = "import click\nfrom pydantic import BaseModel\n@click.command()\ndef cli(): 'Nothing.'\ncli([])\n"


@dataclass(frozen=True)
class Task:
    """Facts and state of one plan, and how many times the floor it may take on an even and on an uneven fleet."""

    title: str
    facts: str
    state: str | None
    even: float
    uneven: float


TASKS = (Task("nothing to do", "full.json", "owned.db", 2.5, 4.0), Task("plan of everything", "empty.json", None, 5.0, 4.0))


def best(command: list[str]) -> Run:
    """The turn that took the least CPU: on a busy machine the others were disturbed."""
    return min((run(command) for _ in range(TURNS)), key=lambda one: one.cpu)


def plan(root: Path, facts: str, state: str | None) -> Run:
    return best(gpurec("-C", str(root), "--state", str(root / (state or "none.db")), "plan", "--assume", str(root / facts)))


def floor(root: Path, facts: str, state: str | None) -> Run:
    extra = [] if state is None else [str(root / state)]
    return best([sys.executable, str(HERE / "floor.py"), str(root), str(root / facts), *extra])


def verdict(holds: bool) -> str:
    return "holds" if holds else "DOES NOT HOLD"


def main() -> bool:
    """Prints the ratios and says whether every goal is met."""
    good = True
    with tempfile.TemporaryDirectory(prefix="gpurec-bench-") as folder:
        for kind in ("even", "uneven"):
            for nodes in SIZES:
                root = Path(folder) / kind / str(nodes)
                subprocess.run([sys.executable, str(HERE / "fleets.py"), str(root), str(nodes), *([kind] if kind == "uneven" else [])],
                               check=True, stdout=subprocess.DEVNULL)  # fmt: skip
            for task in TASKS:
                print(f"\nplan, {task.title}, {kind} fleet\n{'nodes':>8} {'CPU s':>8} {'floor':>8} {'ratio':>6} {'MB':>6}")
                ours = {}
                for nodes in SIZES:
                    root = Path(folder) / kind / str(nodes)
                    ours[nodes], least = plan(root, task.facts, task.state), floor(root, task.facts, task.state)
                    ratio = ours[nodes].cpu / least.cpu
                    print(f"{nodes:>8} {ours[nodes].cpu:>8.2f} {least.cpu:>8.2f} {ratio:>6.1f} {ours[nodes].memory / 1e6:>6.0f}")
                bound = task.even if kind == "even" else task.uneven
                doubling = ours[2000].cpu / ours[1000].cpu
                fine = ratio <= bound and ours[SIZES[-1]].memory <= MOST_MEMORY and doubling <= DOUBLING
                good = good and fine
                print(f"goal {bound} times the floor, {MOST_MEMORY / 1e6:.0f} MB, doubling {doubling:.2f} of {DOUBLING}: {verdict(fine)}")
        root = Path(folder) / "even" / str(JSON_NODES)
        naive = best([sys.executable, "-c", NAIVE, str(root / "full.json"), str(root / "owned.db")])
        ours_there = plan(root, "full.json", "owned.db")
        ratio = ours_there.cpu / naive.cpu
        fine = ratio <= JSON_RATIO and ours_there.memory <= JSON_MEMORY
        good = good and fine
        print(f"\n{JSON_NODES} nodes, nothing to do, against json.load and a select: {ratio:.1f} (goal {JSON_RATIO}), "
              f"{ours_there.memory / 1e6:.0f} MB (goal {JSON_MEMORY / 1e6:.0f}): {verdict(fine)}")  # fmt: skip
        small = Path(folder) / "small"
        subprocess.run([sys.executable, str(HERE / "fleets.py"), str(small), "10"], check=True, stdout=subprocess.DEVNULL)
        bare = best([sys.executable, "-c", BARE]).cpu
        for name, found in (("gpurec --help", best(gpurec("--help")).cpu), ("a small plan", plan(small, "full.json", "owned.db").cpu)):
            fine = found / bare <= START_RATIO
            good = good and fine
            print(f"{name} {found * 1000:.0f} ms of CPU, {found / bare:.1f} times a bare command that imports click and pydantic "
                  f"(goal {START_RATIO:.0f}): {verdict(fine)}")  # fmt: skip
    return good
