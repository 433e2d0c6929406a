"""Webhooks against a real server: in order, again where that may help, and never with the url in a sentence."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reconciler.fleet import Desired, Notify, NotifyFormat, Policy, SecretRef, Topic
from reconciler.service import alerts
from reconciler.service.alerts import Alert, Alerts, content
from reconciler.service.conditions import Condition

GONE = Condition(Topic.DRIFTED, "model.m:1@a/ollama", "missing", "", "was resident, is <gone>")
HOOK = Notify("policy.notify[0] (env:HOOK)", SecretRef("env", "HOOK"), frozenset(Topic))


@dataclass
class Space:
    """As much of a workspace as alerts look at."""

    desired: Desired
    name: str = "lab"


@dataclass
class Server:
    """Takes alerts; answers with the statuses that are left, then 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            state.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            status = state.statuses.pop(0) if state.statuses else 200
            self.send_response(status)
            if status in (301, 302, 307):
                self.send_header("Location", state.url + "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.url = f"http://127.0.0.1:{http.server_port}/secret-path"
        yield state
        http.shutdown()
        thread.join()


def sent(*conditions: tuple[Condition, bool], to: Notify = HOOK) -> list[tuple[str, str]]:
    """Sends them and gives what was lost."""
    lost: list[tuple[str, str]] = []

    async def main() -> None:
        space = Space(Desired(policy=Policy(notify=(to,))))
        async with Alerts(lambda name, why, again: lost.append((name, why)), pauses=(0.0,)) as sender:
            for condition, over in conditions:
                sender.send(space, condition, over=over)  # type: ignore[arg-type]

    asyncio.run(main())
    return lost


def test_alerts_come_in_order_and_say_when_a_thing_is_over(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", server.url)
    others = [replace(GONE, subject=f"s{number}") for number in range(20)]
    assert sent(*((one, False) for one in others), (GONE, True)) == []
    documents = [json.loads(body) for body in server.bodies]
    assert [one["subject"] for one in documents] == [*(one.subject for one in others), GONE.subject]
    assert (documents[0]["topic"], documents[-1]["topic"]) == ("drift", "recovered")
    assert documents[-1]["message"] == "no longer: drift: was resident, is <gone>"


def test_only_the_topics_that_were_asked_for_are_told_and_only_their_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", server.url)
    to = replace(HOOK, on=frozenset({Topic.UNPLACED, Topic.RECOVERED}))
    assert sent((GONE, False), (GONE, True), (replace(GONE, topic=Topic.UNPLACED), False), to=to) == []
    assert [json.loads(body)["topic"] for body in server.bodies] == ["unplaced"]


def test_what_may_pass_is_tried_again_and_what_will_not_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", server.url)
    server.statuses = [503, 429, 200]
    assert sent((GONE, False)) == []
    assert len(server.bodies) == 3
    server.bodies.clear()
    for statuses, tries, why in (
        ([500] * 3, 3, "it answered 500, after 3 tries"),
        ([404], 1, "it answered 404"),
        ([302], 1, "it answered 302"),
    ):
        server.statuses, before = list(statuses), len(server.bodies)
        assert sent((GONE, False)) == [(HOOK.name, why)]
        assert len(server.bodies) - before == tries


def test_no_sentence_tells_the_url(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("http://127.0.0.1:9/secret-path", "no url, secret-path", "ftp://h/secret-path"):
        monkeypatch.setenv("HOOK", url)
        ((name, why),) = sent((GONE, False))
        assert "secret-path" not in name + why
    monkeypatch.delenv("HOOK")
    ((_, why),) = sent((GONE, False))
    assert why == "the environment variable HOOK is not set; set HOOK before the run"


def test_a_reason_that_stays_is_known_as_the_same_until_something_is_delivered(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, bool]] = []
    monkeypatch.setenv("HOOK", server.url)
    server.statuses = [404, 404, 410, 200, 410]

    async def main() -> None:
        async with Alerts(lambda name, why, again: told.append((why, again))) as sender:
            for _ in range(5):
                sender.send(Space(Desired(policy=Policy(notify=(HOOK,)))), GONE, over=False)  # type: ignore[arg-type]

    asyncio.run(main())
    assert told == [("it answered 404", False), ("it answered 404", True), ("it answered 410", False), ("it answered 410", False)]


def test_a_server_that_is_not_there_is_named_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", "http://127.0.0.1:9/secret-path")
    assert sent((GONE, False)) == [(HOOK.name, "it cannot be reached: connection refused, after 3 tries")]


def test_an_alert_that_cannot_be_made_is_lost_alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", server.url)
    to = replace(HOOK, format=NotifyFormat.NTFY)
    half = replace(GONE, message="\ud800")
    assert sent((half, False), (GONE, False), to=to) == [(HOOK.name, "it could not be sent (UnicodeEncodeError)")]
    assert len(server.bodies) == 1


def test_a_webhook_that_takes_nothing_holds_nobody_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", server.url)
    monkeypatch.setattr(alerts, "MOST_WAITING", 3)
    lost = sent(*((replace(GONE, subject=f"s{number}"), False) for number in range(10)))
    assert len(lost) == 7
    assert {why for _, why in lost} == {"3 alerts wait for it already"}
    assert len(server.bodies) == 3


def test_a_loss_is_told_before_the_alert_counts_as_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOOK", raising=False)
    order: list[str] = []

    class Watched(asyncio.Queue[Any]):
        def task_done(self) -> None:
            order.append("done")
            super().task_done()

    monkeypatch.setattr(asyncio, "Queue", Watched)

    async def main() -> None:
        async with Alerts(lambda *_: order.append("lost")) as sender:
            sender.send(Space(Desired(policy=Policy(notify=(HOOK,)))), GONE, over=False)  # type: ignore[arg-type]

    asyncio.run(main())
    assert order == ["lost", "done"]


def test_bodies_are_as_their_readers_want_them() -> None:
    alert = Alert("lab", "drift", "model.m:1@a/ollama", 'a "quoted" <thing> & more', "2026-01-01T00:00:00Z")
    slack, _ = content(replace(HOOK, format=NotifyFormat.SLACK), alert)
    assert json.loads(slack) == {"text": '[lab] drift: model.m:1@a/ollama: a "quoted" &lt;thing&gt; &amp; more'}
    ntfy, kind = content(replace(HOOK, format=NotifyFormat.NTFY), alert)
    assert (ntfy.decode(), kind) == (alert.line, "text/plain; charset=utf-8")
    own, _ = content(replace(HOOK, body='{"summary": {{ message | tojson }}, "dedup_key": {{ subject | tojson }}}'), alert)
    assert json.loads(own) == {"summary": alert.message, "dedup_key": alert.subject}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{on: [drift]}", "lacks 'url'"),
        ("{url: https://hooks.example/T0/B0}", "is not a reference to a secret"),
        ("{url: env:HOOK, on: [drifted]}", "did you mean 'drift'?"),
        ("{url: env:HOOK, body: '{{ nothing }}'}", "'nothing' is undefined"),
        ("{url: env:HOOK, webhook: x}", "unknown key 'webhook'"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, text: str, said: str) -> None:
    from click.testing import CliRunner

    from reconciler.cli.main import cli

    for folder, written in (("inventories", "all: {hosts: {a: {}}}\n"), ("desired", f"version: 1\npolicy:\n  notify:\n    - {text}\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "lab.yaml").write_text(written)
    result = CliRunner().invoke(cli, ["-C", str(tmp_path), "validate"])
    assert result.exit_code == 1
    assert said in result.output
    assert "desired/lab.yaml:4:" in result.output
