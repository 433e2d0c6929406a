"""What the loop tells as JSON values: the lines of `watch --log json` and the events of the HTTP API are this one form.

Its steps are those of `apply --format ndjson`, and so is its version."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.operations.event_document import event_document
from reconciler.planning.plan import Json
from reconciler.service import conditions
from reconciler.service.conditions import Condition
from reconciler.service.events import AlertLost, Listening, Looked, Over, Reloaded, Started, Told, TurnFailed, WatchEnded, WatchEvent


def watch_document(event: WatchEvent) -> dict[str, Json]:
    """An event of the loop, with its `type`."""
    match event:
        case Started(fleet, applies, interval, shard):
            part = str(shard) if shard is not None else None
            return {"type": "started", "fleet": fleet, "applies": applies, "interval_seconds": interval, "shard": part}
        case Listening(url):
            return {"type": "listening", "url": url}
        case Told(one):
            return {"type": "condition", "holds": True, **condition_document(one)}
        case Over(one):
            return {"type": "condition", "holds": False, **condition_document(one)}
        case Looked(as_wanted, holding, steps, seconds):
            return {"type": "looked", "as_wanted": as_wanted, "holding": holding, "steps": steps, "seconds": seconds}
        case TurnFailed(error):
            return {"type": "turn_failed", "error": conditions.of_error(error).message}
        case Reloaded(error):
            return {"type": "reloaded", "error": None if error is None else " ".join(one.sentence() for one in error.problems)}
        case AlertLost(webhook, why, again):
            return {"type": "alert_lost", "webhook": webhook, "why": why, "again": again}
        case WatchEnded():
            return {"type": "ended"}
        case _:
            return event_document(event)


def condition_document(one: Condition) -> Mapping[str, Json]:
    """What is not as it should be."""
    return {"topic": one.topic.value, "subject": one.subject, "message": one.message}
