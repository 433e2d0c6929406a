"""Every block of commands in the docs is typed by a test and shows what happens, or says why it is not."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from pages import PAGES, ROOT, SHELL, Block, blocks, words
from readers_settings import NOT_RUN, SETTINGS, box, box_in_use

PROMPT = re.compile(r"^(\$ |gpurec |docker |pip |make )", re.MULTILINE)


def _of_setting(name: str) -> list[Block]:
    page, _, section = name.partition("#")
    return [block for block in blocks(ROOT / page) if not section or block.section == section]


@pytest.mark.parametrize("name", SETTINGS)
def test_what_a_page_shows_is_what_happens(name: str, tmp_path: Path) -> None:
    page = _of_setting(name)
    assert any(block.is_shell and block.reason is None for block in page), "nothing to follow"
    with SETTINGS[name](tmp_path, name.partition("#")[0]) as reader:
        reader.follow(page)


def test_every_block_of_commands_is_followed_or_says_why_not() -> None:
    left_out = []
    for page in PAGES:
        name = page.relative_to(ROOT).as_posix()
        for block in blocks(page):
            if block.is_shell and block.reason is None and not {name, f"{name}#{block.section}"} & SETTINGS.keys():
                left_out.append(f"{name}: {block.text}")
            elif not block.language and PROMPT.search(block.text):
                left_out.append(f"{name}: commands in a block without a language, one of {', '.join(SHELL)}")
    assert left_out == []


def test_no_more_blocks_are_left_out_than_were_agreed() -> None:
    found = Counter(page.relative_to(ROOT).as_posix() for page in PAGES for block in blocks(page) if block.reason is not None)
    assert found == NOT_RUN


@pytest.mark.parametrize("page", NOT_RUN)
def test_a_block_that_is_left_out_names_what_runs_it_instead(page: str) -> None:
    for block in blocks(ROOT / page):
        if block.reason is not None:
            named = re.findall(r"[\w./-]+/[\w.-]+", block.reason)
            assert named, f"{block.reason}: which test does?"
            assert [one for one in named if not (ROOT / one).exists()] == []


def test_a_page_that_shows_what_does_not_happen_is_told(tmp_path: Path) -> None:
    with box(tmp_path, "docs/tutorial.md") as reader:
        with pytest.raises(AssertionError, match="does not show"):
            reader.type("gpurec --version", ["terraform"])
        with pytest.raises(AssertionError):
            reader.type("gpurec plan", [])
        reader.type("gpurec plan # exit status 1", [])


def test_a_box_of_ollama_is_under_gpurec_by_five_commands_and_nothing_to_look_up(tmp_path: Path) -> None:
    """Nothing is written by hand, nothing filled in but the host and its card, and `init` says what comes next."""
    page = blocks(ROOT / "docs/how-to/ollama-box.md")
    commands = [command for block in page for command, _ in block.commands()]
    assert len(commands) <= 5, commands
    assert [block for block in page if block.file is not None] == []
    typed = {word for command in commands for word in words(command)}
    assert typed - {"gpurec", "init", "cd", "plan", "apply", "--host", "--gpu", "--auto-approve"} == {"my-fleet", "gpu-a", "24GiB"}
    with box_in_use(tmp_path, "docs/how-to/ollama-box.md") as reader:
        reader.type(commands[0], [f"Next: {commands[1]} && {commands[2]}"])
