"""`gpurec check` of a Hugging Face checkpoint: what must fit into a vLLM's reservation, from the config alone."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import click

from reconciler.cli.settings import Settings
from reconciler.value_class import value_class


@value_class
class VllmOptions:
    """How vLLM is to run it, as the options say; None: as vLLM chooses. `vram` is the size of one card."""

    context: int | None
    cache: str
    batch: int | None
    cards: int
    utilization: float | None
    vram: int | None


def is_checkpoint(what: str, path: Path) -> bool:
    """Whether `check` was given a checkpoint: a folder with a config, or a config. A folder that only has the name of a model is none."""
    if path.is_dir():
        return (path / "config.json").is_file() or what.endswith("/") or what.startswith((".", "/"))
    return path.suffix.lower() == ".json" and path.is_file()


def check_checkpoint(settings: Settings, what: str, way: VllmOptions, format_: str) -> None:
    from reconciler.fleet import GpurecError
    from reconciler.huggingface import read_folder
    from reconciler.views import reservation_json, reservation_text
    from reconciler.vram import (
        VLLM_BATCHED_TOKENS,
        VLLM_UTILIZATION,
        UnknownLayout,
        VllmSettings,
        checkpoint_of,
        reservation,
        vllm_need,
    )

    folder = read_folder(settings.path(Path(what)))
    try:
        found = checkpoint_of(folder.config)
        run = VllmSettings(way.context or found.context, way.cards, way.batch or VLLM_BATCHED_TOKENS, way.cache)
        need = vllm_need(found, folder.weight_bytes, run)
    except UnknownLayout as error:
        raise UnknownLayout.of(error.problems[0].what, str(folder.path), error.problems[0].hint) from None
    share = VLLM_UTILIZATION if way.utilization is None else Fraction(str(way.utilization))
    if way.utilization is not None and way.vram is None:
        raise GpurecError.of("--gpu-memory-utilization is a share of a card", None, "give the card's size: --vram 24GiB")
    held = None if way.vram is None else reservation(need, found, run, way.vram, share)
    if format_ == "json":
        click.echo(reservation_json(what, found, run, need, folder.weight_source, held), nl=False)
    else:
        shown = reservation_text(
            what, found, run, need, folder.weight_source, held, colour=settings.colour(), width=settings.width()
        )  # fmt: skip
        click.echo(shown, nl=False)
