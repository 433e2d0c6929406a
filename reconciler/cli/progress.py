"""How far a run is: bars on a terminal, one line an event elsewhere. Both on stderr, both readers of one stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reconciler.cli.settings import Settings, live_terminal, tell
from reconciler.execution import (
    Event,
    ResidentLost,
    RunStarted,
    StepDone,
    StepFailed,
    StepInterrupted,
    StepProgress,
    StepRetried,
    StepSkipped,
    StepStarted,
)
from reconciler.fleet import format_bytes, format_duration
from reconciler.planning import Step
from reconciler.views import beside, escape

OnEvent = Callable[[Event], None]


def event_line(event: Event) -> str | None:
    """One line of an event, its text escaped; None for those that say nothing to people."""
    match event:
        case RunStarted(steps=steps):
            return f"Applying {steps} {'step' if steps == 1 else 'steps'}…" if steps else None
        case StepStarted(step=step):
            return f"  {_name(step)}: started"
        case StepDone(step=step, seconds=seconds, satisfied=satisfied):
            return f"  {_name(step)}: {'already so' if satisfied else 'done'} after {format_duration(seconds)}"
        case StepRetried(step=step, message=message, pause=pause, tries=tries):
            why = escape(beside(step.address, message), 1000)
            return f"! {_name(step)}: try {tries} failed: {why}; the next follows in {format_duration(pause)}"
        case StepFailed(step=step, code=code, message=message, seconds=seconds):
            return (
                f"! {_name(step)}: failed after {format_duration(seconds)}: {escape(beside(step.address, message), 1000)} ({escape(code)})"
            )
        case StepSkipped(step=step, message=message):
            return f"! {_name(step)}: skipped: {escape(beside(step.address, message), 1000)}"
        case StepInterrupted(step=step):
            return f"! {_name(step)}: interrupted; the next plan finds out what became of it"
        case ResidentLost(address=address, message=message):
            return f"! {escape(address)}: lost: {escape(message, 1000)}"
        case _:
            return None


@contextmanager
def listener(settings: Settings) -> Iterator[OnEvent]:
    """The subscriber for this run: silent with `-q`, bars on a terminal that can move its cursor, plain lines elsewhere."""
    if settings.quiet:
        yield lambda event: None
    elif live_terminal():
        with _bars(settings) as on_event:
            yield on_event
    else:
        yield _plain


def _plain(event: Event) -> None:
    line = event_line(event)
    if line is not None:
        tell(line)


@contextmanager
def _bars(settings: Settings) -> Iterator[OnEvent]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
    from rich.text import Text

    console = Console(stderr=True, no_color=not settings.colour(), highlight=False, markup=False, emoji=False)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bars: dict[str, TaskID] = {}

        def on_event(event: Event) -> None:
            match event:
                case StepStarted(step=step):
                    bars[step.id] = progress.add_task(_name(step), total=None, note="")
                case StepProgress(step=step) if step.id in bars:
                    progress.update(bars[step.id], completed=event.completed or 0, total=event.total, note=_progress_note(event))
                case StepDone(step=step) | StepFailed(step=step) | StepSkipped(step=step) | StepInterrupted(step=step):
                    if step.id in bars:
                        progress.remove_task(bars.pop(step.id))
                    console.print(Text(event_line(event) or ""), soft_wrap=True)
                case ResidentLost() | StepRetried():
                    console.print(Text(event_line(event) or ""), soft_wrap=True)
                case _:
                    return

        yield on_event


def _name(step: Step) -> str:
    return f"{step.action.value} {escape(step.address)}"


def _progress_note(event: StepProgress) -> str:
    if event.completed is None or not event.total:
        return escape(event.status, 40)
    return f"{format_bytes(event.completed)} of {format_bytes(event.total)}"
