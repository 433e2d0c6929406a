"""The loop over a simulated fleet: it tells what is news, mends what it may, goes on whatever comes up, and ends when it is asked to."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cli_lab import POLL, SMALL, Lab, served
from prometheus_client import generate_latest
from starlette.requests import Request

from reconciler.fleet import Role, ServicePolicy, StateError
from reconciler.operations import clock
from reconciler.operations.proposal import Proposal
from reconciler.operations.settings import WorkspaceSettings
from reconciler.service.apart import apart
from reconciler.service.events import AlertLost, Looked, Over, Reloaded, Started, Told, WatchEnded, WatchEvent
from reconciler.service.http import metrics
from reconciler.service.http.access import Caller, Tokens
from reconciler.service.http.app import Api, app_of
from reconciler.service.http.broadcast import Broadcast
from reconciler.service.http.metrics import Metrics
from reconciler.service.watch import AFTER_BORDER, BACK_OFF, Signals, Watch, WatchOptions
from reconciler.sim import builtin_fleet
from reconciler.state import SqliteStore, open_reader, open_writer
from reconciler.state.sqlite import beside, opening

INTERVAL = 300.0


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        yield lab


class Played:
    """A loop whose pauses are over at once; before each look after the first, the next of `acts` is done."""

    def __init__(self, lab: Lab, *acts: Callable[[], Any], applies: bool) -> None:
        self.events: list[WatchEvent] = []
        self.pauses: list[float] = []
        self._acts = list(acts)
        settings = WorkspaceSettings(lab.root, poll_seconds=POLL)

        async def play() -> None:
            self.signals = Signals()
            options = WatchOptions(INTERVAL, applies)
            await Watch(settings, options, self.events.append, self.signals, pause=self._pause, jitter=lambda: 0.5).run()

        asyncio.run(play())

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if not self._acts:
            self.signals.request_stop()
            return
        act = self._acts.pop(0)
        if act is not None:
            act()

    def told(self) -> list[tuple[str, str, str]]:
        """What was told in order: `+` for what holds, `-` for what does no more."""
        kinds = ((Told, "+"), (Over, "-"))
        return [(sign, e.condition.topic.value, e.condition.subject) for e in self.events for kind, sign in kinds if isinstance(e, kind)]


def nothing() -> None:
    return


def test_observing_tells_what_is_pending_once_and_sends_nothing(lab: Lab) -> None:
    played = Played(lab, nothing, nothing, applies=False)
    assert played.told() == [("+", "pending", f"model.nomic-embed-text@{node}/ollama") for node in ("ada", "bea")]
    assert set(lab.sent()) <= {"POST /api/show"}, "which only asks"
    with closing(open_reader(lab.state)) as state:
        assert (state.applied().lineage, state.runs()) == (None, ()), "it holds what was seen, and nothing was applied"
    assert isinstance(played.events[0], Started)
    assert isinstance(played.events[-1], WatchEnded)
    assert played.pauses == [INTERVAL] * 3


def test_applying_mends_a_restarted_engine_and_tells_both(lab: Lab) -> None:
    played = Played(lab, lab.fleet.engines["bea/ollama"].restart, nothing, applies=True)
    there = "model.nomic-embed-text@bea/ollama"
    told = played.told()
    assert told[-2:] == [("+", "drift", there), ("-", "drift", there)]
    looks = [event.steps for event in played.events if isinstance(event, Looked)]
    assert looks == [2, 0, 1, 0, 0], "what was mended is looked at at once, and nothing is done twice"
    assert len(played.pauses) == 3


def test_an_engine_that_does_not_answer_is_looked_at_sooner_and_then_less_and_less(lab: Lab) -> None:
    engine = lab.fleet.engines["bea/ollama"]
    played = Played(lab, engine.kill, nothing, nothing, nothing, engine.revive, applies=True)
    assert [sign for sign, topic, _ in played.told() if topic == "unreachable"] == ["+", "-"]
    assert played.pauses == [INTERVAL, BACK_OFF, 2 * BACK_OFF, 4 * BACK_OFF, INTERVAL, INTERVAL]


def test_files_are_read_again_when_asked_and_broken_ones_keep_the_last_good(lab: Lab) -> None:
    text = (lab.root / "desired" / "demo.yaml").read_text()
    played: Played

    def broken() -> None:
        lab.want("models: [")
        played_signals().request_reload()

    def mended() -> None:
        lab.want(text.replace("nomic-embed-text", "llama3.2:1b").replace("350MiB", "2GiB"))
        played_signals().request_reload()

    def played_signals() -> Signals:
        return holder[0].signals

    holder: list[Played] = []

    class Held(Played):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            holder.append(self)
            super().__init__(*arguments, **options)

    played = Held(lab, broken, nothing, mended, applies=False)
    reloads = [event.error is None for event in played.events if isinstance(event, Reloaded)]
    assert reloads == [False, True]
    assert {subject for sign, _, subject in played.told() if sign == "+"} >= {"model.llama3.2:1b@ada/ollama"}
    assert ("-", "pending", "model.nomic-embed-text@ada/ollama") in played.told()


def test_a_held_lock_a_lost_database_and_their_end_are_told_once_each(lab: Lab) -> None:
    held: list[Any] = []

    def take() -> None:
        writer = open_writer(lab.state, command="somebody", fleet="demo")
        writer.__enter__()
        held.append(writer)
        lab.fleet.engines["bea/ollama"].restart()

    def give_back() -> None:
        held.pop().__exit__(None, None, None)

    def spoil() -> None:
        lab.state.rename(lab.state.with_suffix(".away"))
        lab.state.write_bytes(b"no database at all, " * 400)

    def mend() -> None:
        lab.state.unlink()
        lab.state.with_suffix(".away").rename(lab.state)

    played = Played(lab, take, nothing, give_back, spoil, nothing, mend, applies=True)
    errors = [sign for sign, topic, _ in played.told() if topic == "error"]
    assert errors == ["+", "-", "+", "-"]
    assert played.told()[-1][:2] == ("-", "error")
    with sqlite3.connect(lab.state) as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)


def test_what_history_lacks_holds_on_while_looks_fail_for_another_reason(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a full disk: no look is kept, and then no plan is carried out either."""
    lab.run("apply", "--auto-approve")
    full: list[bool] = []

    def no_room(path: Path, new_folder: bool = False) -> sqlite3.Connection:
        if full:
            raise StateError.of("the disk is full", str(path))
        return really(path, new_folder)

    really = beside.open_for_writing
    monkeypatch.setattr(beside, "open_for_writing", no_room)
    monkeypatch.setattr(opening, "open_for_writing", no_room)
    played = Played(
        lab,
        lambda: full.append(True),
        nothing,
        lab.fleet.engines["bea/ollama"].restart,
        nothing,
        nothing,
        full.clear,
        nothing,
        applies=True,
    )
    errors = [(sign, subject) for sign, topic, subject in played.told() if topic == "error"]
    assert errors[:2] == [("+", "history"), ("+", "gpurec")]
    assert sorted(errors[2:]) == [("-", "gpurec"), ("-", "history")]


def test_a_step_that_fails_again_and_again_is_told_once(lab: Lab) -> None:
    lab.want("version: 1\nmodels:\n  nowhere:1b: {engine: ollama, on: ada, vram: 350MiB}\n")
    played = Played(lab, nothing, nothing, applies=True)
    assert played.told() == [(sign, topic, "model.nowhere:1b@ada/ollama") for sign, topic in (("+", "pending"), ("+", "failed"))]
    assert len([event for event in played.events if isinstance(event, Looked)]) == 3


def test_stopping_while_it_looks_ends_at_once(lab: Lab) -> None:
    settings = WorkspaceSettings(lab.root, poll_seconds=POLL)
    events: list[WatchEvent] = []

    async def main() -> None:
        signals = Signals()

        def tell(event: WatchEvent) -> None:
            events.append(event)
            if type(event).__name__ == "ProbingStarted":
                signals.request_stop()

        await Watch(settings, WatchOptions(INTERVAL, applies=True), tell, signals).run()

    asyncio.run(main())
    assert isinstance(events[-1], WatchEnded)
    assert not [event for event in events if isinstance(event, Told | Looked)]
    assert set(lab.sent()) <= {"POST /api/show"}


def test_the_next_look_follows_right_after_the_hours_of_a_model_end(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 1, 5, 17, 58, tzinfo=UTC)
    monkeypatch.setattr(clock, "moment", lambda: now)
    lab.want(SMALL.replace("vram: 350MiB", 'vram: 350MiB, when: {hours: "08:00-18:00"}'))
    acts: list[Callable[[], Any]] = [lambda: monkeypatch.setattr(clock, "moment", lambda: now + timedelta(minutes=2)), nothing]
    played = Played(lab, *acts, applies=True)
    assert played.pauses[0] == 120 + AFTER_BORDER
    assert [e.steps for e in played.events if isinstance(e, Looked)][:3] == [2, 0, 2], "loaded before the border, unloaded after it"
    assert played.pauses[-1] > 120


@pytest.mark.parametrize("what", ["reader", "writer", "keep_looks", "lock"])
def test_a_state_that_is_waited_for_holds_up_nothing_else(lab: Lab, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """As a database does that is away: what goes on beside the loop is what ends the wait."""
    heard = threading.Event()
    real = getattr(SqliteStore, what)
    loops: list[asyncio.AbstractEventLoop] = []
    ended: list[bool] = []

    def late(*arguments: Any, **options: Any) -> Any:
        heard.clear()
        loops[0].call_soon_threadsafe(heard.set)
        ended.append(heard.wait(20))
        return real(*arguments, **options)

    async def play() -> None:
        loops.append(asyncio.get_running_loop())
        settings = WorkspaceSettings(lab.root, poll_seconds=POLL)
        watch = Watch(settings, WatchOptions(INTERVAL, applies=True), lambda event: None, Signals())
        await watch.once()
        await watch.once()  # by now nothing is to be done

    monkeypatch.setattr(SqliteStore, what, late)
    asyncio.run(play())
    assert ended
    assert all(ended)


def test_a_request_that_waits_for_the_state_holds_up_no_other(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    real, heard = SqliteStore.reader, threading.Event()
    ended: list[bool] = []

    async def play() -> list[int]:
        loop, settings = asyncio.get_running_loop(), WorkspaceSettings(lab.root, poll_seconds=POLL)
        watch = Watch(settings, WatchOptions(INTERVAL, applies=True), lambda event: None, Signals())
        await watch.once()
        assert watch.workspace is not None
        tokens = Tokens(watch.workspace.desired.policy.service)

        def late(store: SqliteStore) -> Any:
            heard.clear()
            loop.call_soon_threadsafe(heard.set)
            ended.append(heard.wait(5))
            return real(store)

        monkeypatch.setattr(SqliteStore, "reader", late)
        app = app_of(watch, settings, Metrics(watch), Broadcast(), lambda: tokens)
        address = "model.nomic-embed-text@bea/ollama"
        paths = ("/v1/status", "/v1/history", f"/v1/explain/{address}", f"/why/{address}", "/history", "/history/1")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return [(await client.get(path)).status_code for path in paths]

    assert asyncio.run(play()) == [200] * 6
    assert len(ended) >= 6
    assert all(ended)


def test_metrics_are_made_once_for_each_look_and_each_event(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bytes] = []
    monkeypatch.setattr(metrics, "generate_latest", lambda registry: made.append(generate_latest(registry)) or made[-1])

    async def play() -> None:
        listeners: list[Callable[[WatchEvent], None]] = []
        settings = WorkspaceSettings(lab.root, poll_seconds=POLL)
        watch = Watch(settings, WatchOptions(INTERVAL), lambda event: [one(event) for one in listeners] and None, Signals())
        shown = Metrics(watch)
        listeners.append(shown.hear)
        assert [shown.text() is shown.text(), len(made)] == [True, 1]
        await watch.once()
        assert [shown.text() is shown.text(), len(made)] == [True, 2]
        assert b'gpurec_engine_up{engine="ollama",kind="ollama",node="bea"} 1.0' in made[-1]
        shown.hear(AlertLost("hook", "it answered 404"))
        assert [shown.text() is shown.text(), len(made)] == [True, 3]
        assert b"gpurec_alerts_lost_total 1.0" in made[-1]

    asyncio.run(play())


def test_a_browser_too_is_told_when_to_come_again(lab: Lab) -> None:
    settings = WorkspaceSettings(lab.root, poll_seconds=POLL)
    watch = Watch(settings, WatchOptions(INTERVAL), lambda event: None, Signals())
    app = app_of(watch, settings, Metrics(watch), Broadcast(), lambda: Tokens(ServicePolicy()))

    async def play() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.get("/plan", headers={"Accept": "text/html"})

    found = asyncio.run(play())
    assert (found.status_code, found.headers["retry-after"]) == (503, "5")
    assert found.headers["content-type"].startswith("text/html")


def test_any_number_who_ask_to_rebalance_while_a_plan_is_made_get_that_one(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> tuple[int, list[int]]:
        watch = Watch(WorkspaceSettings(lab.root, poll_seconds=POLL), WatchOptions(INTERVAL), lambda event: None, Signals())
        await watch.once()
        api, planned, made = Api(watch, Metrics(watch), Broadcast()), watch.planned, 0

        async def late() -> Proposal:
            nonlocal made
            made += 1
            return await planned()

        monkeypatch.setattr(watch, "planned", late)
        request = Request({"type": "http", "caller": Caller("ops", Role.PLAN)})
        gone = asyncio.ensure_future(api.rebalance(request))
        await asyncio.sleep(0)
        gone.cancel()  # who asked first does not wait for it
        answers = await asyncio.gather(*(api.rebalance(request) for _ in range(8)))
        return made, [one.status_code for one in answers]

    assert asyncio.run(play()) == (1, [200] * 8)


def test_a_run_that_ends_by_a_fault_of_our_own_is_told_to_those_who_listen(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> list[str]:
        watch = Watch(WorkspaceSettings(lab.root, poll_seconds=POLL), WatchOptions(INTERVAL, applies=True), lambda event: None, Signals())
        broadcast, told = Broadcast(), list[str]()
        monkeypatch.setattr(broadcast, "send", lambda document: told.append(json.dumps(document)))

        async def broken() -> Any:
            raise KeyError("m3:1")

        async def approved(digest: str, command: str) -> tuple[Any, Any]:
            return None, asyncio.ensure_future(broken())

        monkeypatch.setattr(watch, "approved", approved)
        await Api(watch, Metrics(watch), broadcast).approved("sha256:1", "ops")
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
        return told

    (event,) = asyncio.run(play())
    assert json.loads(event)["type"] == "error"
    assert "gpurec itself failed: KeyError" in event


def test_what_was_begun_apart_still_says_what_it_did_when_it_is_cut() -> None:
    told: list[Any] = []

    async def work(tell: Callable[[Any], None]) -> str:
        tell("begun")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            tell("cut")
        return "some of it"

    async def play() -> str:
        begun = asyncio.Event()

        def report(event: Any) -> None:
            told.append(event)
            begun.set()

        task = asyncio.ensure_future(apart(work, report))
        await begun.wait()
        task.cancel()
        return await task

    assert asyncio.run(play()) == "some of it"
    assert told == ["begun", "cut"]
