"""`gpurec watch --shard` as four processes on one real PostgreSQL: each node is looked at by one of them, one applies at a time, and the
part of one that is killed is taken over; and what they do where their database goes away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_lab import Lab, served
from postgres import Postgres
from waiting import wait_until

from reconciler.sim import SimSpec, read_sim_text

INTERVAL = 8
"""Seconds. A loop whose look takes more than half of it is taken for dead, so it is long for a busy machine."""
NODES = 24
FLEET = "time_scale: {scale}\nmodels:\n  - {name: small, size: 1GiB}\nnodes:\n" + "".join(
    f"  n{number:02}: {{gpus: [{{vram: 8GiB}}], engines: {{ollama: {{kind: ollama, installed: [small]}}}}}}\n" for number in range(NODES)
)
WANTED = "version: 1\nmodels:\n  small: {engine: ollama, on: ollama, each: node, vram: 1GiB}\n"


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    server = Postgres()
    server.start()
    yield server
    server.remove()


def fleet(scale: int) -> SimSpec:
    return read_sim_text(FLEET.replace("{scale}", str(scale)), "fleet")


class Loops:
    """The processes, each with a log of its own."""

    def __init__(self, lab: Lab, url: str, folder: Path, count: int) -> None:
        self.lab, self.url, self.folder, self.count = lab, url, folder, count
        self.running: dict[int, subprocess.Popen[bytes]] = {}

    def begin(self, number: int) -> None:
        command = [
            sys.executable,
            "-m",
            "reconciler",
            "-C",
            str(self.lab.root),
            "--state",
            self.url,
            "watch",
            "--shard",
            f"{number}/{self.count}",
        ]
        command += ["--interval", f"{INTERVAL}s", "--mode", "apply", "--log", "json"]
        with (self.folder / f"{number}.log").open("ab") as log:
            self.running[number] = subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ))

    def kill(self, number: int) -> None:
        """SIGKILL."""
        self.running[number].kill()
        self.running.pop(number).wait()

    def end(self) -> None:
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for number, process in self.running.items():
            assert process.wait(60) == 0, (self.folder / f"{number}.log").read_text()

    def lines(self, number: int) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.folder / f"{number}.log").read_text().splitlines() if line.startswith("{")]

    def told(self, subject: str) -> dict[int, list[bool]]:
        """What each of them said of it: that it holds, that it does no more."""
        return {
            number: [bool(line["holds"]) for line in self.lines(number) if line["type"] == "condition" and line["subject"] == subject]
            for number in range(1, self.count + 1)
        }

    def looks(self) -> list[int]:
        return [sum(line["type"] == "looked" for line in self.lines(number)) for number in range(1, self.count + 1)]

    def errors(self, number: int) -> list[bool]:
        """What it said of errors: that one holds, that it does no more."""
        return [bool(line["holds"]) for line in self.lines(number) if line["type"] == "condition" and line["topic"] == "error"]

    def owned(self) -> int:
        return self.lab.run("--state", self.url, "state", "list").output.count("model.small@")

    def history(self) -> list[str]:
        return [run["result"] for run in json.loads(self.lab.run("--state", self.url, "history", "--format", "json").output)]

    def loads(self) -> Counter[str]:
        """Requests for a load, by engine."""
        return Counter(name for name, engine in self.lab.fleet.engines.items() for one in engine.requests if one.path == "/api/generate")


@contextmanager
def loops(database: Postgres, folder: Path, count: int = 4, scale: int = 0) -> Iterator[Loops]:
    """`scale`: how many times as long as a real one a load takes."""
    (folder / "lab").mkdir()
    with served(fleet(scale), folder / "lab") as lab:
        lab.want(WANTED)
        made = Loops(lab, database.url, folder, count)
        try:
            for number in range(1, count + 1):
                made.begin(number)
            yield made
            made.end()
        finally:
            for process in made.running.values():
                process.kill()
                process.wait()


def test_four_loops_share_a_fleet_and_the_part_of_a_killed_one_is_taken_over(
    database: Postgres, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with loops(database, tmp_path) as made:
        lab = made.lab

        def looked_at() -> Counter[str]:
            return Counter(name for name, engine in lab.fleet.engines.items() for one in engine.requests if one.path == "/api/ps")

        def all_looked(times: int) -> bool:
            return min(made.looks()[number - 1] for number in made.running) >= times

        wait_until(lambda: made.owned() == NODES or None, 120, "the first apply is over")
        wait_until(lambda: all_looked(3), 60, "all have looked")
        assert made.history() == ["done"], "one of them applied it all"
        assert made.loads().total() <= NODES

        home = {name: position % 4 + 1 for position, name in enumerate(sorted(lab.fleet.engines))}
        lab.fleet.forget_requests()
        before = made.looks()
        wait_until(lambda: all(now >= then + 2 for now, then in zip(made.looks(), before, strict=True)) or None, 60, "two looks of each")
        counts, looks = looked_at(), [now - then for now, then in zip(made.looks(), before, strict=True)]
        for name, number in home.items():
            assert abs(counts[name] - looks[number - 1]) <= 1, "each node is looked at by its own loop alone"

        made.kill(2)
        ((killed,),) = database.query("SELECT extract(epoch FROM clock_timestamp())::float8")
        lab.fleet.forget_requests()
        lost = {name for name, number in home.items() if number == 2}
        wait_until(lambda: lost <= looked_at().keys() or None, 60, "its part is looked at by the others")
        ((taken,),) = database.query("SELECT extract(epoch FROM clock_timestamp())::float8")
        assert isinstance(killed, float)
        assert isinstance(taken, float)
        seconds = round(taken - killed, 1)
        print(f"taken over {seconds} s after the kill, at an interval of {INTERVAL} s")
        record_property("taken_over_seconds", seconds)
        wait_until(lambda: made.told("shard.2/4")[1][-1:] == [True] or None, 30, "the first of them says so")
        assert [made.told("shard.2/4")[number] for number in (3, 4)] == [[], []], "once, and not by everybody"

        lab.fleet.engines[min(lost)].restart()
        wait_until(lambda: lab.fleet.engines[min(lost)].residents or None, 60, "what is lost in its part is mended by another")
        made.begin(2)
        wait_until(lambda: made.told("shard.2/4")[1][-2:] == [True, False] or None, 60, "it is back")
        assert set(made.history()) == {"done"}


def test_loops_go_on_when_their_database_was_killed_during_an_apply_and_when_it_stayed_away(tmp_path: Path) -> None:
    database = Postgres()
    try:
        database.start()
        with loops(database, tmp_path, count=2, scale=4) as made:
            wait_until(lambda: made.loads().total() or None, 120, "an apply is under way")
            database.kill()
            database.stop()
            assert made.loads().total() < NODES, "the server was killed while steps ran"
            database.start()
            wait_until(lambda: made.history() == ["done"] or None, 120, "the apply is over, in one run")
            assert made.owned() == NODES
            assert set(made.loads().values()) == {1}, "nothing is loaded twice"

            before = made.looks()
            wait_until(lambda: all(now > then for now, then in zip(made.looks(), before, strict=True)) or None, 60, "both look")
            database.stop()
            wait_until(lambda: all(made.errors(number)[-1:] == [True] for number in (1, 2)) or None, 90, "both say that it is away")
            lost = min(made.lab.fleet.engines)
            made.lab.fleet.engines[lost].restart()
            database.start()
            wait_until(lambda: made.lab.fleet.engines[lost].residents or None, 90, "what was lost meanwhile is mended")
            wait_until(lambda: all(made.errors(number)[-1:] == [False] for number in (1, 2)) or None, 60, "both say that it is back")
            assert made.history() == ["done", "done"]
            assert made.loads() == Counter({**dict.fromkeys(made.lab.fleet.engines, 1), lost: 2})
            database.stop()  # and now they are asked to end
    finally:
        database.remove()
