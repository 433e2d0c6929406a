"""What an apply leaves in the state and in history, and what it says of a state in trouble; whole commands over simulated servers."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from reconciler.cli.commands.sim_server import inventory_of
from reconciler.cli.main import cli
from reconciler.sim import builtin_fleet, running
from reconciler.state import look_at_lock, open_reader, open_writer
from reconciler.state.sqlite.writer import SqliteWriter

SMALL = "version: 1\nmodels:\n  nomic-embed-text: {engine: ollama, on: ollama, each: node, vram: 350MiB}\n"
TOO_BIG = SMALL + "  too-big: {engine: ollama, on: ollama, vram: 900GiB}\n"
BEST_EFFORT = SMALL + "  too-big: {engine: ollama, on: ollama, vram: 900GiB, best_effort: true}\n"


@dataclass
class Lab:
    root: Path

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, ["-C", str(self.root), *arguments])

    def apply(self, text: str = SMALL) -> Result:
        (self.root / "desired" / "demo.yaml").write_text(text)
        return self.run("apply", "--auto-approve")

    def history(self) -> list[dict[str, object]]:
        found = json.loads(self.run("history", "--format", "json").stdout)
        assert isinstance(found, list)
        return found

    @property
    def state(self) -> Path:
        return self.root / "state" / "demo.db"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running(builtin_fleet("demo").on_free_ports().with_time_scale(0)) as fleet:
        for folder in ("inventories", "desired"):
            (tmp_path / folder).mkdir()
        (tmp_path / "inventories" / "demo.yaml").write_text(inventory_of(fleet))
        yield Lab(tmp_path)


def test_history_shows_what_a_run_came_to_and_its_steps(lab: Lab) -> None:
    assert lab.apply().exit_code == 0
    (run,) = lab.history()
    assert (run["result"], run["unplaced"], run["deferred"]) == ("done", 0, 0)
    assert isinstance(run["seconds"], float)
    one = json.loads(lab.run("history", "1", "--format", "json").stdout)
    assert one["steps"] == {"done": len(one["journal"])}
    assert {step["action"] for step in one["journal"]} >= {"load"}
    assert all(step["seconds"] is not None for step in one["journal"] if step["action"] == "load")
    text = lab.run("history", "1").stdout
    assert "Run 1" in text
    assert all(step["address"] in text for step in one["journal"])


def test_a_run_that_there_never_was_is_an_error(lab: Lab) -> None:
    lab.apply()
    result = lab.run("history", "7")
    assert result.exit_code == 1
    assert "no run 7" in result.stderr


@pytest.mark.parametrize(("wanted", "status", "result", "unplaced"), [(TOO_BIG, 3, "partial", 1), (BEST_EFFORT, 0, "done", 0)])
def test_a_run_that_left_something_without_a_place_is_not_done(lab: Lab, wanted: str, status: int, result: str, unplaced: int) -> None:
    assert lab.apply(wanted).exit_code == status
    (run,) = lab.history()
    assert (run["result"], run["unplaced"]) == (result, unplaced)
    assert ("without a place" in lab.run("history").stdout) is bool(unplaced)


_TABLES = ("meta", "replicas", "load_times", "needs", "headers", "facts", "runs", "journal", "lease")


def test_an_empty_apply_writes_a_handful_of_rows_and_none_of_a_replica(lab: Lab) -> None:
    assert lab.apply().exit_code == 0
    with closing(sqlite3.connect(lab.state)) as conn:
        conn.execute("CREATE TABLE written (name TEXT)")
        for name in _TABLES:
            for event in ("INSERT", "UPDATE", "DELETE"):
                conn.execute(f"CREATE TRIGGER {event}_{name} AFTER {event} ON {name} BEGIN INSERT INTO written VALUES ('{name}'); END")
        conn.commit()
    assert lab.apply().exit_code == 0
    with closing(sqlite3.connect(lab.state)) as conn:
        written = dict(conn.execute("SELECT name, count(*) FROM written GROUP BY name"))
    assert written.keys() <= {"meta", "runs", "lease"}
    assert sum(written.values()) < 12


def test_an_apply_that_takes_over_says_so(lab: Lab) -> None:
    assert lab.apply().exit_code == 0
    with closing(sqlite3.connect(lab.state)) as conn:
        conn.execute("UPDATE lease SET owner = 'o', host = 'far', boot = 'b', heartbeat_at = 0, since = 'then'")
        conn.commit()
    os.utime(lab.state, (0, 0))
    result = lab.apply()
    assert result.exit_code == 0
    assert "took over the lock" in result.stderr
    assert "on far" in result.stderr


def leave_rescue(lab: Lab, name: str = "demo.db.rescue-1-x.jsonl", **other: object) -> Path:
    """The journal of run 1, which says that the state forgets a replica."""
    lineage = open_reader(lab.state).applied().lineage
    head = {"gpurec_rescue": 1, "state": str(lab.state.absolute()), "lineage": lineage, "run_id": 1, "serial": 0, "at": "t", "why": "w"}
    entry = {"replicas": [], "gone": ["model.nomic-embed-text@ada/ollama"], "op": "recorded"}
    rescue = lab.state.with_name(name)
    rescue.write_text(json.dumps({**head, **other}) + "\n" + json.dumps(entry) + "\n")
    return rescue


def test_what_an_earlier_run_could_not_write_is_taken_in_before_an_apply_plans(lab: Lab) -> None:
    assert lab.apply().exit_code == 0
    rescue = leave_rescue(lab)
    with closing(sqlite3.connect(lab.state)) as conn:
        conn.execute("UPDATE replicas SET serial = 0")  # nothing later stands against it
        conn.commit()
    assert "waits to be read in, which the next apply" in lab.run("plan").stderr
    result = lab.apply()
    assert result.exit_code == 0
    assert "Took in what run 1 could not write to the state: 1 entry" in result.stderr
    assert "1 to adopt" in result.stdout
    assert not rescue.exists()
    assert [run["command"] for run in lab.history()] == ["apply --auto-approve", "state recover", "apply --auto-approve"]
    assert "Took in" not in lab.apply().stderr


def test_a_rescue_journal_that_cannot_be_taken_in_stops_an_apply_before_it_plans(lab: Lab) -> None:
    assert lab.apply().exit_code == 0
    foreign = leave_rescue(lab, lineage="another")
    for words, spoil in (("its lineage differs", ""), ("line 2 of the rescue journal cannot be read", "what is this\n{}\n")):
        if spoil:
            foreign.write_text(foreign.read_text().splitlines()[0] + "\n" + spoil)
        before = len(lab.history())
        result = lab.apply()
        assert result.exit_code == 1
        assert words in result.stderr
        assert str(foreign) in result.stderr
        assert [run["command"] for run in lab.history()[: len(lab.history()) - before]] in ([], ["state recover"])
        assert foreign.exists()


def test_history_keeps_the_command_line_with_its_file_and_options_and_the_ci_job(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_JOB_URL", "https://ci.example/job/7")
    (lab.root / "desired" / "demo.yaml").write_text(SMALL)
    assert lab.run("plan", "--out", "my plan.json").exit_code == 0
    assert lab.run("apply", "my plan.json", "--keep-going", "--parallelism", "3").exit_code == 0
    (run,) = lab.history()
    assert (run["command"], run["ci"]) == ("apply 'my plan.json' --parallelism 3 --keep-going", "https://ci.example/job/7")


def test_an_apply_under_the_lock_of_another_is_5_and_touches_nothing(lab: Lab) -> None:
    assert lab.apply().exit_code == 0
    before = len(lab.history())
    with open_writer(lab.state, command="gpurec apply"):
        result = lab.apply()
        assert result.exit_code == 5
        assert "gpurec lock status" in result.stderr
        assert look_at_lock(lab.state) is not None
    assert len(lab.history()) == before


def test_a_disk_that_takes_no_more_in_the_middle_of_an_apply_loses_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = SqliteWriter.step_started

    def begin_and_fill_the_disk(self: SqliteWriter, run_id: int, step_id: str, address: str, action: str) -> None:
        begin(self, run_id, step_id, address, action)
        if action == "load":
            self._conn.execute("PRAGMA query_only = ON")  # type: ignore[union-attr]

    monkeypatch.setattr(SqliteWriter, "step_started", begin_and_fill_the_disk)
    result = lab.apply()
    monkeypatch.undo()
    assert result.exit_code == 1
    assert "the state cannot be written" in result.stderr
    (rescue,) = lab.state.parent.glob("demo.db.rescue-*.jsonl")
    assert str(rescue) in result.stderr
    assert "gpurec state recover" in result.stderr
    assert lab.run("lock", "release", "--force").exit_code == 0  # this process lives on; that of a real apply is gone
    assert json.loads(lab.run("history", "--format", "json").stdout)[0]["result"] == "running"
    assert lab.run("state", "recover").exit_code == 0
    run = json.loads(lab.run("history", "1", "--format", "json").stdout)
    assert run["result"] in ("failed", "partial")
    assert {step["status"] for step in run["journal"]} <= {"done", "interrupted", "failed", "skipped"}
    assert lab.apply().exit_code == 0
    assert lab.run("plan", "--detailed-exitcode").exit_code == 0
