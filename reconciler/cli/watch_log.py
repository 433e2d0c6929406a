"""What a loop tells, as lines on stdout: plain ones for people and journals, or JSON, an object a line."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

import click

from reconciler.cli.progress import event_line
from reconciler.cli.reporting import sentence
from reconciler.cli.settings import Settings
from reconciler.execution import RunFinished, StepDone, StepFailed, StepProgress, StepRetried, StepSkipped, StepStarted
from reconciler.fleet import GpurecError, Topic, format_duration
from reconciler.operations import clock
from reconciler.operations.reporter import Message, Probing
from reconciler.service.events import AlertLost, Ended, Looked, Over, Reloaded, Started, Told, WatchEvent
from reconciler.service.systemd import Systemd
from reconciler.views import escape
from reconciler.views.style import plural

FORMAT_VERSION = 1
MOST_REMEMBERED = 1000
"""Sentences that are not said again; older ones may be."""
_CALM = frozenset({Topic.PENDING, Topic.RECOVERED})
_LEVELS = {"info": 6, "warning": 4, "error": 3}
"""Priorities of syslog(3), as systemd's journal reads them at the beginning of a line."""


class WatchLog:
    """The listener of one loop. What it said of the files and of the state it does not say again. In a journal lines have no time of their
    own, and their priority."""

    def __init__(self, settings: Settings, systemd: Systemd, *, json_lines: bool, environ: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._systemd = systemd
        self._json = json_lines
        self._journal = bool((os.environ if environ is None else environ).get("JOURNAL_STREAM"))
        self._said: dict[str, None] = {}
        self._ready = False
        self._every = 0.0

    def __call__(self, event: WatchEvent) -> None:
        match event:
            case Started(fleet=fleet, applies=applies, interval=interval):
                self._every = interval
                what = "carrying out what its files ask for" if applies else "changing nothing"
                every = format_duration(interval)
                self._line(
                    "started", f"Watching fleet {escape(fleet)} every {every}, {what}", fleet=fleet, applies=applies, interval=interval
                )
            case Told(condition=one):
                level = "error" if one.topic in (Topic.ERROR, Topic.FAILED) else "info" if one.topic in _CALM else "warning"
                self._condition(level, one.topic.value, one.subject, one.message, holds=True)
            case Over(condition=one):
                self._condition("info", one.topic.value, one.subject, one.message, holds=False)
            case Looked(as_wanted=as_wanted, holding=holding, steps=steps, seconds=seconds):
                self._looked(as_wanted, holding, steps, seconds)
            case Reloaded(error=error):
                self._reloaded(error)
            case AlertLost(webhook=webhook, why=why):
                said = f"An alert to {escape(webhook)} was given up: {escape(why, 1000)}"
                self._line("alert_lost", said, level="warning", webhook=webhook)
            case Ended():
                self._line("ended", "Ended")
            case _ if isinstance(event, Probing):
                return
            case _ if isinstance(event, Message):
                self._once(sentence(event))
            case StepStarted() | StepProgress() | RunFinished():
                return
            case _ if (text := event_line(event)) is not None:
                step = getattr(event, "step", None)
                more = {"address": step.address, "action": step.action.value} if step is not None else {}
                level = "error" if isinstance(event, StepFailed) else "warning" if isinstance(event, StepSkipped | StepRetried) else "info"
                self._line("step" if isinstance(event, StepDone) or step is not None else "run", text.strip("! "), level=level, **more)

    def _reloaded(self, error: GpurecError | None) -> None:
        if error is None:
            self._line("reloaded", "The files were read again")
            return
        for problem in error.problems:
            said = f"The files are wrong, and what was read before still counts: {escape(problem.sentence(), 1000)}"
            self._line("reload_failed", said, level="error")

    def _condition(self, level: str, topic: str, subject: str, message: str, *, holds: bool) -> None:
        words = f"{topic} {escape(subject)}: {escape(message, 1000)}"
        self._line(
            "condition", words if holds else f"recovered: {words}", level=level, topic=topic, subject=subject, detail=message, holds=holds
        )

    def listening(self, url: str) -> None:
        """Where a service answers."""
        self._line("listening", f"Listening on {escape(url)}", url=url)

    def _looked(self, as_wanted: int, holding: int, steps: int, seconds: float) -> None:
        wrong = f"{plural(holding, 'thing')} not as {'it' if holding == 1 else 'they'} should be" if holding else "all is as it should be"
        status = f"{plural(as_wanted, 'resource')} as wanted, {wrong}; looked at {clock.now()}"
        self._systemd.send(**({} if self._ready else {"READY": "1"}), STATUS=status)
        self._ready = True
        if self._json or self._settings.verbose:
            said = f"Looked in {format_duration(seconds)}: {plural(as_wanted, 'resource')} as wanted, {wrong}"
            self._line("looked", said, as_wanted=as_wanted, holding=holding, steps=steps, seconds=round(seconds, 3))

    def _once(self, text: str) -> None:
        if text in self._said:
            return
        self._said[text] = None
        if len(self._said) > MOST_REMEMBERED:
            del self._said[next(iter(self._said))]
        self._line("message", text, level="warning" if text.startswith("Warning") else "info")

    def _line(self, event: str, message: str, *, level: str = "info", **more: object) -> None:
        if self._settings.quiet and level == "info":
            return
        if self._json:
            document = {"format_version": FORMAT_VERSION, "at": clock.now(), "level": level, "event": event, "message": message, **more}
            text = json.dumps(document, ensure_ascii=True)
        elif self._journal:
            text = f"<{_LEVELS[level]}>{message}"
        else:
            text = f"{clock.now()} {message}"
        click.echo(text)
