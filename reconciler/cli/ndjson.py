"""Events as lines of JSON on stdout, for programs that follow an apply."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from reconciler.planning.plan import Json


def emit(document: dict[str, Json]) -> None:
    """One event, at once. Where nobody reads any more it is lost: an apply goes on and ends as it should."""
    from reconciler.operations import clock
    from reconciler.operations.event_document import event_line

    with suppress(BrokenPipeError):
        click.echo(event_line(document, clock.now()), nl=False)
