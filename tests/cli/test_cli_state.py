"""`gpurec state`: what is owned, forgetting, renaming, copies, health and recovery, as a user meets them."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from syrupy.assertion import SnapshotAssertion

from reconciler.cli.main import cli
from reconciler.fleet import AppliedReplica, EngineFacts, EngineId, EngineKind, FleetFacts, NodeFacts, StateError, replica_address
from reconciler.operations.drift import read_memory, write_memory
from reconciler.planning import DriftMemory, SeenDrift
from reconciler.state import StateLevel, StepStatus, break_lock, check_state, look_at_lock, open_reader, open_writer
from reconciler.views.state_text import FindingRow, check_text

A, B = EngineId("gpu-a", "ollama"), EngineId("gpu-b", "ollama")
LLAMA, QWEN, HOSTILE = (replica_address(name, at) for name, at in (("llama3.1:8b", A), ("qwen2.5:7b", B), ("evil\x1b[2J", B)))


def replica(address: str, name: str, at: EngineId, **fields: object) -> AppliedReplica:
    return AppliedReplica(address, name, at, name, **fields)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "s.db"
    seen = {at.node: NodeFacts(at.node, (), None, {at.engine: EngineFacts(at, EngineKind.OLLAMA, True)}) for at in (A, B)}
    with open_writer(path, command="apply") as state:
        run = state.begin_run("sha256:p", "sha256:c", "apply")
        state.record(
            [
                replica(LLAMA, "llama3.1:8b", A, context=8192, options={"num_batch": 512}, keep_alive=-1.0, observed_pinned=True),
                replica(QWEN, "qwen2.5:7b", B),
                replica(HOSTILE, "evil\x1b[2J", B),
            ]
        )
        state.record_facts(FleetFacts("2026-01-01T00:00:00Z", seen))
        state.finish_run(run, "done")
    return path


def gpurec(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--state", str(path), *arguments])


def state(path: Path, *arguments: str) -> Result:
    return gpurec(path, "state", *arguments)


def owned(path: Path) -> set[str]:
    with closing(open_reader(path)) as reader:
        return set(reader.applied().replicas)


def test_list_prints_an_address_a_line_and_node_text_cannot_drive_the_terminal(path: Path) -> None:
    result = state(path, "list")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["model.evil\\x1b[2J@gpu-b/ollama", LLAMA, QWEN]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [("*@gpu-b/*", [HOSTILE, QWEN]), ("model.llama*", [LLAMA]), (QWEN, [QWEN]), ("llama", []), ("MODEL.*", [])],
)
def test_list_takes_a_pattern_over_whole_addresses(path: Path, pattern: str, found: list[str]) -> None:
    result = state(path, "list", pattern, "--format", "json")
    assert [one["address"] for one in json.loads(result.stdout)] == found


def test_list_of_no_state_is_empty_and_makes_none(tmp_path: Path) -> None:
    result = state(tmp_path / "none.db", "list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "The state owns nothing.\n")
    assert list(tmp_path.iterdir()) == []


def test_show_says_what_was_asked_and_what_was_seen(path: Path, snapshot: SnapshotAssertion) -> None:
    assert state(path, "show", LLAMA).stdout == snapshot
    assert json.loads(state(path, "show", LLAMA, "--format", "json").stdout)["options.num_batch"] == 512


def test_an_unknown_address_is_an_error_that_names_the_nearest(path: Path) -> None:
    for verb in ("show", "rm"):
        result = state(path, verb, "model.llama3.1:8@gpu-a/ollama")
        assert result.exit_code == 1
        assert f"did you mean {LLAMA}?" in result.stderr
    assert len(json.loads(gpurec(path, "history", "--format", "json").stdout)) == 1  # a slip is no run


def test_rm_forgets_and_history_says_who(path: Path) -> None:
    result = state(path, "rm", LLAMA, QWEN)
    assert result.exit_code == 0, result.output
    assert owned(path) == {HOSTILE}
    (run, _) = json.loads(gpurec(path, "history", "--format", "json").stdout)
    assert (run["command"], run["result"], run["serial"]) == (f"state rm {LLAMA} {QWEN}", "done", 2)


def test_rm_forgets_all_or_nothing(path: Path) -> None:
    assert state(path, "rm", LLAMA, "model.x@n/e").exit_code == 1
    assert LLAMA in owned(path)


def test_mv_renames_a_node_in_what_is_owned_and_what_was_seen(path: Path) -> None:
    result = state(path, "mv", "gpu-b", "gpu-z", "--format", "json")
    assert json.loads(result.stdout) == {"moved": ["model.evil\x1b[2J@gpu-z/ollama", "model.qwen2.5:7b@gpu-z/ollama"], "serial": 2}
    with closing(open_reader(path)) as reader:
        applied, facts = reader.applied(), reader.recorded_facts()
    assert {one.at for one in applied.replicas.values()} == {A, EngineId("gpu-z", "ollama")}
    assert all(address == replica_address(one.model, one.at) for address, one in applied.replicas.items())
    assert facts is not None
    assert {name: (node.node, node.engines["ollama"].id) for name, node in facts.nodes.items()} == {
        "gpu-a": ("gpu-a", A), "gpu-z": ("gpu-z", EngineId("gpu-z", "ollama")),
    }  # fmt: skip


def test_mv_renames_in_the_memory_of_drift_too_and_touches_nothing_when_that_is_none(path: Path, tmp_path: Path) -> None:
    memory = tmp_path / "drift.json"
    seen = SeenDrift(QWEN, "missing", "resident", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", 3)
    write_memory(memory, DriftMemory("lab", "l", "2026-01-01T00:00:00Z", 1, (seen,)))
    assert state(path, "mv", "gpu-b", "gpu-z", "--memory", str(memory)).exit_code == 0
    assert [(one.address, one.runs) for one in read_memory(memory).seen] == [("model.qwen2.5:7b@gpu-z/ollama", 3)]
    memory.write_text("{}")
    before = owned(path)
    assert state(path, "mv", "gpu-z", "gpu-y", "--memory", str(memory)).exit_code == 1
    assert (owned(path), memory.read_text()) == (before, "{}")


def test_a_rescue_journal_that_waits_is_taken_in_before_a_node_is_renamed(path: Path) -> None:
    with closing(open_reader(path)) as reader:
        lineage = reader.applied().lineage
    head = {"gpurec_rescue": 1, "state": str(path), "lineage": lineage, "run_id": 1, "serial": 1, "at": "t", "why": "w"}
    entry = {"op": "recorded", "replicas": [asdict(replica("model.new:1@gpu-b/ollama", "new:1", B))], "gone": [QWEN]}
    path.with_name("s.db.rescue-1-x.jsonl").write_text(f"{json.dumps(head)}\n{json.dumps(entry)}\n")
    result = state(path, "mv", "gpu-b", "gpu-z")
    assert result.exit_code == 0, result.output
    assert owned(path) == {LLAMA, "model.new:1@gpu-z/ollama", HOSTILE.replace("gpu-b", "gpu-z")}


@pytest.mark.parametrize(
    ("old", "new", "said"), [("gpu-x", "y", "knows no node"), ("gpu-a", "gpu-b", "already"), ("gpu-a", "a/b", "no name")]
)
def test_mv_refuses_an_unknown_node_and_one_that_is_there(path: Path, old: str, new: str, said: str) -> None:
    before = owned(path)
    result = state(path, "mv", old, new)
    assert result.exit_code == 1
    assert said in result.stderr
    assert owned(path) == before


def test_backup_and_restore_bring_back_what_was_forgotten(path: Path) -> None:
    copy = path.with_name("copy")
    assert state(path, "backup", str(copy)).stdout == f"{copy}\n"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    state(path, "rm", LLAMA)
    result = state(path, "restore", str(copy), "--format", "json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["serial"] == 1
    assert LLAMA in owned(path)
    assert LLAMA not in owned(Path(document["kept"]))


def test_a_backup_without_a_name_is_beside_the_state_named_by_the_time(path: Path) -> None:
    copy = Path(json.loads(state(path, "backup", "--format", "json").stdout)["file"])
    assert copy.parent == path.parent
    assert copy.name.startswith("s.db.backup-2")
    assert owned(copy) == owned(path)


def test_what_writes_the_state_gets_5_while_a_run_holds_its_lock_and_what_reads_goes_on(path: Path) -> None:
    copy = path.with_name("copy")
    assert state(path, "backup", str(copy)).exit_code == 0
    rescue = path.with_name("s.db.rescue-1-x.jsonl")
    with open_writer(path, command="apply") as held:
        lineage = held.applied().lineage
        head = {"gpurec_rescue": 1, "state": str(path), "lineage": lineage, "run_id": 1, "serial": 1, "at": "t", "why": "w"}
        rescue.write_text(json.dumps(head) + "\n")
        for arguments in (["rm", LLAMA], ["mv", "gpu-a", "x"], ["restore", str(copy)], ["recover"]):
            result = state(path, *arguments, "--lock-timeout", "0s")
            assert (arguments, result.exit_code) == (arguments, 5)
            assert "locked by" in result.stderr
        for arguments in (["list"], ["show", LLAMA], ["backup", str(copy) + "2"], ["check"]):
            assert (arguments, state(path, *arguments).exit_code) == (arguments, 0)


def test_check_of_a_sound_state_is_0_and_of_a_damaged_one_1(path: Path) -> None:
    assert state(path, "check").exit_code == 0
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("INSERT INTO migrations VALUES (99, 'later')")
        conn.commit()
    result = state(path, "check", "--format", "json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["sound"] is False
    assert [one["name"] for one in document["findings"] if one["level"] == "error"] == ["schema"]


def test_what_a_check_looks_like(snapshot: SnapshotAssertion) -> None:
    rows = [
        FindingRow("permissions", "ok", "for its owner alone"),
        FindingRow("SQLite", "warning", "3.40.1 has the WAL-reset fault", "use another"),
        FindingRow("log", "error", "evil\x1b[2J", "plan"),
    ]
    assert check_text("state/lab.db", rows) == snapshot
    assert check_text("state/lab.db", rows[:1]) == snapshot


def test_recover_takes_in_what_waits_once(path: Path) -> None:
    with pytest.raises(StateError), open_writer(path, command="apply") as writer:  # noqa: PT012
        run = writer.begin_run("p", "c", "apply")
        writer.step_started(run, "load:a", "a", "load")
        writer._conn.execute("PRAGMA query_only = ON")  # type: ignore[attr-defined]
        writer.step_finished(run, "load:a", StepStatus.DONE)
        writer.record([], [QWEN])
        writer.finish_run(run, "done")
    lock = look_at_lock(path)
    assert lock is not None
    break_lock(path, lock)
    assert [one.name for one in check_state(path) if one.name == "rescue" and one.level is StateLevel.WARNING] == ["rescue"]
    result = state(path, "recover", "--format", "json")
    assert result.exit_code == 0, result.output
    (one,) = json.loads(result.stdout)["recovered"]
    assert (one["run"], one["entries"], one["torn"]) == (run, 3, False)
    assert Path(one["kept"]).exists()
    assert not Path(one["file"]).exists()
    assert QWEN not in owned(path)
    runs = json.loads(gpurec(path, "history", "--format", "json").stdout)
    assert [(each["command"], each["result"]) for each in runs] == [("state recover", "done"), ("apply", "done"), ("apply", "done")]
    assert state(path, "recover").stdout == "Nothing waits to be recovered.\n"


def test_the_state_of_a_workspace_is_found_without_reading_its_files(path: Path, tmp_path: Path) -> None:
    for folder in ("inventories", "desired", "state"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "lab.yaml").write_text("this: is: not yaml\n")
    path.rename(tmp_path / "state" / "lab.db")
    result = CliRunner().invoke(cli, ["-C", str(tmp_path), "state", "list", "model.llama*"])
    assert result.stdout == f"{LLAMA}\n"
