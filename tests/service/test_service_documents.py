"""Every event of the loop as JSON: the log of `watch` and the events of the HTTP API are one form."""

from __future__ import annotations

import json

import pytest

from reconciler.fleet import GpurecError, Place, Problem, Topic
from reconciler.operations.event_document import event_line
from reconciler.operations.reporter import StateNotice
from reconciler.service.conditions import Condition, of_error
from reconciler.service.documents import watch_document
from reconciler.service.events import AlertLost, Listening, Looked, Over, Reloaded, Started, Told, TurnFailed, WatchEnded, WatchEvent

GONE = Condition(Topic.DRIFTED, "model.m@ada/ollama", "missing resident", "", "missing: was resident, is gone")
WRONG = GpurecError(Problem("no", Place("a.yaml", 1, 2), "write yes"), Problem("never", Place("b.yaml", 3, 4), "write ever"))


@pytest.mark.parametrize(
    ("event", "document"),
    [
        (Started("lab", True, 60.0), {"type": "started", "fleet": "lab", "applies": True, "interval_seconds": 60.0, "shard": None}),
        (Listening("http://127.0.0.1:1"), {"type": "listening", "url": "http://127.0.0.1:1"}),
        (Told(GONE), {"type": "condition", "holds": True, "topic": "drift", "subject": GONE.subject, "message": GONE.message}),
        (Over(GONE), {"type": "condition", "holds": False, "topic": "drift", "subject": GONE.subject, "message": GONE.message}),
        (Looked(3, 1, 2, 0.5), {"type": "looked", "as_wanted": 3, "holding": 1, "steps": 2, "seconds": 0.5}),
        (TurnFailed(WRONG), {"type": "turn_failed", "error": of_error(WRONG).message}),
        (TurnFailed(ValueError("x")), {"type": "turn_failed", "error": of_error(ValueError("x")).message}),
        (Reloaded(), {"type": "reloaded", "error": None}),
        (Reloaded(WRONG), {"type": "reloaded", "error": " ".join(one.sentence() for one in WRONG.problems)}),
        (
            AlertLost("policy.notify[0]", "it answered 404"),
            {"type": "alert_lost", "webhook": "policy.notify[0]", "why": "it answered 404", "again": False},
        ),
        (WatchEnded(), {"type": "ended"}),
        (StateNotice("set up"), {"type": "notice", "message": "set up"}),
    ],
    ids=lambda one: type(one).__name__ if not isinstance(one, dict) else "",
)
def test_an_event_is_one_object_with_its_type(event: WatchEvent, document: dict[str, object]) -> None:
    assert watch_document(event) == document
    line = json.loads(event_line(watch_document(event), "2026-01-01T00:00:00Z"))
    assert line == {"format_version": "1.0", "at": "2026-01-01T00:00:00Z", **document}
