r"""Foreign text in markdown: shown as it is, and never more than text.

Every word that could mean something to a forge (a mention, a reference, a link, HTML, emphasis, an emoji, a commit, a ticket) is put into a
code span, in which no forge looks for any of that; plain words and numbers stay prose. What shows nothing or turns the direction of a line
is made visible by `views.escape`, as everywhere.
"""

from __future__ import annotations

import re
from html import escape as escape_html

from reconciler.views.escape import escape
from reconciler.views.style import LONGEST_CELL

_MARKS = "()\"'.,;:!?%"
_PLAIN = re.compile(r"[(\"']?(?:[A-Za-z]+(?:['’-][A-Za-z]+)*|[0-9]+(?:[.,][0-9]+)*[a-z]{0,2})[)\"'.,;:!?%]*")
_COMMIT = re.compile(r"[0-9A-Fa-f]{7,}")
_SIGNS = frozenset({"→", "–", "—", "…", "×", "≥", "≤", "=", "/", "+"})
_OWN_CODE = re.compile(r"(?<![^\s(])`([^`]+)`(?=[\s).,;:]|$)")
"""What our own sentences put into backticks, such as `vram`."""


def code(text: str, longest: int = LONGEST_CELL) -> str:
    r"""A code span, also in a cell of a table. A pipe is shown as `\x7c`: not every forge knows how to escape one inside of a span."""
    shown = escape(text, longest).replace("|", "\\x7c")
    if not shown.strip():
        return "` `" if shown else ""
    ticks = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"


def prose(text: str, longest: int = LONGEST_CELL) -> str:
    """A sentence in which every word that is not plain stands in a code span. One line, never empty at its ends."""
    shown = escape(text, longest)
    parts: list[str] = []
    at = 0
    for own in _OWN_CODE.finditer(shown):
        parts += [*_words(shown[at : own.start()]), code(own.group(1))]
        at = own.end()
    parts += _words(shown[at:])
    return _joined(parts)


def html(text: str, longest: int = LONGEST_CELL) -> str:
    """Inside of HTML, where markdown is not read: a `<code>`, in which no forge looks for mentions."""
    return f"<code>{escape_html(escape(text, longest)).replace('|', '&#124;')}</code>"


def fence_line(text: str) -> str:
    """A line inside of a fence of tildes. None begins with a slash: GitLab and bots take such a line for a command, wherever it stands."""
    shown = escape(text, LONGEST_CELL)
    return f" {shown}" if shown.startswith("/") else shown


def _words(text: str) -> list[str]:
    return [_word(word) for word in re.split(r"( +)", text) if word]


def _word(word: str) -> str:
    if not word.strip() or word in _SIGNS:
        return word
    plain = _PLAIN.fullmatch(word)
    bare = word.strip(_MARKS)
    return word if plain and not _COMMIT.fullmatch(bare) else _with_marks(word)


def _with_marks(word: str) -> str:
    """A word in code, the marks around it outside: `(model.x@y),`."""
    opening = "(" if word.startswith("(") else ""
    middle = word[len(opening) :].rstrip("),.;:")
    closing = word[len(opening) + len(middle) :]
    return f"{opening}{code(middle)}{closing}" if middle else code(word)


def _joined(parts: list[str]) -> str:
    """Spans that touch would be read as one: they are kept apart by a space."""
    text = ""
    for part in parts:
        text += " " + part if text.endswith("`") and part.startswith("`") else part
    return text.strip()
