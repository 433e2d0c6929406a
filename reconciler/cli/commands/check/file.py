"""`gpurec check FILE.gguf`: how many bytes a model file takes on a card, by term, from its header alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from reconciler.cli.commands.check.companions import read_beside
from reconciler.cli.commands.check.run_options import CheckOptions, cache_types
from reconciler.cli.settings import Settings

SMALLEST_CONTEXT = 256
"""What --fit-context begins with: caches have whole multiples of so many cells."""
Beside = tuple[str | None, tuple[str, ...], str | None]
"""The files of --mmproj, --lora and --draft."""


def check_file(settings: Settings, file: str, way: CheckOptions, room: int | None, format_: str, beside: Beside) -> None:
    from reconciler.fleet import GpurecError, format_bytes
    from reconciler.gguf import read_model, read_url
    from reconciler.views import need_json, need_text
    from reconciler.vram import (
        N_UBATCH,
        REFERENCE_BUILD,
        Backend,
        RunSettings,
        UnknownLayout,
        check_runnable,
        geometry_of,
        largest_context,
        largest_parallel,
        predict,
        with_extras,
    )

    keys, values = cache_types("f16" if way.cache is None else way.cache)
    path = settings.path(Path(file))
    remote = "://" in file
    model = read_url(file) if remote else read_model(path)
    file = file.split("?", 1)[0]
    where = file if remote else str(path)
    largest = None
    try:
        geometry = geometry_of(model.header)
        run = RunSettings(
            context=way.context or geometry.context,
            parallel=way.parallel,
            key_type=keys,
            value_type=values,
            flash_attention=way.flash_attention is not False,
            ubatch=way.batch or N_UBATCH,
            build=way.build or REFERENCE_BUILD,
            drafted=way.drafted or 0,
            backend=None if way.backend is None else Backend(way.backend),
        )
        check_runnable(geometry, run)
        if room is not None:
            search = largest_context if way.context is None else largest_parallel
            largest = search(geometry, run, room)
            if largest is None:
                smallest = replace(run, context=SMALLEST_CONTEXT) if way.context is None else replace(run, parallel=1)
                least = predict(geometry, smallest).cards[0].total or 0
                raise GpurecError.of(
                    f"not even {way.context or SMALLEST_CONTEXT} tokens fit into {format_bytes(room)}: that needs {format_bytes(least)}",
                    where,
                    "give a larger --vram, or use a smaller quantisation",
                )
            run = largest.settings
        prediction = largest.prediction if largest is not None else predict(geometry, run)
        extras = read_beside(settings, *beside, run)
        if extras is not None:
            prediction = with_extras(prediction, extras)
    except UnknownLayout as error:
        if error.problems[0].where is not None:
            raise
        raise UnknownLayout.of(error.problems[0].what, where, error.problems[0].hint) from None
    if format_ == "json":
        click.echo(need_json(file, geometry, run, prediction, room, largest, extras), nl=False)
    else:
        shown = need_text(file, geometry, run, prediction, room, largest, extras, colour=settings.colour(), width=settings.width())
        click.echo(shown, nl=False)
