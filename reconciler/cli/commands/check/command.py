"""`gpurec check`: its options, and which of the three commands its argument means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from reconciler.cli import completion
from reconciler.cli.commands.check.checkpoint import VllmOptions, check_checkpoint, is_checkpoint
from reconciler.cli.commands.check.companions import NAMES as BESIDE
from reconciler.cli.commands.check.companions import beside_options, drafts_itself
from reconciler.cli.commands.check.file import check_file
from reconciler.cli.commands.check.run_options import CheckOptions
from reconciler.cli.global_options import global_options
from reconciler.cli.options import facts_options, format_option
from reconciler.cli.settings import settings_of

MOST_CONTEXT = 2**30
MOST_PARALLEL = 1024
MOST_DRAFTED = 64
MTP_DEFAULT = 3
"""llama-server's own `--spec-draft-n-max`."""


def _size(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    from reconciler.fleet import UnitError, parse_bytes

    try:
        found = parse_bytes(value)
    except UnitError as error:
        raise click.BadParameter(f"{error.args[0]}; {error.hint}") from None
    if not 0 < found < 2**63:
        raise click.BadParameter(f"{value!r} is not a size of a card")
    return found


def _share(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Above 0 and up to 1, as `0.9` or `90%`; `nan` is no number."""
    if value is None:
        return None
    from reconciler.fleet import UnitError, parse_ratio

    try:
        found = float(parse_ratio(value))
    except UnitError as error:
        raise click.BadParameter(f"{error.args[0]}; {error.hint}") from None
    if not found:
        raise click.BadParameter("0 leaves nothing; write a share such as 0.9")
    return found


def _build(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    found = re.fullmatch(r"b?(\d{1,9})", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not a build of llama.cpp; write it as b11434")
    return int(found[1])


@click.command("check")
@click.argument("what", metavar="MODEL|FILE.gguf|URL|DIR", shell_complete=completion.models)
@click.option(
    "--context",
    "context_length",
    type=click.IntRange(1, MOST_CONTEXT),
    help="Tokens that one request may use. Default: of a file what it was trained for, as llama-server takes it; of a model as wanted.",
)
@click.option(
    "--parallel",
    type=click.IntRange(1, MOST_PARALLEL),
    help="Requests at a time, each with a stream of --context cells of its own: llama.cpp's -c is the product. "
    "Default: of a file llama-server's automatic choice, 4 slots that share one stream of --context cells; of a model its engine's.",
)
@click.option(
    "--kv-cache",
    "cache",
    metavar="T",
    default="f16",
    help="Type of the KV cache; KEYS/VALUES where they differ. Default: of a file f16, of a model as its engine has it.",
)
@click.option(
    "--flash-attention",
    type=click.Choice(["on", "off"]),
    default="on",
    help="Default: of a file on, of a model as its engine runs it.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 2**16),
    default=512,
    help="Tokens of one pass: llama.cpp's -ub. Default: of a file 512, of a model as its engine chooses.",
)
@click.option("--engine-build", callback=_build, metavar="B", help="llama.cpp's build, such as b11434; others get a wider interval.")
@click.option(
    "--mtp",
    "drafted",
    type=click.IntRange(1, MOST_DRAFTED),
    metavar="N",
    help="Tokens that the file's own head (nextn_predict_layers) drafts at a time: llama-server's --spec-type draft-mtp with "
    "--spec-draft-n-max. Default: it drafts none.",
)
@click.option(
    "--backend",
    type=click.Choice(["cuda", "rocm", "vulkan", "metal", "sycl"]),
    help="What drives the cards: Vulkan runs the graph in an order of its own. Default: the order of the graph, as CUDA and ROCm run it.",
)
@click.option(
    "--fit-context",
    is_flag=True,
    help="The largest context that fits, with --context the most requests at a time (--parallel): of a file into --vram bytes, of a "
    "model on each engine into what its cards have free.",
)
@click.option("--vram", callback=_size, metavar="SIZE", help="What a card may give, such as 7GiB; of a DIR its whole size.")
@click.option("--tensor-parallel", type=click.IntRange(1, 1024), help="Of a DIR: cards that vLLM splits it over.")
@click.option(
    "--gpu-memory-utilization",
    "utilization",
    callback=_share,
    metavar="SHARE",
    help="Of a DIR: the share of --vram that vLLM reserves. Default: 0.92, as vLLM's.",
)
@beside_options
@facts_options
@format_option
@global_options
@click.pass_context
def command(
    context: click.Context,
    what: str,
    context_length: int | None,
    parallel: int | None,
    cache: str,
    flash_attention: str,
    batch: int,
    engine_build: int | None,
    drafted: int | None,
    backend: str | None,
    fit_context: bool,
    vram: int | None,
    tensor_parallel: int | None,
    utilization: float | None,
    mmproj: str | None,
    lora: tuple[str, ...],
    draft: str | None,
    refresh: bool,
    assume: Path | None,
    format_: str,
) -> int:
    """Show how many bytes a model file will take on a card, by term, without any node; or which cards of the fleet hold MODEL (wanted,
    installed, or in the catalogue), and what it takes on each of them by term. Of a file behind an http(s) URL only the header is fetched.
    Of a DIR with a config.json (or that file), what must fit into vLLM's reservation. Of MODEL, exit 4 when an engine cannot be reached."""
    settings = settings_of(context)
    if is_checkpoint(what, settings.path(Path(what))):
        not_of_vllm = ("parallel", "flash_attention", "engine_build", "drafted", "backend", "fit_context", "refresh", "assume", *BESIDE)
        _refuse_given(context, not_of_vllm, "a checkpoint is run by vLLM, without any node")
        given = {name: context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in ("cache", "batch")}
        cache, tokens = cache if given["cache"] else "auto", batch if given["batch"] else None
        check_checkpoint(settings, what, VllmOptions(context_length, cache, tokens, tensor_parallel or 1, utilization, vram), format_)
        return 0
    _refuse_given(context, ("tensor_parallel", "utilization"), "only a checkpoint's folder is run by vLLM")
    file = Path(what)
    remote = re.match(r"https?://", what) is not None
    if "://" in what and not remote:
        raise click.UsageError("a model file is read from a path, or behind a URL of http or https")
    if remote or file.suffix.lower() == ".gguf" or settings.path(file).is_file():
        _refuse_given(context, ("refresh", "assume"), "a file asks no node")
        if fit_context != (vram is not None):
            shown = f"gpurec check {what.split('?', 1)[0]} --fit-context --vram 8GiB"
            raise click.UsageError(f"--fit-context and --vram SIZE, what the card may give, go together: {shown}")
        if fit_context and (mmproj is not None or lora or draft is not None):
            raise click.UsageError("--fit-context is of a file alone; take what lies beside it off --vram")
        _refuse_both(fit_context, context_length, parallel)
        if draft is not None and drafts_itself(settings, what, draft):
            draft, drafted = None, drafted or MTP_DEFAULT
        way = CheckOptions(context_length, parallel, cache, flash_attention == "on", batch, engine_build, drafted, backend)
        check_file(settings, what, way, vram, format_, (mmproj, lora, draft))
        return 0
    _refuse_both(fit_context, context_length, parallel)
    if vram is not None and not fit_context:
        raise click.UsageError(
            f"--vram is what --fit-context may fill: gpurec check {what} --fit-context --vram 8GiB; a model is shown with what is free"
        )
    _refuse_given(context, BESIDE, "what lies beside a model is what its engine tells; give a FILE.gguf")
    from reconciler.cli.commands.check.model import check_model
    from reconciler.placement import ContextSearch

    asked = {name for name in ("cache", "flash_attention", "batch") if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    way = CheckOptions(
        context_length,
        parallel,
        cache if "cache" in asked else None,
        flash_attention == "on" if "flash_attention" in asked else None,
        batch if "batch" in asked else None,
        engine_build,
        drafted,
        backend,
    )
    search = ContextSearch(context_length is not None, vram) if fit_context else None
    return check_model(settings, what, way, refresh, assume, format_, search)


def _refuse_both(fit_context: bool, context: int | None, parallel: int | None) -> None:
    if fit_context and context is not None and parallel is not None:
        raise click.UsageError("with both --context and --parallel there is nothing left for --fit-context to find")


def _refuse_given(context: click.Context, names: Sequence[str], why: str) -> None:
    """Refuses options that would be ignored."""
    for parameter in context.command.params:
        if parameter.name in names and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} does not go with this: {why}")
