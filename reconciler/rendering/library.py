"""The templates that come with gpurec, `gpurec:NAME`. Read from the package itself, which is no I/O toward anybody's files."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from reconciler.fleet import EngineKind
from reconciler.rendering.template import Template

PREFIX = "gpurec:"
ENGINES = {"llama-swap": EngineKind.LLAMASWAP, "ollama-override": EngineKind.OLLAMA}
"""The kind of engine that a template is for, of those that are for one kind alone."""
_FOLDER = Path(__file__).with_name("built_in")
_ENDING = ".j2"


@cache
def built_in_names() -> tuple[str, ...]:
    """Their names, sorted."""
    return tuple(sorted(one.name.removesuffix(_ENDING) for one in _FOLDER.iterdir() if one.name.endswith(_ENDING)))


def built_in(name: str) -> Template | None:
    """One of them; None where there is none of that name."""
    if name not in built_in_names():
        return None
    text = (_FOLDER / (name + _ENDING)).read_text("utf-8")
    return Template(PREFIX + name, text)


def summary_of(template: Template) -> str:
    """The first sentence of its first comment."""
    words = " ".join(template.text.partition("{#-")[2].partition("-#}")[0].split())
    return words.partition(". ")[0].rstrip(".")
