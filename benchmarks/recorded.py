"""Recorded courses of use, for `forecast.py`: how much of their cards the tasks of a public trace held, hour by hour.

The trace is openb (Alibaba, `clusterdata`, ATC'23); its files are not part of the project, `OPENB=DIR` names the folder that has them. A
course is one kind of service (`qos`), tasks of whole cards or of parts of one; its highest hour is a card of 24 GiB.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TASKS = "openb_pod_list_default.csv"
HOUR, FEWEST = 3600, 200
DAYS, AHEAD, EVERY = (4, 10, 20), 24, 31
"""Days of past, hours ahead, and hours between two beginnings."""


def courses(folder: Path, total: int) -> dict[str, list[float]]:
    """Hourly use in bytes of each course with so many tasks at least."""
    changes: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    counts: dict[str, int] = defaultdict(int)
    with (folder / TASKS).open(newline="") as file:
        for row in csv.DictReader(file):
            share = int(row["num_gpu"]) * int(row["gpu_milli"]) / 1000
            if not share or not row["scheduled_time"] or not row["deletion_time"]:
                continue
            for name in ("all", f"{row['qos']}, {'whole cards' if int(row['gpu_milli']) >= 1000 else 'parts of cards'}"):
                changes[name][int(float(row["scheduled_time"])) // HOUR] += share
                changes[name][int(float(row["deletion_time"])) // HOUR + 1] -= share
                counts[name] += 1
    found = {}
    for name, by_hour in changes.items():
        if counts[name] < FEWEST:
            continue
        held, course = 0.0, []
        for hour in range(max(by_hour)):
            held += by_hour.get(hour, 0.0)
            course.append(held)
        scale = total / max(course)
        found[name] = [value * scale for value in course]
    return found


def cases(course: list[float]) -> Iterator[tuple[list[float], list[float]]]:
    """Pasts and what came, where anything changed at all."""
    for days in DAYS:
        for begin in range(0, len(course) - 24 * days - AHEAD, EVERY):
            past, came = course[begin : begin + 24 * days], course[begin + 24 * days : begin + 24 * days + AHEAD]
            if max(past) - min(past) > 0.01 * max(course):
                yield past, came
