"""`gpurec bench`: how fast a resident model is."""

from __future__ import annotations

import click

from reconciler.cli import completion
from reconciler.cli.global_options import global_options
from reconciler.cli.options import format_option
from reconciler.cli.settings import settings_of


@click.command("bench", short_help="Measure how fast a resident model is.")
@click.argument("model", shell_complete=completion.models)
@click.option("--tokens", metavar="N", type=click.IntRange(2, 1024), default=128, show_default=True, help="Tokens to have written.")
@format_option
@global_options
@click.pass_context
def command(context: click.Context, model: str, tokens: int, format_: str) -> None:
    """Have MODEL (a name, or an address such as model.NAME@NODE/ENGINE) write a few tokens where it is resident: time to the first token,
    tokens a second, and how long its load took. It loads and reloads nothing, and ends after three minutes at most."""
    import json

    from reconciler.cli.running import run
    from reconciler.operations.bench import bench_model
    from reconciler.views.bench_text import bench_document, bench_text

    settings = settings_of(context)
    found = run(settings, lambda report: bench_model(settings, model, tokens, report))
    click.echo(json.dumps(bench_document(found), indent=2) if format_ == "json" else bench_text(found), nl=format_ == "json")
