"""Pages of the docs as what a reader does with them: files to write, commands to type, and what they are shown."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
IN_LINE = re.compile(r"(?<!`)`(gpurec [^`\n]+)`")


@dataclass(frozen=True)
class Block:
    language: str
    text: str

    @property
    def file(self) -> tuple[str, str] | None:
        """A block whose first line is `# PATH` is a file: its path and its text."""
        first, _, rest = self.text.partition("\n")
        return (first[2:], rest) if self.language == "yaml" and re.fullmatch(r"# [\w./-]+\.ya?ml", first) else None

    def commands(self) -> Iterator[tuple[str, list[str]]]:
        """Each command of a console block, and the lines that the page shows after it."""
        if self.language == "console":
            for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
                command, *shown = part.rstrip("\n").split("\n")
                yield command, [line for line in shown if line.strip()]


def blocks(page: Path) -> list[Block]:
    return [Block(found[1], found[2]) for found in FENCE.finditer(page.read_text())]


def named(page: Path) -> Iterator[str]:
    """Every `gpurec …` of a page: in console blocks, in other blocks at the start of a line, and in code spans."""
    for block in blocks(page):
        prompt = r"\$ " if block.language == "console" else r"(?:\s*- |\s*- run: )"
        for line in block.text.splitlines():
            if found := re.match(rf"{prompt}(gpurec .*)", line):
                yield found[1]
    for found in IN_LINE.finditer(FENCE.sub("", page.read_text())):
        yield found[1].replace("\\|", "|")


def words(command: str) -> list[str]:
    """The words of a command up to a comment, a pipe or a redirection."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|>&;()")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    found: list[str] = []
    for word in lexer:
        if set(word) <= set("|>&;()") and word:
            break
        found.append(word)
    return found
