"""What an operation reports, for people, on stderr: one line a message, a count while nodes are probed, and the progress of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from reconciler.cli.settings import Settings, live_terminal

if TYPE_CHECKING:
    from reconciler.execution import Event
    from reconciler.operations.reporter import Message, OperationEvent, Reporter


@contextmanager
def reporting(settings: Settings) -> Iterator[Reporter]:
    """The reporter of one operation: says everything but results; nothing with `-q`."""
    from reconciler.operations.reporter import Message, NodeProbed, Probing

    counts = live_terminal() and not settings.quiet
    with ExitStack() as shown:
        probed = 0
        follow: Callable[[Event], None] | None = None

        def report(event: OperationEvent) -> None:
            nonlocal probed, follow
            if settings.events:
                from reconciler.cli.ndjson import emit
                from reconciler.operations.event_document import event_document

                emit(event_document(event))
            if isinstance(event, Probing):
                if not counts:
                    return
                probed = probed + 1 if isinstance(event, NodeProbed) else 0
                click.echo(f"\rProbing… {probed:,}" if probed else "\r\x1b[K", err=True, nl=False)
            elif isinstance(event, Message):
                settings.say(sentence(event))
            else:
                from reconciler.cli.progress import listener
                from reconciler.execution import RunFinished

                follow = follow or shown.enter_context(listener(settings))
                follow(event)
                if isinstance(event, RunFinished):
                    follow = None
                    shown.close()

        yield report


def sentence(message: Message) -> str:
    """One line of it, its text escaped."""
    from reconciler.fleet import format_duration
    from reconciler.operations.reporter import (
        CorrectionUnapproved,
        FileWarning,
        LockAwaited,
        PlanCorrected,
        RescueTakenIn,
        StateNotice,
        StateWarning,
    )
    from reconciler.views.escape import escape
    from reconciler.views.style import plural

    match message:
        case FileWarning(problem):
            return f"Warning: {escape(problem.sentence(), 1000)}"
        case StateWarning(what):
            return f"Warning: {escape(what, 2000)}"
        case StateNotice(what):
            return f"Note: {escape(what, 2000)}"
        case LockAwaited(holder, seconds):
            return f"Waiting for the lock, at most {format_duration(seconds)}: {escape(holder, 1000)}."
        case RescueTakenIn(run_id, entries, kept):
            return (
                f"Took in what run {run_id} could not write to the state: {entries} {'entry' if entries == 1 else 'entries'} of its rescue "
                f"journal, now {escape(str(kept), 4000)}."
            )
        case PlanCorrected(steps):
            return f"The plan was made again with the corrected need; what is left of it was approved: {plural(steps, 'step')}."
        case CorrectionUnapproved(step):
            what = "a guard refuses it" if step is None else escape(step)
            return f"The corrected need changes the approved plan ({what}); see gpurec plan."
