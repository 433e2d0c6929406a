"""A renamed node: everything that is held by node follows the name, and what is forgotten takes along what befell it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.execution.remedies import failed_within_hour
from reconciler.fleet import (
    AppliedReplica,
    AppliedResource,
    EngineFacts,
    EngineId,
    EngineKind,
    FleetFacts,
    Heat,
    NodeFacts,
    StateError,
    replica_address,
)
from reconciler.state import Rename, StateWriter, StepStatus, names_now, node_move, open_reader, open_writer

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
AT, OTHER = EngineId("a", "ollama"), EngineId("b", "ollama")
M, N = replica_address("m:1", AT), replica_address("m:1", OTHER)


def row(at: EngineId, **fields: object) -> AppliedReplica:
    return AppliedReplica(replica_address("m:1", at), "m:1", at, "m:1", **fields)  # type: ignore[arg-type] # any field of it


def seen(at: EngineId, *, reachable: bool) -> NodeFacts:
    return NodeFacts(at.node, (), None, {at.engine: EngineFacts(at, EngineKind.OLLAMA, reachable, None if reachable else "refused")})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state that remembers something of every kind about two nodes."""
    path = tmp_path / "s.db"
    with open_writer(path, command="apply", clock=lambda: NOW) as state:
        run = state.begin_run("sha256:p", "sha256:c", "apply")
        state.record([row(AT, vram_bytes=5), row(OTHER)])
        for at in (AT, OTHER):
            state.own_tag(at, "m:1-c4096", "m:1")
        for address in (M, N):
            state.step_started(run, f"load:{address}", address, "load")
            state.step_finished(run, f"load:{address}", StepStatus.FAILED, "load_failed")
            state.record_incident(address, "evicted", "sha256:w")
        state.record_heat({("a", 0): Heat.CRITICAL, ("b", 1): Heat.WARNING})
        nodes = {at.node: seen(at, reachable=False) for at in (AT, OTHER)}
        state.record_facts(FleetFacts("2026-01-01T09:00:00Z", nodes))
        state.record_facts(FleetFacts("2026-01-01T10:00:00Z", nodes))
        state.finish_run(run, "done")
    return path


@pytest.fixture
def state(path: Path) -> Iterator[StateWriter]:
    with open_writer(path, command="state mv", clock=lambda: NOW) as state:
        state.begin_run("", "", "state mv")
        yield state


def move(state: StateWriter, old: str, new: str) -> None:
    state.rename_node(node_move(state.applied(), state.recorded_facts(), old, new))


def test_all_that_is_remembered_of_a_node_is_of_its_new_name(state: StateWriter) -> None:
    move(state, "a", "z")
    applied, facts, there = state.applied(), state.recorded_facts(), EngineId("z", "ollama")
    moved = replica_address("m:1", there)
    assert set(applied.replicas) == {moved, N}
    assert (applied.replicas[moved].at, applied.replicas[moved].vram_bytes) == (there, 5)
    assert [(one.address, one.code) for one in applied.incidents] == [(N, "evicted"), (moved, "evicted")]
    assert applied.silent == {there: "2026-01-01T09:00:00Z", OTHER: "2026-01-01T09:00:00Z"}, "silent for as long as before"
    assert applied.heat == {("z", 0): Heat.CRITICAL, ("b", 1): Heat.WARNING}
    assert state.tags() == {there: {"m:1-c4096": "m:1"}, OTHER: {"m:1-c4096": "m:1"}}
    assert facts is not None
    assert (sorted(facts.nodes), facts.nodes["z"].engines["ollama"].id, facts.at) == (["b", "z"], there, "2026-01-01T10:00:00Z")
    assert failed_within_hour(state, "2026-01-01T12:30:00Z") == {"z": 1, "b": 1}, "its tries of this hour are counted on"


def test_no_table_but_history_names_the_old_node_any_more(state: StateWriter, path: Path) -> None:
    move(state, "a", "z")
    with closing(sqlite3.connect(path)) as conn:
        tables = {str(name) for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        told = {
            table
            for table in tables
            for one in conn.execute(f"SELECT * FROM {table}")  # a table's own name
            if any(value == "a" or "@a/" in str(value) or '"node":"a"' in str(value) for value in one)
        }
    assert told == {"journal", "changes", "renames"}


def test_an_earlier_serial_is_told_with_the_name_of_now(state: StateWriter) -> None:
    move(state, "a", "z")
    state.begin_run("", "", "state mv")
    move(state, "z", "y")
    there = replica_address("m:1", EngineId("y", "ollama"))
    assert set(state.applied_at(1)) == {there, N}
    assert (state.applied_at(1)[there].at, state.applied_at(1)[there].address) == (EngineId("y", "ollama"), there)
    assert set(state.applied_at(3)) == {there, N}


def test_a_node_of_then_whose_name_another_has_now_is_gone_with_what_it_held(state: StateWriter) -> None:
    state.forget([N])
    state.record_facts(FleetFacts("t", {"a": seen(AT, reachable=True)}))
    move(state, "a", "b")
    assert {address: one.vram_bytes for address, one in state.applied_at(1).items()} == {N: 5}, "the one that is called b today"


def test_renames_follow_one_another_and_a_name_may_be_given_again() -> None:
    first, second, again = Rename(1, 1, "a", "b"), Rename(2, 2, "b", "c"), Rename(3, 3, "a", "d")
    assert names_now([first, second]) == {"a": "c", "b": "c"}
    assert names_now([first, second, again]) == {"a": "c", "b": "c"}, "of the a that was there first"
    assert names_now([again]) == {"a": "d"}


def test_two_nodes_do_not_become_one(state: StateWriter) -> None:
    for new, hint in (("b", "state rm"),):
        with pytest.raises(StateError, match=f"knows a node {new!r} already") as refused:
            node_move(state.applied(), state.recorded_facts(), "a", new)
        assert hint in str(refused.value)
    state.forget([N])
    with pytest.raises(StateError, match="an apply saw both") as seen_both:
        node_move(state.applied(), state.recorded_facts(), "a", "b")
    assert "take one out of the inventory" in str(seen_both.value)


def test_a_node_that_keeps_its_name_is_not_told_to_be_forgotten(state: StateWriter) -> None:
    with pytest.raises(StateError, match="both names are 'a'") as refused:
        node_move(state.applied(), state.recorded_facts(), "a", "a")
    assert "state rm" not in str(refused.value)


def test_what_is_forgotten_takes_along_what_befell_it(state: StateWriter, path: Path) -> None:
    state.forget([M])
    with closing(open_reader(path)) as reader:
        applied = reader.applied()
    assert (set(applied.replicas), [one.address for one in applied.incidents]) == ({N}, [N])


def test_a_tag_that_a_replica_uses_is_ours_until_it_is_deleted_or_the_replica_is_forgotten(state: StateWriter) -> None:
    state.record([replace(row(AT), engine_name="m:1-c8192", context=8192), replace(row(OTHER), engine_name="m:1-c8192", context=4096)])
    assert state.tags() == {AT: {"m:1-c4096": "m:1", "m:1-c8192": "m:1"}, OTHER: {"m:1-c4096": "m:1"}}
    state.forget_tags(AT, ["m:1-c4096", "m:1"])
    assert state.tags()[AT] == {"m:1-c8192": "m:1"}
    state.forget([M])
    assert AT not in state.tags()


def test_the_files_of_a_node_are_of_its_new_name(state: StateWriter) -> None:
    state.record_resources([AppliedResource("file./etc/x@a", {"mode": "0644"}, "text"), AppliedResource("file.x@local")])
    move(state, "a", "z")
    kept = state.applied().resources
    assert sorted(kept) == ["file./etc/x@z", "file.x@local"]
    assert (kept["file./etc/x@z"].fields, kept["file./etc/x@z"].written) == ({"mode": "0644"}, "text")
    state.record_resources([AppliedResource("file./etc/y@c")])
    with pytest.raises(StateError, match="knows a node 'c' already"):
        move(state, "b", "c")
