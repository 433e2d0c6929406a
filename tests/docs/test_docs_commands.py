"""No page names a command or an option that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from pages import PAGES, ROOT, named, words

from reconciler.cli.main import cli

READ = [page for page in PAGES if "decisions" not in page.parts]


def problem(command: str) -> str | None:
    """Why gpurec would not take these words; None where it would. What stands for something else (CAPITALS, …) is not judged."""
    try:
        asked = [word for word in words(command)[1:] if word not in ("…", "...")]
    except ValueError:
        return "not words of a shell"
    at: click.Command = cli
    context = click.Context(cli)
    while isinstance(at, click.Group):
        options = at.make_parser(context)
        options.allow_interspersed_args = False
        try:
            _, asked, _ = options.parse_args(asked)
        except click.UsageError as error:
            return error.format_message()
        if not asked or re.fullmatch(r"[A-Z…|]+", asked[0]):
            return None
        name, *asked = asked
        names = name.split("|")
        found = [at.get_command(context, one) for one in names]
        if None in found:
            return f"no command {name!r}"
        at = found[0]  # type: ignore[assignment]
        context = click.Context(at, parent=context, info_name=names[0])
    try:
        at.make_parser(context).parse_args([word for word in asked if not word.startswith("[")])
    except click.UsageError as error:
        return None if "requires an argument" in error.format_message() else error.format_message()
    return None


@pytest.mark.parametrize("page", READ, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_and_option_that_a_page_names_is_there(page: Path) -> None:
    wrong = {command: why for command in named(page) if (why := problem(command)) is not None}
    assert wrong == {}


def test_a_command_and_an_option_that_are_not_there_are_told() -> None:
    assert problem("gpurec plan --out x") is None
    assert problem("gpurec plan --nope") is not None
    assert problem("gpurec plam") == "no command 'plam'"
