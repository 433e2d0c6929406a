"""What any placement promises, judged over fleets with a planted placement: `make properties FLEETS=300 SEED=200`. New seeds in every run.

A fault of the judge, a second plan that is not empty, and a claim that is not true: a bound that the planted placement is below, or a
proof of something that is worse than it. On the smallest fleets every placement is tried, and a bound or a proof held to the best.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from planted.brute import least_left_out
from planted.draw import STORIES, Group
from planted.instance import Instance
from planted.judge import plan_of, verdict

from reconciler.fleet import Solver

CARDS = (2, 3, 4, 6, 8, 12, 16)
EXACT_CARDS, BRUTE_CARDS = 4, 3
"""The solver is asked for the smallest fleets only: a run is to draw many."""


def failures(seed: int) -> Iterator[str]:
    """The broken promises of the fleet of a seed."""
    chance = random.Random(seed)
    story, count = chance.choice(sorted(STORIES)), chance.choice(CARDS)
    of = Group("drawn", story, (count,), range(1)).draw(count, seed)
    try:
        yield from (f"{of.title}: {one}" for one in broken(of))
        if count <= EXACT_CARDS:
            yield from (f"{of.title}, exact: {one}" for one in broken(replace(of, desired=replace(of.desired, solver=Solver.EXACT))))
    except Exception as error:  # noqa: BLE001 - a fleet that ends the planner is a finding like another
        yield f"{of.title}: {type(error).__name__}: {error}"


def broken(of: Instance) -> Iterator[str]:
    plan = plan_of(of)
    found, told = verdict(of, plan, second=True), plan.placement
    yield from found.faults
    if found.second:
        yield f"the second plan has {found.second} steps"
    if told.objective != sum(found.unplaced.values()) or told.moved_bytes != found.moved:
        says = f"{told.objective:,} bytes without a place and {told.moved_bytes:,} moved"
        yield f"it says {says}, and these are {found.unplaced} and {found.moved:,}"
    planted = least = 0
    for level in told.unplaced:
        planted += found.planted_unplaced[level.priority]
        least = max(least, level.bound_bytes - planted)
    if least > 0 and (told.ended is None or not sum(found.planted_unplaced.values())):
        yield f"its bound is {least:,} above the planted placement"
    left_out = {priority for priority, count in found.planted_unplaced.items() if count}
    for one in (entry for entry in plan.unplaced if entry.agent is None):
        priority = next(model.priority for model in of.desired.models if model.name == one.model)
        if one.proved and not any(other >= priority for other in left_out):
            yield f"it says that {one.model} cannot be placed, and the planted placement has it"
    here = [found.unplaced[priority] for priority in found.unplaced]
    best = least_left_out(of) if len(of.cards.nodes) <= BRUTE_CARDS and sum(map(len, of.cards.nodes.values())) <= BRUTE_CARDS else None
    if best is not None:
        known, so_far = [level.bound_bytes for level in told.unplaced], list(accumulate(best))
        if any(bound > most for bound, most in zip(known, so_far, strict=True)):
            yield f"its bounds are {known}, and {so_far} can be reached"
        if told.proved and here != list(best):
            yield f"it proves {here}, and {list(best)} can be reached"
        if here < list(best):
            yield f"it leaves out {here}, less than any placement: {list(best)}"
    if told.proved and here > [found.planted_unplaced[priority] for priority in found.unplaced]:
        yield "it proves what is worse than the planted placement"


def judged(seeds: range) -> list[str]:
    return [one for seed in seeds for one in failures(seed)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fleets", type=int, default=int(os.environ.get("FLEETS") or 300))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or random.SystemRandom().randrange(10**9)))
    parser.add_argument("--processes", type=int, default=int(os.environ.get("PROCESSES") or 2))
    asked = parser.parse_args()
    first, end, started = asked.seed, asked.seed + asked.fleets, time.monotonic()
    print(f"planted fleets of the seeds {first} to {end - 1}: the same again with FLEETS={asked.fleets} SEED={first}", flush=True)
    chunks = [range(start, min(start + 10, end)) for start in range(first, end, 10)]
    found: Counter[str] = Counter()
    with ProcessPoolExecutor(asked.processes) as pool:
        for some in pool.map(judged, chunks):
            for one in some:
                found[one] += 1
                print(one[:400], flush=True)
    print(f"{asked.fleets} planted fleets in {time.monotonic() - started:.0f} s: {len(found) or 'no'} broken promises")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
