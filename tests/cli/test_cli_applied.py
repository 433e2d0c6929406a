"""What an apply leaves in the state and in history, and what it says of a state in trouble; whole commands over simulated servers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from reconciler.cli.main import cli
from reconciler.cli.simulated import inventory_of
from reconciler.sim import builtin_fleet, running
from reconciler.state import look_at_lock, open_writer
from reconciler.state.writer import SqliteWriter

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


_TABLES = ("meta", "replicas", "measured", "facts", "runs", "journal", "lease")


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


def test_an_apply_that_takes_over_or_finds_a_rescue_journal_says_so(lab: Lab) -> None:
    assert lab.apply().exit_code == 0
    with closing(sqlite3.connect(lab.state)) as conn:
        conn.execute("UPDATE lease SET owner = 'o', host = 'far', boot = 'b', heartbeat_at = 0, since = 'then'")
        conn.commit()
    head = {"gpurec_rescue": 1, "state": str(lab.state.absolute()), "lineage": "l", "run_id": 1, "serial": 1, "at": "t", "why": "w"}
    rescue = lab.state.with_name("demo.db.rescue-1-x.jsonl")
    rescue.write_text(json.dumps(head) + "\n")
    result = lab.apply()
    assert result.exit_code == 0
    assert "took over the lock" in result.stderr
    assert "on far" in result.stderr
    assert f"{rescue} waits to be read in: gpurec state recover" in result.stderr


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
