"""`gpurec check FILE.gguf`: how many bytes a model will take, from its header alone; asks no node and reads no weights."""

from __future__ import annotations

import re
from pathlib import Path

import click

from reconciler.cli.looking import format_option
from reconciler.cli.settings import global_options, settings_of

MOST_CONTEXT = 2**30
MOST_PARALLEL = 1024


def _build(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    found = re.fullmatch(r"b?(\d{1,9})", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not a build of llama.cpp; write it as b11434")
    return int(found[1])


@click.command("check")
@click.argument("file", metavar="FILE.gguf", type=click.Path(path_type=Path))
@click.option(
    "--context",
    "context_length",
    type=click.IntRange(1, MOST_CONTEXT),
    help="Tokens that one request may use. Default: what the model was trained for, as llama-server takes it.",
)
@click.option(
    "--parallel",
    type=click.IntRange(1, MOST_PARALLEL),
    help="Requests at a time, each with a stream of --context cells of its own: llama.cpp's -c is the product. "
    "Default: llama-server's automatic choice, 4 slots that share one stream of --context cells.",
)
@click.option(
    "--kv-cache", "cache", metavar="T", default="f16", show_default=True, help="Type of the KV cache; KEYS/VALUES where they differ."
)
@click.option("--flash-attention", type=click.Choice(["on", "off"]), default="on", show_default=True, help="As the engine runs it.")
@click.option("--batch", type=click.IntRange(1, 2**16), default=512, show_default=True, help="Tokens of one pass: llama.cpp's -ub.")
@click.option("--engine-build", callback=_build, metavar="B", help="llama.cpp's build, such as b11434; others get a wider interval.")
@format_option
@global_options
@click.pass_context
def command(
    context: click.Context,
    file: Path,
    context_length: int | None,
    parallel: int | None,
    cache: str,
    flash_attention: str,
    batch: int,
    engine_build: int | None,
    format_: str,
) -> None:
    """Show how many bytes a model will take on a card, by term. Needs no fleet."""
    from reconciler.gguf import read_model
    from reconciler.views import need_json, need_text
    from reconciler.vram import CACHE_TYPES, REFERENCE_BUILD, RunSettings, UnknownLayout, geometry_of, predict

    settings = settings_of(context)
    keys, _, values = cache.lower().partition("/")
    if keys not in CACHE_TYPES or (values or keys) not in CACHE_TYPES:
        raise click.BadParameter(f"{cache!r} is not a cache type; known are {', '.join(CACHE_TYPES)}", param_hint="--kv-cache")
    path = settings.path(file)
    model = read_model(path)
    try:
        geometry = geometry_of(model.header)
        run = RunSettings(
            context=context_length or geometry.context,
            parallel=parallel,
            key_type=CACHE_TYPES[keys],
            value_type=CACHE_TYPES[values or keys],
            flash_attention=flash_attention == "on",
            ubatch=batch,
            build=engine_build or REFERENCE_BUILD,
        )
        if run.value_type.quantised and not run.flash_attention:
            raise UnknownLayout.of("llama.cpp quantises the values of its cache only with flash attention", hint="use --flash-attention on")
        prediction = predict(geometry, run)
    except UnknownLayout as error:
        raise UnknownLayout.of(error.problems[0].what, str(path), error.problems[0].hint) from None
    if format_ == "json":
        click.echo(need_json(str(file), geometry, run, prediction), nl=False)
    else:
        click.echo(need_text(str(file), geometry, run, prediction, colour=settings.colour(), width=settings.width()), nl=False)
