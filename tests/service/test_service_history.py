"""What a loop sees is kept in the state, and shown by `gpurec history --facts`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from cli_lab import SMALL, Lab, served
from test_service_watch import Played, nothing

from reconciler.fleet import LOOK, Activity, EngineId, Frame, ModelSample, Ticket, Tickets
from reconciler.operations import clock
from reconciler.operations.sampling import Before, sample
from reconciler.service.events import Over, Told
from reconciler.sim import builtin_fleet
from reconciler.state import open_reader, open_state, open_writer
from reconciler.state.sql.waiting_tickets import waiting_tickets

ADA, BEA = (f"model.nomic-embed-text@{node}/ollama" for node in ("ada", "bea"))


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    minutes = iter(range(10_000))
    monkeypatch.setattr(clock, "now", lambda: f"2026-11-30T{(m := next(minutes)) // 60:02}:{m % 60:02}:00Z")
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        yield lab


def frames(lab: Lab) -> Sequence[Frame]:
    with closing(open_reader(lab.state)) as state:
        return list(state.frames((LOOK,)))


def test_each_look_is_a_frame_of_every_card_and_model(lab: Lab) -> None:
    Played(lab, nothing, nothing, applies=True)
    last = frames(lab)[-1]
    assert {node for node, _ in last.cards} >= {"ada", "bea"}
    assert all(one.used_bytes is not None and one.total_bytes for one in last.cards.values())
    assert last.models[ADA].resident == 1.0
    assert last.models[ADA].vram_bytes


def test_a_replica_that_is_gone_is_a_failure_once_and_known_not_to_be_there(lab: Lab) -> None:
    lab.run("apply", "--auto-approve")
    Played(lab, lab.fleet.engines["bea/ollama"].restart, nothing, nothing, applies=False)
    course = [(one.models[BEA].resident, one.models[BEA].failures) for one in frames(lab)]
    assert course == [(1.0, 0), (0.0, 1), (0.0, 0), (0.0, 0)]


def test_an_engine_that_is_silent_has_no_samples_and_is_no_failure(lab: Lab) -> None:
    lab.run("apply", "--auto-approve")
    Played(lab, lab.fleet.engines["bea/ollama"].kill, nothing, applies=False)
    seen = frames(lab)
    assert BEA in seen[0].models
    assert all(BEA not in one.models for one in seen[1:])


def test_looks_wait_while_a_run_holds_the_state_and_then_all_of_them_come(lab: Lab) -> None:
    lab.run("apply", "--auto-approve")
    holder = open_writer(lab.state, command="apply", fleet="demo")
    writers = [holder.__enter__()]
    played = Played(lab, nothing, lambda: holder.__exit__(None, None, None), applies=False)
    assert writers
    assert len(frames(lab)) == 3
    assert not any(isinstance(one, Told) for one in played.events)


def test_a_state_that_takes_no_history_is_told_once_and_the_loop_goes_on(lab: Lab) -> None:
    (lab.root / "state").write_text("no folder")
    played = Played(lab, nothing, nothing, applies=False)
    errors = [one.condition for one in played.events if isinstance(one, Told) and one.condition.subject == "history"]
    assert len(errors) == 1
    assert "what was seen is not kept" in errors[0].message


def test_a_history_of_no_size_is_not_kept(lab: Lab) -> None:
    lab.want(SMALL + "policy: {service: {history: {size: 0}}}\n")
    Played(lab, nothing, applies=False)
    assert not lab.state.exists()


def test_tickets_that_wait_are_taken_in_by_a_look_where_no_history_is_kept_too(lab: Lab) -> None:
    lab.want(SMALL + "policy: {service: {history: {size: 0}}}\n")
    waiting = waiting_tickets(open_state(str(lab.state), lab.root).rescues)
    lab.state.parent.mkdir(exist_ok=True)
    assert waiting.add(Ticket("0x1", None, 10, 5, "2026-11-30T00:00:00Z"))
    Played(lab, nothing, applies=False)
    with closing(open_reader(lab.state)) as state:
        assert (state.tickets(), list(state.frames((LOOK,)))) == (Tickets(1, 10, 5), [])


def test_a_ticket_that_cannot_be_read_is_told_once_with_its_file_and_looks_are_kept(lab: Lab) -> None:
    lab.run("apply", "--auto-approve")
    damaged = waiting_tickets(open_state(str(lab.state), lab.root).rescues).folders[0] / "0.json"
    damaged.parent.mkdir(0o700)
    damaged.write_text("[]")
    played = Played(lab, nothing, damaged.unlink, nothing, applies=False)
    news = [(type(one), one.condition.subject) for one in played.events if isinstance(one, Told | Over) and one.condition.topic == "error"]
    assert news == [(Told, "tickets"), (Over, "tickets")]
    assert str(damaged) in next(one.condition.message for one in played.events if isinstance(one, Told))
    assert len(frames(lab)) == 4


def test_history_facts_shows_all_of_a_fleet_or_each_sample_of_one(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "keep a history" in lab.run("history", "--facts").output
    Played(lab, nothing, nothing, applies=True)
    every = ("history", "--facts", "--since", "36500d")
    text = lab.run(*every).output
    assert "ada/0" in text
    assert ADA in text
    document = json.loads(lab.run(*every, "--card", "ada/0", "--format", "json").output)
    assert [(one["node"], one["gpu"]) for one in document["cards"]] == [("ada", 0)]
    assert len(document["cards"][0]["samples"]) == len(frames(lab))
    assert document["models"] == []
    model = json.loads(lab.run(*every, "--model", BEA, "--format", "json").output)
    assert [one["resident"] for one in model["models"][0]["samples"]][-1] == 1.0
    assert lab.run(*every, "--card", "ada/0").output.count("\n") == len(frames(lab)) + 2
    for wrong in (("--card", "no/0"), ("--model", "model.no@ada/ollama"), ("--model", "no")):
        assert lab.run(*every, *wrong).exit_code == 1
    assert lab.run("history", "--card", "ada/0").exit_code == 1
    assert lab.run("history", "--facts", "1").exit_code == 1


def test_counts_of_an_engine_become_the_latency_and_speed_of_the_time_between(lab: Lab) -> None:
    import asyncio
    from dataclasses import replace

    from reconciler.operations.proposal import plan_fleet
    from reconciler.operations.settings import WorkspaceSettings

    lab.run("apply", "--auto-approve")
    seen = asyncio.run(plan_fleet(WorkspaceSettings(lab.root)))
    at = (EngineId("ada", "ollama"), "nomic-embed-text:latest")

    def look(before: Before, **counts: float) -> tuple[ModelSample, Before]:
        frame, after = sample(replace(seen, activity={at: Activity(**counts)}), None, before)
        return frame.models[ADA], after

    counts = {"requests": 10.0, "request_seconds": 20.0, "tokens": 1000.0, "token_seconds": 10.0, "failed": 1.0, "waiting": 3.0}
    first, before = look(Before(), **counts)
    assert (first.latency, first.tokens_per_second, first.queue, first.failures) == (None, None, 3.0, 0), "since when is not known"
    more = {"requests": 14.0, "request_seconds": 22.0, "tokens": 1500.0, "token_seconds": 20.0, "failed": 3.0, "waiting": 0.0}
    second, before = look(before, **more)
    assert (second.latency, second.tokens_per_second, second.queue, second.failures) == (0.5, 50.0, 0.0, 2)
    again, _ = look(before, **counts)
    assert (again.latency, again.tokens_per_second, again.failures) == (None, None, 0), "counts that fell are of another process"
