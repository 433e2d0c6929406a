"""The options of `gpurec check FILE.gguf` for what is loaded beside it: --mmproj, --lora, --draft."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from reconciler.cli.settings import Settings

if TYPE_CHECKING:
    from reconciler.vram import Extras, Header, RunSettings

F = TypeVar("F", bound=Callable[..., object])
NAMES = ("mmproj", "lora", "draft")


def beside_options(command: F) -> F:
    """--mmproj, --lora and --draft."""
    for option in (
        click.option(
            "--draft", metavar="FILE", help="Of a file: a draft model that is loaded beside it; the file itself: its own head, as --mtp 3."
        ),
        click.option("--lora", metavar="FILE", multiple=True, help="Of a file: an adapter, as often as there are some."),
        click.option("--mmproj", metavar="FILE", help="Of a file: its projector for images or sound."),
    ):
        command = option(command)
    return command


def drafts_itself(settings: Settings, file: str, draft: str) -> bool:
    """Whether --draft names the model's own file: then its head drafts, and nothing is loaded twice."""
    from pathlib import Path

    if "://" in file or "://" in draft:
        return file == draft
    one, other = settings.path(Path(file)), settings.path(Path(draft))
    return one.exists() and other.exists() and one.samefile(other)


def read_beside(settings: Settings, mmproj: str | None, lora: Sequence[str], draft: str | None, run: RunSettings) -> Extras | None:
    """What the files take beside a model that runs so; None where none was given."""
    if mmproj is None and not lora and draft is None:
        return None
    found = [_alone(settings, name, kind, run) for kind, names in ((0, (mmproj,)), (1, lora), (2, (draft,))) for name in names if name]
    total = found[0]
    for one in found[1:]:
        total = total.plus(one)
    return total


def _alone(settings: Settings, name: str, kind: int, run: RunSettings) -> Extras:
    """What one file takes; an error is told of that file."""
    from reconciler.vram import UnknownLayout, extras_of

    header = _header(settings, name)
    try:
        return extras_of(header if kind == 0 else None, [header] if kind == 1 else [], header if kind == 2 else None, run)
    except UnknownLayout as error:
        raise UnknownLayout.of(error.problems[0].what, name.split("?", 1)[0], error.problems[0].hint) from None


def _header(settings: Settings, name: str) -> Header:
    from pathlib import Path

    from reconciler.gguf import read_model, read_url

    return (read_url(name) if "://" in name else read_model(settings.path(Path(name)))).header
