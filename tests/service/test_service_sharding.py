"""Several loops over one fleet: which looks at what, what each tells, and what happens when one is heard of no more."""

from __future__ import annotations

import asyncio
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest
from cli_lab import POLL, Lab, served
from hypothesis import given
from hypothesis import strategies as st

from reconciler.fleet import CardSample, FleetFacts, Frame, HistoryBounds, NodeFacts, StateError
from reconciler.operations.settings import WorkspaceSettings
from reconciler.probes import facts_from_json, facts_to_json
from reconciler.service import sharding
from reconciler.service.events import Looked, Over, Started, Told, WatchEvent
from reconciler.service.sharding import LATE, FleetPart, Sharding, deal, facts_of, packed
from reconciler.service.watch import Signals, Watch, WatchOptions
from reconciler.sim import builtin_fleet
from reconciler.state import Shard, ShardRow, SqliteStore, Store, frames
from reconciler.state.frames import change_of

INTERVAL = 100.0
NAMES = ("a", "b", "c", "d", "e", "f", "g", "h")


@given(st.sets(st.text(min_size=1, max_size=4), max_size=40), st.integers(1, 7), st.data())
def test_every_node_is_looked_at_by_exactly_one_of_the_loops_that_live(names: set[str], of: int, data: st.DataObject) -> None:
    living = data.draw(st.sets(st.integers(1, of), min_size=1))
    parts = [deal(names, Shard(number, of), living) for number in sorted(living)]
    assert sorted(name for part in parts for name in part) == sorted(names)


@given(st.integers(0, 60), st.integers(2, 7), st.data())
def test_only_the_nodes_of_a_dead_loop_change_hands_and_evenly(count: int, of: int, data: st.DataObject) -> None:
    names = [f"n{number:03}" for number in range(count)]
    dead = data.draw(st.integers(1, of))
    living = set(range(1, of + 1)) - {dead}
    for number in living:
        before, after = deal(names, Shard(number, of), range(1, of + 1)), deal(names, Shard(number, of), living)
        assert before <= after
        assert len(after - before) <= -(-len(deal(names, Shard(dead, of), range(1, of + 1))) // len(living))


def facts(at: str, *names: str) -> FleetFacts:
    return FleetFacts(at, {name: NodeFacts(name, None, None, {}) for name in names})


@dataclass
class Board:
    """What a database holds of the loops, at a time of its own."""

    rows: dict[Shard, ShardRow] = field(default_factory=dict)
    away: bool = False

    def read(self, *, bodies: bool = True) -> Sequence[ShardRow]:
        if self.away:
            raise StateError.of("it is away", "the database", "start it")
        return sorted(self.rows.values(), key=lambda row: (row.shard.of, row.shard.number))

    def looked(self, shard: Shard, owner: str, interval: float, body: bytes) -> None:
        self.rows[shard] = ShardRow(shard, owner, f"somebody as {shard}", 0.0, 0.0, interval, body)

    def alive(self, shard: Shard, owner: str) -> None:
        self.rows[shard] = replace(self.rows[shard], heard=0.0)

    def later(self, seconds: float, *but: Shard) -> None:
        """So much later, in which only these looked."""
        for shard, row in self.rows.items():
            if shard not in but:
                self.rows[shard] = replace(row, heard=row.heard + seconds, looked=row.looked + seconds)

    def shards(self, fleet: str) -> Board:
        return self


def part_of(loop: Sharding, board: Board, names: Sequence[str] = NAMES) -> FleetPart:
    return asyncio.run(loop.part(cast("Store", board), "lab", names))


def four(board: Board) -> list[Sharding]:
    loops = [Sharding(Shard(number, 4), INTERVAL) for number in range(1, 5)]
    for turn in range(2):
        for loop in loops:
            part = part_of(loop, board)
            assert part.nodes is not None
            asyncio.run(loop.looked(part, facts(f"2026-01-01T00:00:0{turn}Z", *part.nodes)))
    return loops


def test_each_looks_at_its_part_and_knows_of_the_rest_what_the_others_saw() -> None:
    board = Board()
    loops = four(board)
    parts = [part_of(loop, board) for loop in loops]
    assert [sorted(part.nodes or ()) for part in parts] == [["a", "e"], ["b", "f"], ["c", "g"], ["d", "h"]]
    for part in parts:
        assert part.elsewhere is not None
        assert set(part.elsewhere.nodes) == set(NAMES) - (part.nodes or set())
        assert part.found == ()
    assert [part.first for part in parts] == [True, False, False, False]


def test_the_part_of_a_loop_that_is_not_heard_of_is_dealt_out_and_told_once_until_it_is_back() -> None:
    board = Board()
    first, second, third, fourth = four(board)
    others = [Shard(number, 4) for number in (2, 3, 4)]
    board.later(LATE * INTERVAL - 1, *others)
    assert [sorted(part_of(one, board).nodes or ()) for one in (second, third)] == [["b", "f"], ["c", "g"]]
    board.later(2, *others)
    assert [sorted(part_of(one, board).nodes or ()) for one in (second, third, fourth)] == [["a", "b", "f"], ["c", "e", "g"], ["d", "h"]]
    (lost,) = part_of(second, board).found
    assert (lost.subject, part_of(third, board).found) == ("shard.1/4", ())
    assert lost.message.startswith("not heard of since somebody as 1/4 looked; its nodes are looked at by 2/4, 3/4, 4/4")
    asyncio.run(first.looked(part_of(first, board), facts("2026-01-01T01:00:00Z", "a", "e")))
    assert [sorted(part_of(one, board).nodes or ()) for one in (first, second)] == [["a", "e"], ["b", "f"]]
    assert part_of(first, board).found == ()


def test_nobody_is_taken_for_dead_because_the_database_was_away() -> None:
    board = Board()
    first = four(board)[0]
    board.away = True
    with pytest.raises(StateError):
        part_of(first, board)
    board.away = False
    board.later(INTERVAL, Shard(1, 4), Shard(3, 4), Shard(4, 4))
    board.later(LATE * INTERVAL - 1)
    part = part_of(first, board)
    assert (part.nodes, part.found) == (frozenset({"a", "e"}), ())
    asyncio.run(first.looked(part, facts("2026-01-01T01:00:00Z", "a", "e")))
    board.later(LATE * INTERVAL, Shard(1, 4))
    assert [one.subject for one in part_of(first, board).found] == ["shard.2/4", "shard.3/4", "shard.4/4"], "it is back, and they are not"


def test_of_a_node_that_several_saw_what_was_seen_last_counts() -> None:
    board = Board()
    second = four(board)[1]
    board.later(50, Shard(4, 4))
    late = FleetFacts("2026-01-01T02:00:00Z", {"a": NodeFacts("a", (), 7, {})})
    board.looked(Shard(3, 4), "x", INTERVAL, zlib.compress(facts_to_json(late).encode()))
    elsewhere = part_of(second, board).elsewhere
    assert elsewhere is not None
    assert elsewhere.nodes["a"].ram_bytes == 7


def test_a_loop_that_was_never_begun_leaves_no_node_unseen_and_is_told_from_the_second_look_on() -> None:
    board, loop = Board(), Sharding(Shard(2, 3), INTERVAL)
    part = part_of(loop, board)
    assert (part.nodes, part.found, part.first) == (frozenset(NAMES), (), True)
    asyncio.run(loop.looked(part, facts("2026-01-01T00:00:00Z", *NAMES)))
    assert [one.subject for one in part_of(loop, board).found] == ["shard.1/3", "shard.3/3"]


def test_the_loop_goes_on_while_what_the_others_saw_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    board, went_on, seen = Board(), threading.Event(), list[bool]()
    second = four(board)[1]

    def reads(row: ShardRow) -> FleetFacts:
        seen.append(went_on.wait(10))
        return facts_of(row)

    async def play() -> None:
        monkeypatch.setattr(sharding, "facts_of", reads)
        part = asyncio.ensure_future(second.part(cast("Store", board), "lab", NAMES))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(went_on.set)
        assert (await part).elsewhere is not None

    asyncio.run(play())
    assert seen == [True] * 3, "those of the three others, and not its own"


def test_what_was_seen_of_a_part_that_goes_back_is_not_lost() -> None:
    """Until its loop, that is back, has looked itself."""
    board = Board()
    second = four(board)[1]
    board.later(LATE * INTERVAL + 1, Shard(2, 4), Shard(3, 4), Shard(4, 4))
    taken = part_of(second, board)
    assert "a" in (taken.nodes or ())
    asyncio.run(second.looked(taken, replace(facts("2026-01-01T03:00:00Z", *NAMES), nodes={"a": NodeFacts("a", (), 7, {})})))
    board.alive(Shard(1, 4), "")
    elsewhere = part_of(second, board).elsewhere
    assert elsewhere is not None
    assert elsewhere.nodes["a"].ram_bytes == 7


def test_a_row_of_many_nodes_is_read_document_by_document(monkeypatch: pytest.MonkeyPatch) -> None:
    read = list[int]()

    def counting(text: bytes, where: str) -> FleetFacts:
        read.append(len(facts_from_json(text, where).nodes))
        return facts_from_json(text, where)

    monkeypatch.setattr(sharding, "facts_from_json", counting)
    for count in (0, 1, 1001):
        seen = facts("2026-01-01T00:00:00Z", *(f"n{number}" for number in range(count)))
        assert facts_of(ShardRow(Shard(1, 2), "x", "somebody", 0, 0, INTERVAL, packed(seen))) == seen
    assert max(read) <= 250


def test_two_loops_of_one_number_and_loops_that_divide_otherwise_are_told() -> None:
    board = Board()
    first, second, *_ = four(board)
    twin = Sharding(Shard(2, 4), INTERVAL)
    asyncio.run(twin.looked(part_of(twin, board), facts("2026-01-01T00:00:00Z", "b", "f")))
    assert [one.subject for one in part_of(second, board).found] == ["shard.2/4"]
    board.looked(Shard(1, 3), "x", INTERVAL, zlib.compress(facts_to_json(facts("2026-01-01T00:00:00Z")).encode()))
    assert ["divides the fleet by 3" in one.message for one in part_of(first, board).found] == [True]


@pytest.mark.parametrize("body", [b"x", zlib.compress(b"{}"), zlib.compress(b"x" * 99)[:-3]])
def test_what_no_loop_wrote_is_one_sentence(body: bytes) -> None:
    with pytest.raises(StateError, match="what it saw"):
        facts_of(ShardRow(Shard(1, 2), "x", "somebody", 0, 0, INTERVAL, body))


def test_a_pause_ends_when_another_loop_turns_out_to_be_dead_and_not_when_it_was_heard_of() -> None:
    board, waited = Board(), list[float]()
    second = four(board)[1]
    part_of(second, board)

    async def passes(seconds: float) -> bool:
        waited.append(seconds)
        if len(waited) == 1:  # at this time all have looked meanwhile
            return False
        board.later(1000, Shard(3, 4), Shard(4, 4))
        return False

    began = time.monotonic()
    asyncio.run(second.pause(10 * INTERVAL, passes))
    assert len(waited) == 2
    assert all(abs(one - LATE * INTERVAL) < 1 + time.monotonic() - began for one in waited)


def test_a_file_is_refused_before_the_first_look_with_the_way_to_a_database(tmp_path: Path, lab: Lab) -> None:
    with pytest.raises(StateError, match=r"is a file of one machine.*\n?.*gpurec state copy .*lab.db postgresql://"):
        SqliteStore(tmp_path / "lab.db").shards("lab")
    refused = lab.run("watch", "--shard", "1/4")
    assert (refused.exit_code, lab.sent()) == (1, [])
    assert "find each other in its state" in refused.output
    for wrong in ("0/4", "5/4", "1", "a/b", "1/0", "-1/4"):
        assert "such as 2/4" in lab.run("watch", "--shard", wrong).output
    assert "leave --shard out" in lab.run("watch", "--once", "--shard", "1/4").output


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        yield lab


class Loop(Watch):
    """A loop over a board of this process, which ends at its pause after so many looks."""

    def __init__(self, lab: Lab, shard: Shard, *, applies: bool = False) -> None:
        self.events: list[WatchEvent] = []
        self.hear = Signals()
        settings = WorkspaceSettings(lab.root, poll_seconds=POLL)
        super().__init__(settings, WatchOptions(INTERVAL, applies, f"watch --shard {shard}", shard=shard), self.events.append, self.hear)

    def told(self) -> list[tuple[str, str, str]]:
        kinds = ((Told, "+"), (Over, "-"))
        return [(sign, e.condition.topic.value, e.condition.subject) for e in self.events for kind, sign in kinds if isinstance(e, kind)]


def test_two_loops_ask_each_node_once_tell_each_thing_once_and_only_one_applies(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board()
    monkeypatch.setattr(SqliteStore, "shards", lambda self, fleet: board)

    def asked() -> set[str]:
        found = {name.partition("/")[0] for name, engine in lab.fleet.engines.items() if engine.requests}
        lab.fleet.forget_requests()
        return found

    async def play() -> tuple[Loop, Loop, list[set[str]]]:
        loops = Loop(lab, Shard(1, 2)), Loop(lab, Shard(2, 2))
        turns = []
        for _ in range(2):
            for one in loops:
                await one.once()
                turns.append(asked())
        return *loops, turns

    first, second, turns = asyncio.run(play())
    assert turns == [{"ada", "bea", "cleo"}, {"bea"}, {"ada", "cleo"}, {"bea"}], "the first one alone, until the second is there"
    pending = "model.nomic-embed-text@{}/ollama".format
    assert [one for one in second.told() if one[1] == "pending"] == [("+", "pending", pending("bea"))]
    assert [one for one in first.told() if one[1] == "pending"] == [("+", "pending", pending("ada")), ("+", "pending", pending("bea"))]
    applies = Loop(lab, Shard(2, 2), applies=True)
    asyncio.run(applies.once())
    assert [event.steps for event in applies.events if isinstance(event, Looked)] == [2], "the whole plan, not only its part"
    again = Loop(lab, Shard(1, 2), applies=True)
    asyncio.run(again.once())
    assert [event.steps for event in again.events if isinstance(event, Looked)] == [0]
    assert not any(isinstance(event, Started) for event in again.events)


def test_looks_of_two_loops_at_one_second_are_kept_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(node: str, used: int) -> Frame:
        return Frame(7, 0, {(node, 0): CardSample(used, 10)}, {})

    first = change_of([seen("a", 1)], (), lambda keys: [], HistoryBounds()).new
    there = [frames.StoredFrame(0, 7, 10)]
    (both,) = change_of([seen("b", 2)], there, lambda keys: first, HistoryBounds()).new
    assert {key: one.used_bytes for key, one in both.cards.items()} == {("a", 0): 1, ("b", 0): 2}
