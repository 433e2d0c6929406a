"""What a loop tells, as lines on stdout: plain ones for people and journals, or JSON, an object a line."""

from __future__ import annotations

import os
from collections.abc import Mapping

import click

from reconciler.cli.failure import show_traceback
from reconciler.cli.progress import event_line
from reconciler.cli.reporting import sentence
from reconciler.cli.settings import Settings
from reconciler.execution import RunFinished, StepFailed, StepProgress, StepRetried, StepSkipped, StepStarted
from reconciler.fleet import Topic, format_duration
from reconciler.operations import clock
from reconciler.operations.event_document import event_line as json_line
from reconciler.operations.reporter import Message, Probing, StateNotice
from reconciler.service.documents import watch_document
from reconciler.service.events import AlertLost, Listening, Looked, Over, Reloaded, Started, Told, TurnFailed, WatchEnded, WatchEvent
from reconciler.service.systemd import Systemd
from reconciler.views import escape
from reconciler.views.style import plural

MOST_REMEMBERED = 1000
"""Sentences that are not said again; older ones may be."""
_CALM = frozenset({Topic.PENDING, Topic.RECOVERED})
_LEVELS = {"info": 6, "warning": 4, "error": 3}
"""Priorities of syslog(3), as systemd's journal reads them at the beginning of a line."""


class WatchLog:
    """The listener of one loop. What it warned of before it does not say again. In a journal lines have no time of their
    own, and their priority."""

    def __init__(self, settings: Settings, systemd: Systemd, *, json_lines: bool, environ: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._systemd = systemd
        self._json = json_lines
        self._journal = bool((os.environ if environ is None else environ).get("JOURNAL_STREAM"))
        self._said: dict[str, None] = {}
        self._ready = False

    def __call__(self, event: WatchEvent) -> None:
        if isinstance(event, Looked):
            self._notify(event)
        if isinstance(event, TurnFailed):  # what is wrong is told as a condition; here is where
            show_traceback(event.error, self._settings.verbose)
        found = self._said_of(event)
        if found is None or (self._settings.quiet and found[0] == "info"):
            return
        level, lines = found
        if self._json:
            click.echo(json_line(watch_document(event), clock.now()), nl=False)
            return
        for line in lines:
            click.echo(f"<{_LEVELS[level]}>{line}" if self._journal else f"{clock.now()} {line}")

    def _said_of(self, event: WatchEvent) -> tuple[str, list[str]] | None:
        """The level and the lines of an event that is logged."""
        match event:
            case Started(fleet=fleet, applies=applies, interval=interval, shard=shard):
                what = "carrying out what its files ask for" if applies else "changing nothing"
                of_it = f"part {shard} of fleet" if shard is not None else "fleet"
                return "info", [f"Watching {of_it} {escape(fleet)} every {format_duration(interval)}, {what}"]
            case Listening(url=url):
                return "info", [f"Listening on {escape(url)}"]
            case Told(condition=one):
                level = "error" if one.topic in (Topic.ERROR, Topic.FAILED) else "info" if one.topic in _CALM else "warning"
                return level, [f"{one.topic.value} {escape(one.subject)}: {escape(one.message, 1000)}"]
            case Over(condition=one):
                return "info", [f"recovered: {one.topic.value} {escape(one.subject)}: {escape(one.message, 1000)}"]
            case Looked(as_wanted=as_wanted, seconds=seconds):
                said = f"Looked in {format_duration(seconds)}: {plural(as_wanted, 'resource')} as wanted, {_wrong(event)}"
                return ("info", [said]) if self._json or self._settings.verbose else None
            case Reloaded(error=error):
                if error is None:
                    return "info", ["The files were read again"]
                wrong = "The files are wrong, and what was read before still counts"
                return "error", [f"{wrong}: {escape(problem.sentence(), 1000)}" for problem in error.problems]
            case AlertLost(again=True) if not self._settings.verbose:
                return None
            case AlertLost(webhook=webhook, why=why):
                return "warning", [f"An alert to {escape(webhook)} was given up: {escape(why, 1000)}"]
            case WatchEnded():
                return "info", ["Ended"]
            case _ if isinstance(event, TurnFailed | Probing | StepStarted | StepProgress | RunFinished):
                return None
            case StateNotice():  # it happened, and may happen again
                return "info", [sentence(event)]
            case _ if isinstance(event, Message):
                return self._once(sentence(event))
            case _ if (text := event_line(event)) is not None:
                level = "error" if isinstance(event, StepFailed) else "warning" if isinstance(event, StepSkipped | StepRetried) else "info"
                return level, [text.strip("! ")]
        return None

    def _notify(self, looked: Looked) -> None:
        """Tells systemd how the fleet stands; that the service is ready, with the first look."""
        status = f"{plural(looked.as_wanted, 'resource')} as wanted, {_wrong(looked)}; looked at {clock.now()}"
        self._systemd.send(**({} if self._ready else {"READY": "1"}), STATUS=status)
        self._ready = True

    def _once(self, text: str) -> tuple[str, list[str]] | None:
        if text in self._said:
            return None
        self._said[text] = None
        if len(self._said) > MOST_REMEMBERED:
            del self._said[next(iter(self._said))]
        return "warning" if text.startswith("Warning") else "info", [text]


def _wrong(looked: Looked) -> str:
    if not looked.holding:
        return "all is as it should be"
    return f"{plural(looked.holding, 'thing')} not as {'it' if looked.holding == 1 else 'they'} should be"
