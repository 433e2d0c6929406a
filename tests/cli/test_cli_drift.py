"""`gpurec drift` as a command: it changes nothing, tells what differs until the next apply, and counts runs where it is asked to."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from cli_lab import SMALL, Lab, served
from ruamel.yaml import YAML

from reconciler.operations import clock as operations_clock
from reconciler.sim import builtin_fleet
from reconciler.state.sqlite import connection

BEA, ADA = "model.nomic-embed-text@bea/ollama", "model.nomic-embed-text@ada/ollama"
OBSERVING = {"POST /api/show"}
"""What is sent with another method than GET, and changes nothing."""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        assert lab.run("apply", "--auto-approve").exit_code == 0
        yield lab


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The hour of the day that the next look is of."""
    hour = [10]
    monkeypatch.setattr(operations_clock, "now", lambda: f"2050-01-01T{hour[0]:02}:00:00Z")
    return hour


def upgrade(lab: Lab, engine: str, version: str) -> None:
    one = lab.fleet.engines[engine]
    one.spec = replace(one.spec, version=version)


def drift(lab: Lab, *arguments: str, expect: int) -> dict[str, Any]:
    result = lab.run("drift", "--format", "json", *arguments)
    assert result.exit_code == expect, result.output
    return json.loads(result.stdout)


def kinds(document: dict[str, Any], part: str = "drift") -> set[tuple[str, str]]:
    return {(entry["address"], entry["kind"]) for entry in document[part]}


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder by its hash, but SQLite's shared memory and an empty log, which readers share with writers."""
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm")}
    return {str(path): hashlib.sha256(content).hexdigest() for path, content in files.items() if content or path.suffix != ".db-wal"}


def rows(path: Path) -> list[str]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as conn:
        return list(conn.iterdump())


def test_drift_changes_no_file_no_row_and_no_node_whatever_it_finds(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.fleet.engines["bea/ollama"].restart()
    upgrade(lab, "ada/ollama", "0.99.0")
    lab.fleet.engines["cleo/llamacpp"].kill()
    residents = {name: engine.residents for name, engine in lab.fleet.engines.items() if engine.alive}
    files, state = contents(lab.root), rows(lab.state)
    lab.fleet.forget_requests()
    opened: list[str] = []

    def connect(database: Any, *arguments: Any, **options: Any) -> sqlite3.Connection:
        opened.append(str(database))
        return sqlite3.Connection(database, *arguments, **options)

    monkeypatch.setattr(connection.sqlite3, "connect", connect)
    for options in ((), ("--format", "json"), ("--since", "1")):
        assert lab.run("drift", *options).exit_code == 2
    monkeypatch.undo()
    assert opened
    assert all(uri.startswith("file:") and "mode=ro" in uri for uri in opened)
    assert set(lab.sent()) <= OBSERVING
    assert any(engine.requests for engine in lab.fleet.engines.values())
    assert {name: engine.residents for name, engine in lab.fleet.engines.items() if engine.alive} == residents
    assert (contents(lab.root), rows(lab.state)) == (files, state)


def test_drift_without_a_state_makes_none(tmp_path: Path) -> None:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        result = lab.run("drift")
        assert (result.exit_code, lab.state.parent.exists()) == (0, False)
        assert result.stdout.startswith("No drift.")
        assert "2 replicas are pending" in result.stdout


_AS_NOBODY = """
import os, sys
from click.testing import CliRunner
from reconciler.cli.main import cli, main
warm, folder = sys.argv[1:]
CliRunner().invoke(cli, ["-C", warm, "drift", "--format", "json"])  # imports everything while it may be read
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.argv[:] = ["gpurec", "-C", folder, "drift", "--format", "json"]
main()
"""


def test_in_a_folder_that_cannot_be_written_drift_still_tells(lab: Lab) -> None:
    lab.fleet.engines["bea/ollama"].restart()
    with TemporaryDirectory() as folder:
        root = Path(folder)
        for path in (*lab.root.rglob("*.yaml"), lab.state):
            copy = root / path.relative_to(lab.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
            copy.chmod(0o444)
        for one in (*(path for path in root.rglob("*") if path.is_dir()), root):
            one.chmod(0o555)
        command = [sys.executable, "-c", _AS_NOBODY, str(lab.root), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        left = {path.name for path in (root / "state").iterdir()}
        for one in (root, *(path for path in root.rglob("*") if path.is_dir())):
            one.chmod(0o755)
    assert done.returncode == 2, done.stderr
    assert kinds(json.loads(done.stdout)) == {(BEA, "missing")}
    assert left == {"demo.db"}


def test_what_is_only_observed_is_drift_until_the_next_apply_also_an_empty_one(lab: Lab) -> None:
    upgrade(lab, "ada/ollama", "0.99.0")
    found = drift(lab, expect=2)
    assert found["drift"] == [
        {"address": "engine.ada/ollama", "kind": "version", "field": "build", "applied": "0.34.0", "found": "0.99.0", "class": "observed"}
    ]
    plan = lab.run("plan", "--detailed-exitcode")
    assert (plan.exit_code, "engine.ada/ollama" in plan.stdout) == (0, True)
    assert drift(lab, expect=2)["drift"] == found["drift"]
    lab.fleet.forget_requests()
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert set(lab.sent()) <= OBSERVING
    assert drift(lab, expect=0)["drift"] == []


def test_an_apply_records_what_it_found_also_where_nothing_is_wanted_any_more(lab: Lab) -> None:
    lab.want("version: 1\npolicy: {guards: {allow_empty: true}}\nmodels: {}\n")
    assert lab.run("apply", "--auto-approve").exit_code == 0
    upgrade(lab, "ada/ollama", "0.99.0")
    assert kinds(drift(lab, expect=2)) == {("engine.ada/ollama", "version")}
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert drift(lab, expect=0)["drift"] == []


def test_the_options_of_a_routers_runner_are_recorded_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler.sim.llamacpp.router import RouterEngine

    preset = "[tinyllama-1b]\nctx-size = 2048\nn-gpu-layers = 99\nmodel = /models/tiny.gguf\nhf-token = hunter2\n"
    entry = RouterEngine._entry

    def with_preset(self: Any, child: Any) -> dict[str, Any]:
        answer: dict[str, Any] = entry(self, child)
        return {**answer, "status": {**answer["status"], "preset": preset}}

    monkeypatch.setattr(RouterEngine, "_entry", with_preset)
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        lab.want("version: 1\nmodels:\n  tinyllama-1b: {engine: llamacpp, vram: 1GiB}\n")
        assert lab.run("apply", "--auto-approve").exit_code == 0
        assert drift(lab, expect=0)["drift"] == []
        preset = preset.replace("99", "20").replace("hunter2", "hunter3")
        (entry_,) = drift(lab, expect=2)["drift"]
        assert (entry_["kind"], entry_["applied"], entry_["found"]) == ("options", "n-gpu-layers=99", "n-gpu-layers=20")
        assert b"hunter" not in lab.state.read_bytes()


def test_pending_is_told_apart_and_is_no_exit_status(lab: Lab) -> None:
    lab.want(SMALL + '  "llama3.1:8b": {engine: ollama, on: ada, vram: 6GiB}\n')
    document = drift(lab, expect=0)
    assert document["summary"] == {"drift": 0, "pending": 1, "deferred": 0}
    text = lab.run("drift").stdout
    assert text.startswith("No drift.")
    assert "1 replica is pending" in text


def test_drift_is_2_before_unreachable_is_4(lab: Lab) -> None:
    lab.fleet.engines["bea/ollama"].kill()
    assert drift(lab, expect=4)["drift"] == []
    lab.fleet.engines["ada/ollama"].restart()
    document = drift(lab, expect=2)
    assert kinds(document) == {(ADA, "missing")}
    assert [entry["node"] for entry in document["deferred"]] == ["bea"]


def test_a_threshold_tells_only_what_so_many_runs_saw_in_a_row(lab: Lab, clock: list[int]) -> None:
    ask = ("--memory", "memory.json", "--in-a-row", "2")
    lab.fleet.engines["bea/ollama"].restart()
    first = drift(lab, *ask, expect=0)
    assert (kinds(first), kinds(first, "waiting")) == (set(), {(BEA, "missing")})
    clock[0] = 11
    second = drift(lab, *ask, expect=2)
    assert second["drift"][0] | {"first_seen": "2050-01-01T10:00:00Z", "runs": 2} == second["drift"][0]
    assert second["waiting"] == []
    assert stat.S_IMODE((lab.root / "memory.json").stat().st_mode) == 0o600


def test_what_was_as_applied_in_between_is_counted_from_one_again(lab: Lab, clock: list[int]) -> None:
    ask = ("--memory", "memory.json", "--in-a-row", "2")
    upgrade(lab, "ada/ollama", "0.99.0")
    drift(lab, *ask, expect=0)
    upgrade(lab, "ada/ollama", "0.34.0")
    drift(lab, *ask, expect=0)
    upgrade(lab, "ada/ollama", "0.99.0")
    assert kinds(drift(lab, *ask, expect=0), "waiting") == {("engine.ada/ollama", "version")}


def test_what_an_apply_repaired_unseen_is_counted_from_one_again(lab: Lab, clock: list[int]) -> None:
    ask = ("--memory", "memory.json", "--in-a-row", "2")
    lab.fleet.engines["bea/ollama"].restart()
    drift(lab, *ask, expect=0)
    assert lab.run("apply", "--auto-approve").exit_code == 0
    lab.fleet.engines["bea/ollama"].restart()
    assert kinds(drift(lab, *ask, expect=0), "waiting") == {(BEA, "missing")}
    assert kinds(drift(lab, *ask, expect=2)) == {(BEA, "missing")}


def test_a_change_of_the_state_alone_repairs_nothing_and_ends_no_count(lab: Lab, clock: list[int]) -> None:
    ask = ("--memory", "memory.json", "--in-a-row", "2")
    lab.fleet.engines["bea/ollama"].restart()
    drift(lab, *ask, expect=0)
    assert lab.run("state", "rm", ADA).exit_code == 0
    assert kinds(drift(lab, *ask, expect=2)) == {(BEA, "missing")}


def test_an_engine_that_is_unreachable_has_a_threshold_too_and_hides_no_count(lab: Lab, clock: list[int]) -> None:
    ask = ("--memory", "memory.json", "--in-a-row", "2")
    bea = lab.fleet.engines["bea/ollama"]
    bea.restart()
    drift(lab, *ask, expect=0)
    bea.kill()
    assert [entry["runs"] for entry in drift(lab, *ask, expect=0)["deferred"]] == [1]
    assert [entry["runs"] for entry in drift(lab, *ask, expect=4)["deferred"]] == [2]
    bea.revive()
    assert kinds(drift(lab, *ask, expect=2)) == {(BEA, "missing")}


def test_since_a_time_tells_only_what_was_first_seen_then_or_later(lab: Lab, clock: list[int]) -> None:
    keep = ("--memory", "memory.json")
    lab.fleet.engines["bea/ollama"].restart()
    drift(lab, *keep, expect=2)
    clock[0] = 12
    upgrade(lab, "ada/ollama", "0.99.0")
    document = drift(lab, *keep, "--since", "2050-01-01T12:30:00+01:00", expect=2)
    assert (kinds(document), kinds(document, "older")) == ({("engine.ada/ollama", "version")}, {(BEA, "missing")})
    assert document["since"] == "2050-01-01T11:30:00Z"
    later = lab.run("drift", *keep, "--since", "2050-01-01T13:00:00Z")
    assert later.exit_code == 0
    assert later.stdout.startswith("No new drift. Fleet demo differs in 2 fields that are not asked for.")
    assert "2 fields drifted before 2050-01-01T13:00:00Z, and are not shown." in later.stdout


def test_since_a_duration_is_so_long_before_now(lab: Lab, clock: list[int]) -> None:
    keep = ("--memory", "memory.json")
    lab.fleet.engines["bea/ollama"].restart()
    drift(lab, *keep, expect=2)
    clock[0] = 12
    upgrade(lab, "ada/ollama", "0.99.0")
    document = drift(lab, *keep, "--since", "1h30m", expect=2)
    assert (kinds(document), kinds(document, "older")) == ({("engine.ada/ollama", "version")}, {(BEA, "missing")})
    assert document["since"] == "2050-01-01T10:30:00Z"
    assert kinds(drift(lab, *keep, "--since", "24h", expect=2)) == {("engine.ada/ollama", "version"), (BEA, "missing")}


def test_a_duration_that_no_clock_knows_is_one_sentence(lab: Lab) -> None:
    result = lab.run("drift", "--since", "9999999d")
    assert (result.exit_code, result.output.count("'9999999d' is neither a run, a duration nor a time")) == (1, 1)


@pytest.mark.parametrize("text", ["9" * 30 + "d", "9" * 5000 + "h", "24 hours", "-1h", "99h99q"])
def test_a_duration_that_is_none_is_one_sentence(lab: Lab, text: str) -> None:
    result = lab.run("drift", "--since", text)
    assert (result.exit_code, result.output.count("is neither a run, a duration nor a time")) == (1, 1)


def test_since_the_last_run_leaves_out_what_that_run_found_and_could_not_repair(lab: Lab) -> None:
    assert kinds(drift(lab, "--since", "1", expect=0)) == set()
    bea = lab.fleet.engines["bea/ollama"]
    bea.restart()
    assert kinds(drift(lab, "--since", "1", expect=2)) == {(BEA, "missing")}
    bea.set_fault("fail_load")
    assert lab.run("apply", "--auto-approve").exit_code == 3
    assert kinds(drift(lab, expect=2)) == {(BEA, "missing")}
    assert kinds(drift(lab, "--since", "2", expect=0), "older") == {(BEA, "missing")}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--in-a-row", "2"), "--memory FILE"),
        (("--since", "yesterday"), "is neither a run, a duration nor a time"),
        (("--since", "99"), "there is no run 99"),
        (("--since", "2090-01-01"), "nothing was kept since then"),
        (("--memory", "desired/demo.yaml"), "this is no memory of gpurec drift"),
        (("--memory", "state/demo.db"), "the file is not UTF-8 text"),
        (("--memory", "nowhere/memory.json"), "cannot be written"),
    ],
)
def test_a_question_that_cannot_be_answered_is_said_and_overwrites_nothing(lab: Lab, arguments: tuple[str, ...], said: str) -> None:
    before = contents(lab.root)
    result = lab.run("drift", *arguments)
    assert (result.exit_code, said in result.output) == (1, True)
    assert contents(lab.root) == before


def test_the_memory_of_another_fleet_is_refused(lab: Lab) -> None:
    path = lab.root / "memory.json"
    path.write_text('{"format_version": 1, "fleet": "other", "lineage": null, "at": "2026-01-01T00:00:00Z", "last_run": null, "seen": []}')
    result = lab.run("drift", "--memory", "memory.json")
    assert (result.exit_code, "memory of fleet other, not of demo" in result.stderr) == (1, True)
    assert "other" in path.read_text()


@pytest.mark.parametrize("text", ["", "[]", '{"format_version": 2}', '{"format_version": 1, "fleet": 3}', "[" * 100_000])
def test_a_hostile_memory_is_refused_with_one_sentence(lab: Lab, text: str) -> None:
    (lab.root / "memory.json").write_text(text)
    result = lab.run("drift", "--memory", "memory.json")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert (lab.root / "memory.json").read_text() == text


def test_the_memory_of_a_state_that_was_replaced_counts_for_nothing(lab: Lab, clock: list[int]) -> None:
    ask = ("--memory", "memory.json", "--in-a-row", "2")
    lab.fleet.engines["bea/ollama"].restart()
    drift(lab, *ask, expect=0)
    path = lab.root / "memory.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lineage": "another"}))
    assert kinds(drift(lab, *ask, expect=0), "waiting") == {(BEA, "missing")}


def test_replicas_on_a_node_that_left_the_inventory_are_named_though_nobody_looks_at_them(lab: Lab) -> None:
    inventory = lab.root / "inventories/demo.yaml"
    text = inventory.read_text()
    document = YAML(typ="safe", pure=True).load(text)
    for group in document["all"]["children"].values():
        group["hosts"].pop("bea", None)
    with inventory.open("w") as file:
        YAML().dump(document, file)
    result = lab.run("drift")
    assert result.exit_code == 0
    assert BEA in result.stdout
    assert "left the inventory" in result.stdout
    assert BEA in drift(lab, expect=0)["forgotten"]
