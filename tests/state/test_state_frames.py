"""History of facts: a hundred looks, then means, within bounds of age and size; written beside the lease and never beside a run."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.fleet import FIVE_MINUTES, HOUR, LOOK, CardSample, Frame, HistoryBounds, LockHeld, ModelSample, StateError
from reconciler.state import NodeMove, SqliteStore, check_state, open_reader, open_writer
from reconciler.state import frames as state_frames
from reconciler.state.frames import FIVE_MINUTE_MEANS, FULL_RATE, FUTURE, StoredFrame, change_of, mean, pack, unpack

MODEL = "model.a:1@n/e"
START = 1_800_000_000
EVER = HistoryBounds()
SPANS = (LOOK, FIVE_MINUTES, HOUR)


def look(at: int, used: int | None = 5, **model: float) -> Frame:
    return Frame(at, LOOK, {("n", 0): CardSample(used, 100, 0.5, 60.0, 200.0, 0.0)}, {MODEL: ModelSample(1.0, 4, **model)})  # type: ignore[arg-type]


class Store:
    """What `change_of` asks for, in memory."""

    def __init__(self, bounds: HistoryBounds = EVER) -> None:
        self.frames: dict[tuple[int, int], Frame] = {}
        self.there: dict[tuple[int, int], StoredFrame] = {}
        self.bounds = bounds

    def keep(self, *looks: Frame) -> None:
        change = change_of(looks, self.there.values(), lambda keys: [self.frames[key] for key in keys], self.bounds)
        for key in change.gone:
            del self.frames[key], self.there[key]
        self.frames.update({(one.span, one.at): one for one in change.new})
        self.there.update({(one.span, one.at): StoredFrame(one.span, one.at, len(pack(one))) for one in change.new})

    def times(self, span: int) -> list[int]:
        return sorted(at for s, at in self.frames if s == span)


def test_a_frame_is_read_as_it_was_written() -> None:
    card = CardSample(2**40, 2**41, 0.123457, 61.5, None, 1.0)
    frame = Frame(START, HOUR, {("n", 0): card, ("n", "amd0"): CardSample()}, {MODEL: ModelSample(0.5, 2**33, 0.25, 41.5, 3.0, 2)})
    assert unpack(START, HOUR, pack(frame)) == frame


@pytest.mark.parametrize("body", [b"", b"x", pack(look(1))[:-3], b"\x78\x01\x00"])
def test_what_is_no_frame_is_an_error_of_one_sentence(body: bytes) -> None:
    with pytest.raises(ValueError, match="is no frame of history"):
        unpack(1, 0, body)


def test_a_hundred_looks_are_kept_then_five_minutes_then_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_frames, "FIVE_MINUTE_MEANS", 24)
    store = Store()
    for minute in range(60 * 6):
        store.keep(look(START + 60 * minute, used=minute))
    now = START + 60 * (60 * 6 - 1)
    assert store.times(LOOK) == [now - 60 * back for back in range(FULL_RATE)][::-1]
    fives, hours = store.times(FIVE_MINUTES), store.times(HOUR)
    assert len(fives) == 24
    assert {at % 300 for at in fives} == {0}
    assert len(hours) in (5, 6)
    first = store.frames[HOUR, hours[1]]
    begins = (hours[1] - START) // 60
    assert first.cards["n", 0].used_bytes == pytest.approx(begins + 29.5, abs=1), "the mean of its sixty minutes"


def test_what_failed_is_counted_together_and_what_is_unknown_is_left_out_of_a_mean() -> None:
    found = mean(0, 300, [look(0, None, failures=1), look(60, 7, failures=2, latency=2.0), look(120, 9)])
    assert found.cards["n", 0].used_bytes == 8
    assert (found.models[MODEL].failures, found.models[MODEL].latency) == (3, 2.0)


def test_nothing_older_than_the_bound_and_nothing_beyond_the_size_is_kept() -> None:
    store = Store(HistoryBounds(2 * 3600))
    for minute in range(60 * 10):
        store.keep(look(START + 60 * minute))
    assert min(at for _, at in store.frames) >= START + 60 * (60 * 10 - 1) - 2 * 3600 - 60
    small = Store(HistoryBounds(size_bytes=2_000))
    for minute in range(60 * 10):
        small.keep(look(START + 60 * minute))
    taken = sum(len(pack(one)) for one in small.frames.values())
    assert 0 < taken <= 2_000 + len(pack(look(0)))
    assert max(small.times(LOOK)) == START + 60 * 599, "looks are kept before means"


def test_a_clock_that_jumps_ahead_for_one_look_ends_nothing_and_its_look_goes() -> None:
    store = Store()
    for minute in range(90):
        store.keep(look(START + 60 * minute))
    before = dict(store.frames)
    store.keep(look(START + 10 * 365 * 86400))
    store.keep(look(START + 60 * 90))
    assert before.keys() - store.frames.keys() <= {(LOOK, START), (LOOK, START + 60)}, "at most what a hundred looks leave no room for"
    assert max(at for _, at in store.frames) == START + 60 * 90


def test_a_clock_that_starts_in_the_past_takes_nothing_of_what_was_seen_and_its_looks_go_when_it_hears_the_time() -> None:
    store = Store()
    for minute in range(90):
        store.keep(look(START + 60 * minute))
    before = dict(store.frames)
    for second in range(40):
        store.keep(look(946_684_800 + second))
        assert before.keys() <= store.frames.keys()
    store.keep(look(START + 60 * 95))
    assert before.keys() - store.frames.keys() <= {(LOOK, START), (LOOK, START + 60)}, "at most what a hundred looks leave no room for"
    assert min(at for _, at in store.frames) >= START


@given(st.lists(st.integers(-400, 4000), min_size=1, max_size=300), st.integers(0, 20_000))
@example([0, 300, -90, -211], 209)  # back behind the end of a mean, which goes on: what it is made of was before
def test_whatever_the_clock_does_the_bounds_hold_and_the_last_look_is_there(steps: list[int], keep: int) -> None:
    store, now = Store(HistoryBounds(keep + 1)), START
    for step in steps:
        now += step
        store.keep(look(now))
        assert (LOOK, now) in store.frames
    ahead = [at for _, at in store.frames if at > now + FUTURE]
    assert not ahead or len(ahead) > len(store.frames) / 2, "then the clock of now may be the wrong one"
    assert len(store.times(FIVE_MINUTES)) <= FIVE_MINUTE_MEANS


def test_looks_are_kept_without_the_lease_and_set_the_state_up_with_its_fleet(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    assert "set up a new state for the fleet lab" in (SqliteStore(path).keep_looks([look(START)], fleet="lab", bounds=EVER) or "")
    assert SqliteStore(path).keep_looks([look(START + 60)], fleet="lab", bounds=EVER) is None
    assert path.stat().st_mode & 0o777 == 0o600
    with closing(open_reader(path)) as state:
        assert [one.at for one in state.frames(SPANS)] == [START, START + 60]
        assert list(state.frames((LOOK,), START + 30)) == [look(START + 60)]
        assert (state.applied().lineage, state.runs(), state.lease()) == (None, (), None)
    with pytest.raises(StateError, match="of the fleet lab"):
        SqliteStore(path).keep_looks([look(START)], fleet="other", bounds=EVER)


def test_no_look_is_written_beside_a_run(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_writer(path, command="apply", fleet="lab"), pytest.raises(LockHeld):
        SqliteStore(path).keep_looks([look(START)], fleet="lab", bounds=EVER)
    SqliteStore(path).keep_looks([look(START)], fleet="lab", bounds=EVER)


def test_the_log_of_a_run_that_died_is_left_for_the_one_that_takes_over(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_writer(path, command="apply", fleet="lab"):
        pass
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA wal_autocheckpoint = 0")
    conn.execute(
        "UPDATE lease SET owner = 'o', who = 'w', host = 'elsewhere', pid = 1, command = 'apply', since = '2020-01-01T00:00:00Z', "
        "heartbeat = '2020-01-01T00:00:00Z', heartbeat_at = 1.0"
    )
    with pytest.raises(StateError, match="a run that died holds the lock"):
        SqliteStore(path).keep_looks([look(START)], fleet="lab", bounds=EVER)
    assert path.with_name("s.db-wal").stat().st_size > 0
    conn.close()


def test_a_renamed_node_keeps_its_history(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    SqliteStore(path).keep_looks([look(START)], fleet="lab", bounds=EVER)
    with open_writer(path, command="state mv", fleet="lab") as state:
        state.begin_run("p", "c", "state mv")
        state.rename_node(NodeMove("n", "m", (), (), None))
    with closing(open_reader(path)) as state:
        (frame,) = state.frames(SPANS)
    assert list(frame.cards) == [("m", 0)]
    assert list(frame.models) == ["model.a:1@m/e"]


def test_a_frame_that_somebody_changed_is_one_sentence_and_the_check_names_it(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    SqliteStore(path).keep_looks([look(START)], fleet="lab", bounds=EVER)
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("UPDATE frames SET body = x'00'")
    with closing(open_reader(path)) as state, pytest.raises(StateError, match="frames: is no frame of history"):
        list(state.frames(SPANS))
    rows = next(one for one in check_state(path) if one.name == "rows")
    assert "frames 0" in rows.message
