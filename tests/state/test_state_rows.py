"""Rows that hold something else than gpurec writes: one sentence from every command, and `state check` names each."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.fleet import (
    AppliedReplica,
    EngineFacts,
    EngineId,
    EngineKind,
    FleetFacts,
    Installed,
    LoadKey,
    Measured,
    MeasuredKey,
    ModelHeader,
    NodeFacts,
    StateError,
)
from reconciler.state import Learned, Measurement, StateLevel, StateReader, check_state, open_reader, open_writer

AT = EngineId("n", "e")
ROW = AppliedReplica("model.a@n/e", "a", AT, "a", context=8192, charges=((0, 5),))
NEED = MeasuredKey("sha256:w", "0.34.0", "NVIDIA A40", 4096, 1, "f16", True)
KEY = LoadKey(EngineKind.OLLAMA, "a", None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "s.db"
    header = ModelHeader({"general.architecture": "x"}, (("blk.0.w", "q4_k", (256, 2)),))
    engine = EngineFacts(AT, EngineKind.OLLAMA, True, installed=(Installed("a", 7, blob="sha256-1", header=header),))
    facts = FleetFacts("2026-01-01T00:00:00Z", {"n": NodeFacts("n", (), 9, {"e": engine})})
    with open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        state.step_started(run, "s", "model.a@n/e", "load")
        state.record([ROW])
        state.measure([Measurement(KEY, 1.0)])
        state.learn([Learned(NEED, Measured(5, 9))])
        state.record_incident("model.a@n/e", "evicted", "d")
        state.record_facts(facts)
        state.finish_run(run, "done")
    return path


def read_all(state: StateReader) -> None:
    state.applied()
    state.recorded_facts()
    state.applied_at(1)
    for run in state.runs():
        state.journal(run.id)
    state.lease()


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as conn:
        for statement in statements:
            conn.execute(statement)
        conn.commit()


def test_a_state_as_gpurec_writes_it_has_no_such_row(path: Path) -> None:
    assert {one.name: one.level for one in check_state(path)}["rows"] is StateLevel.OK
    with closing(open_reader(path)) as state:
        read_all(state)


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        ("UPDATE meta SET value = 'x' WHERE key = 'serial'", "meta serial"),
        ("UPDATE meta SET value = 'x' WHERE key = 'facts_at'", "meta facts_at"),
        ("UPDATE replicas SET options = '[1'", "replicas model.a@n/e"),
        ("UPDATE replicas SET options = '[1]'", "replicas model.a@n/e"),
        ("UPDATE replicas SET charges = '{}'", "replicas model.a@n/e"),
        ("UPDATE replicas SET charges = '[[0]]'", "replicas model.a@n/e"),
        ("UPDATE replicas SET address = 'x'", "replicas x"),
        ("UPDATE replicas SET options = printf('%.*c', 100000, '[')", "replicas model.a@n/e"),
        ("UPDATE facts SET body = '{}'", "facts n"),
        ("UPDATE headers SET body = 'x'", "headers"),
        ("UPDATE load_times SET kind = 'x'", "load_times x"),
        ("INSERT INTO heat VALUES ('n1', 0, -1)", "heat n1"),
        ("INSERT INTO needs VALUES ('x', 1, 1)", "needs x"),
        ("INSERT INTO needs VALUES ('[]', 1, 1)", "needs []"),
        ("INSERT INTO silent VALUES ('n', 'e', 'x')", "silent n"),
        ("UPDATE incidents SET at = 'x'", "incidents model.a@n/e"),
        ("UPDATE changes SET body = '[]'", "changes model.a@n/e"),
        ("UPDATE journal SET status = 'x'", "journal s"),
    ],
)
def test_a_row_that_is_none_is_named_by_check_and_one_sentence_elsewhere(path: Path, statement: str, where: str) -> None:
    change(path, statement)
    found = {one.name: one for one in check_state(path)}
    assert found["rows"].level is StateLevel.ERROR
    assert where in found["rows"].message
    if where in ("meta facts_at", "silent n"):
        return  # a time, which only those read that reckon with it
    with closing(open_reader(path)) as state, pytest.raises(StateError) as caught:
        read_all(state)
    assert "gpurec state check" in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("table", "body", "row", "wrong"),
    [
        ("facts", "{}", "facts n", "node is missing"),
        ("facts", "[", "facts n", "it is not JSON"),
        ("facts", "[]", "facts n", "it must be a mapping"),
        ("facts", '{"node": 1, "cards": null, "ram_bytes": null, "engines": {}}', "facts n", "node must be text"),
        ("facts", '{"node": "n", "cards": null, "ram_bytes": "x", "engines": {}}', "facts n", "ram_bytes must be a whole number"),
        ("headers", "x", "headers h", "it is not JSON"),
        ("changes", "[", "changes model.a@n/e", "body is not JSON"),
    ],
)
def test_check_says_of_a_bad_row_in_one_line_which_it_is_what_it_must_be_and_what_to_do(
    path: Path, table: str, body: str, row: str, wrong: str
) -> None:
    change(path, f"UPDATE {table} SET body = '{body}'", "UPDATE headers SET key = 'h'")
    (bad,) = [one for one in check_state(path) if one.name == "rows"]
    assert bad.message == f"1 row cannot be read: {row}: {wrong}"
    assert bad.hint == "gpurec state restore FILE, from a backup"


OLD_STATE = '["a", "n", "e", "a", "loaded", null, {}, null, "gpu", null]'


@pytest.mark.parametrize(
    ("statement", "row", "wrong"),
    [
        ("UPDATE meta SET value = 'x' WHERE key = 'serial'", "meta serial", "value must be a whole number"),
        ("UPDATE meta SET value = 'x' WHERE key = 'facts_at'", "meta facts_at", "value must be a time"),
        ("UPDATE replicas SET options = '[1'", "replicas model.a@n/e", "options is not JSON"),
        ("UPDATE replicas SET options = '[1]'", "replicas model.a@n/e", "options must be a mapping"),
        ("UPDATE replicas SET charges = '[[0]]'", "replicas model.a@n/e", "charges must be pairs of a card and its bytes"),
        ("UPDATE replicas SET charges = '[[0, \"x\"]]'", "replicas model.a@n/e", "charges must be pairs of a card and its bytes"),
        ("UPDATE replicas SET charges = '5'", "replicas model.a@n/e", "charges must be a list"),
        ("UPDATE replicas SET model = 'b'", "replicas model.a@n/e", "this is not the address of 'b' on n/e"),
        ("UPDATE replicas SET options = printf('%.*c', 100000, '[')", "replicas model.a@n/e", "options is nested too deeply"),
        ("UPDATE load_times SET kind = 'x'", "load_times x", "kind must be one of ollama, "),
        ("INSERT INTO heat VALUES ('n1', 0, -1)", "heat n1", "level must be one of 0, 1, 2, 3"),
        ("INSERT INTO needs VALUES ('[]', 1, 1)", "needs []", "key must have 4 to 8 values, it has 0"),
        ("INSERT INTO needs VALUES ('{}', 1, 1)", "needs {}", "key must be a list"),
        ("INSERT INTO needs VALUES ('[1, 2, 3, 4]', 1, 1)", "needs [1, 2, 3, 4]", "the weights of key is of another type"),
        ("UPDATE changes SET body = '{}'", "changes model.a@n/e", "body must be a list"),
        ("UPDATE changes SET body = '[1]'", "changes model.a@n/e", "body must have 10 to 12 values, it has 1"),
        ("UPDATE changes SET body = replace(body, '\"n\"', '[]')", "changes model.a@n/e", "value 2 of body is of another type"),
        ("UPDATE journal SET status = 'x'", "journal s", "status must be one of "),
        ("INSERT INTO resources VALUES ('file.x@n', '7', NULL, 1)", "resources file.x@n", "fields must be a mapping"),
    ],
)
def test_check_and_the_readers_say_in_words_of_ours_which_column_of_which_row_is_wrong(
    path: Path, statement: str, row: str, wrong: str
) -> None:
    change(path, statement)
    (bad,) = [one for one in check_state(path) if one.name == "rows"]
    assert f"{row}: {wrong}" in bad.message
    if wrong == "value must be a time":
        return
    with closing(open_reader(path)) as state, pytest.raises(StateError) as caught:
        read_all(state)
    table, _, key = row.partition(" ")
    assert str(path) in str(caught.value)
    assert wrong in str(caught.value) or (table, key) == ("meta", "serial")
    assert f"table {table}, row {key}: " in str(caught.value) or table == "meta"


def test_a_row_of_before_a_column_was_added_is_read(path: Path) -> None:
    change(path, f"UPDATE changes SET body = '{OLD_STATE}'", 'INSERT INTO needs VALUES (\'["w", "", "", null]\', 1, 2)')
    assert {one.name: one.level for one in check_state(path)}["rows"] is StateLevel.OK
    with closing(open_reader(path)) as state:
        read_all(state)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE incidents",
        "DROP TABLE replicas",
        "DELETE FROM migrations",
        "DELETE FROM lease",
        "UPDATE lease SET owner = 'x', pid = NULL",
    ],
)
def test_a_table_or_a_row_that_is_missing_is_one_sentence_and_an_error_of_check(path: Path, statement: str) -> None:
    change(path, statement)
    assert any(one.level is StateLevel.ERROR for one in check_state(path))

    def write() -> None:
        with open_writer(path, command="apply") as state:
            state.begin_run("p", "c", "apply")
            state.applied()

    def read() -> None:
        with closing(open_reader(path)) as state:
            read_all(state)

    for act in (read, write):
        with pytest.raises(StateError):
            act()


@pytest.mark.parametrize("number", [2**63, -1, 10**400], ids=["2^63", "-1", "400 digits"])
@pytest.mark.parametrize("field", ["observed_context", "vram_bytes"])
def test_a_number_that_no_such_thing_can_have_is_unknown_and_ends_nothing(tmp_path: Path, field: str, number: int) -> None:
    path = tmp_path / "s.db"
    row = AppliedReplica("model.a@n/e", "a", AT, "a", **{field: number})  # type: ignore[arg-type]
    with open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        state.record([row])
        state.record([row])
        state.learn([Learned(NEED, Measured(number, number))])
        assert state.finish_run(run, "done") == 1
        applied = state.applied()
    assert getattr(applied.replicas["model.a@n/e"], field) is None
    assert applied.measured == {NEED: Measured(None, None)}


IMPOSSIBLE = [
    ("UPDATE replicas SET vram_bytes = -5", "replicas model.a@n/e: vram_bytes is -5"),
    ("UPDATE replicas SET vram_bytes = 1 << 62", f"replicas model.a@n/e: vram_bytes is {2**62}"),
    ("UPDATE replicas SET context = -1", "replicas model.a@n/e: context is -1"),
    ("UPDATE replicas SET observed_context = -4096", "replicas model.a@n/e: observed_context is -4096"),
    ("UPDATE replicas SET observed_gpu_fraction = 1.5", "replicas model.a@n/e: observed_gpu_fraction is 1.5"),
    ("UPDATE replicas SET observed_gpu_fraction = 9e999", "replicas model.a@n/e: observed_gpu_fraction is inf"),
    ("UPDATE replicas SET keep_alive = -7", "replicas model.a@n/e: keep_alive is -7.0"),
    ("UPDATE replicas SET charges = '[[0,-5]]'", "replicas model.a@n/e: the charge of card 0 is -5"),
    ("UPDATE needs SET card_bytes = -1", "card_bytes is -1"),
    ("UPDATE load_times SET load_seconds = -1", "load_times a: load_seconds is -1.0"),
    ("UPDATE load_times SET context = -1", "load_times a: context is -1"),
    ("UPDATE changes SET body = replace(body, '8192', '-8192')", "changes model.a@n/e: context is -8192"),
    ("UPDATE facts SET body = replace(body, '\"ram_bytes\":9', '\"ram_bytes\":-9')", "facts n: ram_bytes is -9"),
    ("UPDATE journal SET seconds = -1", "journal s: seconds is -1.0"),
    ("UPDATE runs SET unplaced = -1", "runs 1: unplaced is -1"),
]


@pytest.mark.parametrize(("statement", "told"), IMPOSSIBLE, ids=[told for _, told in IMPOSSIBLE])
def test_a_number_that_cannot_be_true_is_an_error_of_check_and_unknown_to_the_readers(path: Path, statement: str, told: str) -> None:
    change(path, statement)
    found = {one.name: one for one in check_state(path)}
    assert found["rows"].level is StateLevel.OK
    assert found["numbers"].level is StateLevel.ERROR
    assert told in found["numbers"].message
    with closing(open_reader(path)) as state:
        read_all(state)
        applied = state.applied()
        (then,) = state.applied_at(1).values()
    (row,) = applied.replicas.values()
    numbers = [row.context, row.observed_context, row.observed_gpu_fraction, row.keep_alive, row.vram_bytes, then.context]
    numbers += [size for need in applied.measured.values() for size in (need.reported_bytes, need.card_bytes)]
    numbers += [seconds for key, one in applied.load_seconds.items() for seconds in (one, key.context)]
    assert all(number is None or 0 <= number <= 8192 for number in numbers)
    assert row.charges in (None, ((0, 5),))


def test_the_next_record_of_a_replica_mends_a_number_that_cannot_be_true(path: Path) -> None:
    change(path, "UPDATE replicas SET vram_bytes = -5, observed_context = -1")
    with open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        state.record([ROW])
        state.finish_run(run, "done")
    assert {one.name: one.level for one in check_state(path)}["numbers"] is StateLevel.OK


def test_a_state_of_an_older_schema_tells_its_negative_contexts(path: Path) -> None:
    change(path, "UPDATE replicas SET context = -1", "DELETE FROM migrations WHERE version = 16")
    assert "context is -1" in {one.name: one for one in check_state(path)}["numbers"].message


def test_what_rows_say_alike_is_one_value_and_what_they_say_apart_is_not(path: Path) -> None:
    others = [replace(ROW, address=f"model.a@{node}/e", at=EngineId(node, "e")) for node in ("o", "p")]
    others[1] = replace(others[1], protect=True)
    with open_writer(path, command="apply") as state:
        run = state.begin_run("p", "c", "apply")
        state.record(others)
        state.finish_run(run, "done")
    with closing(open_reader(path)) as state:
        rows = state.applied().replicas
    one, like_it, other = (rows[f"model.a@{node}/e"] for node in "nop")
    assert one.asked is like_it.asked
    assert one.model is like_it.model
    assert [row.asked for row in (one, other)] == [replace(row).asked for row in (one, other)]
    assert other.asked.protect
