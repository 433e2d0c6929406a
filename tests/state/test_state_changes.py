"""What was owned at an earlier serial: kept as changes, so that a run costs what it changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.fleet import AppliedReplica, EngineId, StateError, replica_address
from reconciler.state import open_reader, open_writer

AT = EngineId("n", "ollama")


def row(name: str, **fields: object) -> AppliedReplica:
    return AppliedReplica(replica_address(name, AT), name, AT, name, **{"keep_alive": -1.0, "vram_bytes": 5, **fields})  # type: ignore[arg-type]


def run(path: Path, rows: list[AppliedReplica], gone: list[str] = []) -> int:  # noqa: B006
    with open_writer(path, command="apply") as state:
        id_ = state.begin_run("sha256:p", "sha256:c", "apply")
        state.record(rows, [replica_address(name, AT) for name in gone])
        return state.finish_run(id_, "done")


def asked(path: Path, serial: int) -> dict[str, AppliedReplica]:
    with closing(open_reader(path)) as state:
        return {one.model: one for one in state.applied_at(serial).values()}


def test_each_serial_gives_back_what_was_asked_then(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    assert run(path, [row("a", options={"num_batch": 256}, context=8192), row("b")]) == 1
    assert run(path, [row("a", context=4096)], ["b"]) == 2
    assert run(path, [row("b", ensure="present", keep_alive=None), row("c")]) == 3
    assert asked(path, 0) == {}
    assert asked(path, 1) == {"a": row("a", options={"num_batch": 256}, context=8192, serial=1), "b": row("b", serial=1)}
    assert asked(path, 2) == {"a": row("a", context=4096, serial=2)}
    assert set(asked(path, 3)) == {"a", "b", "c"}
    assert asked(path, 3)["b"] == row("b", ensure="present", keep_alive=None, serial=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.none() | st.integers(1, 3), max_size=3), min_size=1, max_size=6))
def test_any_history_of_changes_reads_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, steps: list[dict[str, int | None]]) -> None:
    path = tmp_path_factory.mktemp("history") / "s.db"
    there: dict[str, int] = {}
    at: dict[int, dict[str, int]] = {0: {}}
    for step in steps:
        there = {**there, **{name: context for name, context in step.items() if context is not None}}
        gone = [name for name, context in step.items() if context is None]
        serial = run(path, [row(name, context=context) for name, context in step.items() if context is not None], gone)
        there = {name: context for name, context in there.items() if name not in gone}
        at[serial] = there
    for serial, expected in at.items():
        assert {name: one.context for name, one in asked(path, serial).items()} == expected


def test_a_run_adds_as_many_rows_as_it_changes_and_an_empty_one_none(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    many = [row(f"m{n}") for n in range(100)]
    run(path, many)
    run(path, [replace(one, context=1) for one in many[:3]] + many[3:])
    run(path, [replace(one, context=1) for one in many[:3]] + many[3:])
    with closing(sqlite3.connect(path)) as conn:
        assert conn.execute("SELECT serial, count(*) FROM changes GROUP BY serial").fetchall() == [(1, 100), (2, 3)]


@pytest.mark.parametrize("serial", [2, 99])
def test_a_serial_that_is_yet_to_come_is_refused(tmp_path: Path, serial: int) -> None:
    path = tmp_path / "s.db"
    run(path, [row("a")])
    with pytest.raises(StateError, match=f"the state knows no serial {serial}; it knows serials 0 to 1; see gpurec history"):
        asked(path, serial)


def test_no_state_knows_no_serial(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="nothing was applied yet"):
        asked(tmp_path / "none.db", 1)
