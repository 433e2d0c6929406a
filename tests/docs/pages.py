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
_BLOCK = re.compile(
    r"^## (?P<section>[^\n]*)$|^(?:<!-- not run: (?P<reason>[^\n]*) -->\n+)?```(?P<language>\w*)\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
SHELL = ("console", "sh", "bash", "shell")
IN_LINE = re.compile(r"(?<!`)`(gpurec [^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """`section` is the heading that it stands under, `reason` why no test types it (`<!-- not run: REASON -->` right before it)."""

    language: str
    text: str
    section: str = ""
    reason: str | None = None

    @property
    def file(self) -> tuple[str, str] | None:
        """A block whose first line is `# PATH` is a file: its path and its text."""
        first, _, rest = self.text.partition("\n")
        return (first[2:], rest) if self.language == "yaml" and re.fullmatch(r"# [\w./-]+\.ya?ml", first) else None

    @property
    def is_shell(self) -> bool:
        return self.language in SHELL

    def commands(self) -> Iterator[tuple[str, list[str]]]:
        """Each command, and the lines that the page shows after it: of a console block what follows `$ `, of a script each line."""
        if self.language == "console":
            for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
                command, *shown = part.rstrip("\n").split("\n")
                yield command, [line for line in shown if line.strip()]
        elif self.is_shell:
            for line in self.text.replace("\\\n", " ").splitlines():
                yield line, []


def blocks(page: Path) -> list[Block]:
    found, section = [], ""
    for match in _BLOCK.finditer(page.read_text()):
        if match["section"] is not None:
            section = match["section"]
        else:
            found.append(Block(match["language"], match["text"], section, match["reason"]))
    return found


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
