"""What drift remembers: streaks of runs, as a plain count of them would have it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning import Deferred, Drift, DriftMemory, Plan, Since, drift_key, judge, remember, with_node_renamed

ONE = Drift("model.m@a/ollama", "missing", "resident", True, False)
TWO = Drift("engine.b/ollama", "version", "build", "1", "2", "observed")
THREE = Drift("gpu.b/0", "card_lost", "card", True, False, "observed")
ALL = (ONE, TWO, THREE)
EMPTY = Plan("lab", "lineage", 1, "sha256:c", "2026-01-01T00:00:00Z", "sha256:d", (), 0, 0)


def look(hour: int, *drift: Drift, silent: tuple[str, ...] = ()) -> Plan:
    return replace(
        EMPTY,
        created_at=f"2026-01-01T{hour:02}:00:00Z",
        drift=drift,
        deferred=tuple(Deferred(node, "ollama", "refused") for node in silent),
    )


@given(st.lists(st.sets(st.sampled_from(ALL)), min_size=1, max_size=20))
def test_runs_and_first_seen_are_those_of_the_latest_streak(history: list[set[Drift]]) -> None:
    memory: DriftMemory | None = None
    for hour, drifted in enumerate(history):
        memory = remember(memory, look(hour, *sorted(drifted, key=drift_key)))
    assert memory is not None
    found = {one.key: (one.runs, one.first_seen) for one in memory.seen}
    expected = {}
    for entry in history[-1]:
        streak = next((n for n, drifted in enumerate(reversed(history)) if entry not in drifted), len(history))
        expected[drift_key(entry)] = (streak, f"2026-01-01T{len(history) - streak:02}:00:00Z")
    assert found == expected


@given(st.lists(st.sets(st.sampled_from(ALL)), min_size=1, max_size=8), st.integers(1, 5), st.integers(0, 8))
def test_every_drifted_field_is_counted_waiting_or_older_and_never_two_of_them(history: list[set[Drift]], least: int, hour: int) -> None:
    memory: DriftMemory | None = None
    for number, drifted in enumerate(history):
        memory = remember(memory, last := look(number, *sorted(drifted, key=drift_key)))
    report = judge(last, memory, least, Since(f"2026-01-01T{hour:02}:00:00Z"))
    assert sorted((*report.counted, *report.waiting, *report.older), key=drift_key) == sorted(last.drift, key=drift_key)
    for entry in report.counted:
        assert report.seen[drift_key(entry)].runs >= least


def test_an_engine_that_cannot_be_asked_keeps_the_counts_of_what_lies_on_it() -> None:
    memory = remember(None, look(1, *ALL))
    memory = remember(memory, look(2, ONE, silent=("b",)))
    memory = remember(memory, look(3, *ALL))
    runs = {one.key: one.runs for one in memory.seen}
    assert (runs[drift_key(ONE)], runs[drift_key(TWO)]) == (3, 2)


def test_what_was_repaired_since_begins_anew_and_the_rest_goes_on() -> None:
    memory = remember(remember(None, look(1, *ALL), 1), look(2, *ALL), 2, {drift_key(ONE)})
    assert {one.key: one.runs for one in memory.seen} == {drift_key(ONE): 2, drift_key(TWO): 1, drift_key(THREE): 1}
    assert memory.last_run == 2


def test_another_lineage_begins_anew() -> None:
    memory = remember(remember(None, look(1, ONE)), replace(look(2, ONE), lineage="another"))
    assert [(one.runs, one.first_seen) for one in memory.seen] == [(1, "2026-01-01T02:00:00Z")]


def test_unreachable_decides_only_after_so_many_runs() -> None:
    plan = look(1, silent=("a",))
    once = remember(None, plan)
    assert judge(plan).unreachable
    assert not judge(plan, once, 2).unreachable
    assert judge(plan, remember(once, plan), 2).unreachable
    assert not judge(look(1)).unreachable


def test_without_a_memory_only_what_the_last_apply_saw_already_is_older() -> None:
    known = frozenset({drift_key(ONE)})
    plan, seen_at = look(9, ONE, TWO), "2026-01-01T05:00:00Z"

    def counted(at: str, latest: bool = False) -> tuple[Drift, ...]:
        return judge(plan, since=Since(at, known, seen_at, latest)).counted

    assert counted("2026-01-01T05:00:00Z") == (TWO,)
    assert counted("2026-01-01T06:00:00Z", latest=True) == (TWO,)
    assert counted("2026-01-01T04:00:00Z") == (ONE, TWO), "it may have drifted after that and before the apply"
    assert judge(plan, since=Since("2026-01-01T04:00:00Z")).counted == (ONE, TWO), "nothing was recorded, so nothing can be told"


def test_a_renamed_node_keeps_its_streaks() -> None:
    memory = remember(None, look(1, ONE, TWO, THREE, silent=("a", "ab")))
    moved = with_node_renamed(memory, "a", "z")
    assert [one.address for one in moved.seen] == ["engine.ab/ollama", "engine.b/ollama", "engine.z/ollama", "gpu.b/0", "model.m@z/ollama"]
    again = remember(moved, look(2, replace(ONE, address="model.m@z/ollama")))
    assert [one.runs for one in again.seen] == [2]
    assert with_node_renamed(with_node_renamed(memory, "b", "y"), "y", "b") == memory
