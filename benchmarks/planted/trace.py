"""The public GPU trace of openb (Alibaba, `clusterdata`, ATC'23) as instances: its nodes with their cards, and its tasks as replicas.

A task asks for a share of a card (`gpu_milli`); its bytes are that share of the card that it is planted on. It is planted by best fit, by
the shares, in the order in which the tasks came; a task that asks for several cards counts as so many whole ones. Tasks are taken until
the fleet is as full as asked. The files are not part of the project: `OPENB=DIR` names the folder that has them.
"""

from __future__ import annotations

import bisect
import csv
import random
from pathlib import Path

from planted.instance import GIB, MIB, Cards, Instance, Piece, instance
from reconciler.fleet import EngineId

NODES, TASKS = "openb_node_list_gpu_node.csv", "openb_pod_list_default.csv"
BYTES = {"P100": 16, "T4": 16, "V100M16": 16, "V100M32": 32, "A10": 24, "G2": 24, "G3": 80}
"""GiB of a card by the name that the trace gives it; G2 and G3 are not told there, and taken to be of 24 and 80."""


def read(folder: Path) -> tuple[Cards, list[list[int]]]:
    """The cards, and of each task the shares of cards that it asks for, in thousandths."""
    with (folder / NODES).open(newline="") as file:
        nodes = {row["sn"]: (BYTES[row["model"]] * GIB,) * int(row["gpu"]) for row in csv.DictReader(file)}
    with (folder / TASKS).open(newline="") as file:
        tasks = [[int(row["gpu_milli"])] * int(row["num_gpu"]) for row in csv.DictReader(file) if int(row["num_gpu"])]
    return Cards(nodes), tasks


def draw(folder: Path, share: float, story: str) -> Instance:
    """The fleet of the trace, `share` full. `story` is `empty`, or `churn`: all but 15% of the tasks run already."""
    of, tasks = read(folder)
    chance = random.Random(f"openb {share} {story}")  # a fleet to measure with, not a secret
    engines = of.engines()
    chance.shuffle(tasks)
    free = sorted((1000, at) for at in engines)  # the emptiest last
    pieces: list[Piece] = []
    taken, most = 0.0, share * sum(engines.values())
    for task in tasks:
        for milli in task:
            number = bisect.bisect_left(free, (milli, EngineId("", "")))
            if number == len(free) or taken >= most:
                continue
            left, at = free.pop(number)
            bisect.insort(free, (left - milli, at))
            size = engines[at] * milli // 1000 // MIB * MIB
            taken += size
            stays = story == "churn" and chance.random() >= 0.15
            pieces.append(Piece(max(size, MIB), at, at if stays else None))
    return instance(f"openb-{story}", of, pieces, chance)
