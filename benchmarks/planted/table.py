"""`python benchmarks placement [GROUP…] [--quick] [--each] [--exact] [--seeds SEED,…] [--fresh N] [--trace DIR]`: how good placement is,
group by group, against what was planted.

GROUP is a part of the titles of the groups. `--quick` leaves out what has more than 100 cards, and all seeds but the first three. `--each`
prints every instance too. `--exact` plans to 100 cards with HiGHS as well (the extra `exact`), which proves how good the rest is. `--fresh`
draws each number of cards with N seeds that nobody chose, and prints them; `--seeds` with these. `--trace` (or OPENB) names the folder with
the files of the public trace.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from planted import trace
from planted.draw import GROUPS
from planted.instance import Instance
from planted.judge import Verdict, judge, placement_seconds
from reconciler.fleet import Solver

Draw = Callable[[], Instance]
EXACT_CARDS = 100
CHANGED, CHANGED_SECONDS = "changed", 0.15
"""What has one new model and nothing else to do, and how long placement alone may take there."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a group is to reach: the share of the bytes without a place in the mean and at worst, and CPU seconds of a whole plan."""

    mean: float
    worst: float
    seconds: float


def goal_of(title: str) -> Goal:
    if "openb" in title:
        return Goal(0.0, 0.0, 120.0)
    if "1,000" in title:
        return Goal(0.03 if "fragmented" in title else 0.0, 0.03 if "fragmented" in title else 0.0, 20.0)
    if "300" in title:
        return Goal(0.03 if "fragmented" in title else 0.0, 0.03 if "fragmented" in title else 0.0, 5.0)
    return Goal(0.03, 0.03, 10.0) if "100 cards" in title else Goal(0.01, 0.05, 2.0)


def groups(wanted: Sequence[str], quick: bool, seeds: Sequence[int], folder: Path | None) -> list[tuple[str, list[Draw]]]:
    """The groups that were asked for, each with what draws its instances: by these seeds, or by its own."""
    some = [group for group in GROUPS if not quick or max(group.cards) <= 100]
    if seeds or quick:
        some = [replace(group, seeds=seeds or group.seeds[:3]) for group in some]
    every = [(group.title, group.instances()) for group in some]
    if folder is not None and not quick:
        every += [(f"openb 92%, {story}", [lambda s=story: trace.draw(folder, 0.92, s)]) for story in ("empty", "churn")]  # type: ignore[misc]
    return [(title, draws) for title, draws in every if not wanted or any(part in title for part in wanted)]


HEAD = (
    f"{'group':<28} {'n':>3} {'cards':>5} {'replicas':>8} | {'unplaced':>8} {'worst':>6} {'count':>5} | {'moved':>6} {'planted':>7} "
    f"{'needless':>8} | {'inversions':>10} | {'seconds':>7} {'worst':>6} | {'2nd plan':>8} {'faults':>6}"
)


def line(title: str, found: Sequence[Verdict]) -> str:
    """One row of the table: shares are of the bytes of all wanted replicas."""
    shares, seconds = [one.unplaced_share for one in found], [one.seconds for one in found]
    planted = mean(one.planted_moved / max(1, sum(one.wanted.values())) for one in found)
    left, needless = sum(one.unplaced_count for one in found), sum(len(one.needless) for one in found)
    inversions, faults = sum(len(one.inversions) for one in found), sum(len(one.faults) for one in found)
    return (
        f"{title:<28} {len(found):>3} {max(one.cards for one in found):>5} {max(one.replicas for one in found):>8} | "
        f"{mean(shares):>8.1%} {max(shares):>6.1%} {left:>5} | {mean(one.moved_share for one in found):>6.1%} {planted:>7.1%} "
        f"{needless:>8} | {inversions:>10} | {mean(seconds):>7.2f} {max(seconds):>6.2f} | {sum(one.second > 0 for one in found):>8} "
        f"{faults:>6}"
    )


def reached(goal: Goal, found: Sequence[Verdict]) -> bool:
    shares = [one.unplaced_share for one in found]
    clean = not any(one.faults or one.inversions or one.needless or one.second for one in found)
    return clean and mean(shares) <= goal.mean and max(shares) <= goal.worst and max(one.seconds for one in found) <= goal.seconds


def main(arguments: Sequence[str] = ()) -> bool:
    """Prints the table, and says whether every group is as good as it is to be."""
    parser = argparse.ArgumentParser(prog="benchmarks placement", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", nargs="*")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--each", action="store_true")
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--seeds", type=lambda text: [int(one) for one in text.split(",")], default=[])
    parser.add_argument("--fresh", type=int, default=0)
    parser.add_argument("--trace", type=Path, default=os.environ.get("OPENB"))
    asked = parser.parse_args(list(arguments))
    seeds = [*asked.seeds, *(secrets.randbelow(10**6) for _ in range(asked.fresh))]
    print("\nplacement: bytes without a place beyond the planted placement, and that move, of all wanted bytes; whole plans in CPU seconds")
    if seeds:
        print(f"seeds {','.join(map(str, seeds))}")
    print(HEAD, flush=True)
    good = True
    for title, draws in groups(asked.group, asked.quick, seeds, Path(asked.trace) if asked.trace else None):
        found, best = [], []
        for draw in draws:
            of = draw()
            found.append(judge(of))
            if asked.exact and found[-1].cards <= EXACT_CARDS:
                best.append(judge(replace(of, desired=replace(of.desired, solver=Solver.EXACT))))
            if asked.each:
                print(line(f"  {found[-1].title}", found[-1:]), flush=True)
                for told in (*found[-1].faults, *found[-1].inversions, *found[-1].needless):
                    print(f"    {told}")
        fine = reached(goal_of(title), found)
        if title.startswith(CHANGED):
            seconds = max(placement_seconds(draw()) for draw in draws)
            fine = fine and seconds <= CHANGED_SECONDS
            print(f"  placement alone {seconds:.3f} CPU seconds (goal {CHANGED_SECONDS})")
        good = good and fine
        print(f"{line(title, found)}{'' if fine else '  SHORT OF ITS GOAL'}", flush=True)
        if best:
            proved = sum(one.proved for one in best)
            print(f"{line('  with HiGHS', best)}  {proved} of {len(best)} proved", flush=True)
    return good


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
