"""Text that others wrote, made safe to show: names, reasons and sizes from nodes are data and cannot forge a line or drive a terminal."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 300
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
_UNSEEN = re.compile(r"\b(?:FILLER|BLANK|INVISIBLE|INHERENT|NULL NOTEHEAD|VARIATION SELECTOR|GRAPHEME JOINER)\b")
"""In a character's name: what shows nothing, though its category is that of a letter, a mark or a symbol (Unicode's other default ignorable
code points, and blanks)."""


def _is_seen(character: str) -> bool:
    category = unicodedata.category(character)
    return category not in _UNSAFE and (category[0] not in "LMS" or _UNSEEN.search(unicodedata.name(character, "")) is None)


def _shown(character: str) -> str:
    if character == " " or _is_seen(character):
        return character
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def escape(text: str, longest: int = LONGEST) -> str:
    r"""`text` in one line of at most `longest` characters of its own, each of one cell's meaning.

    Control characters (so also ANSI sequences, tabs and line ends), bidirectional and zero-width marks, unusual spaces, separators, what
    shows nothing (fillers, variation selectors, blanks), lone surrogates and unassigned code points become `\xNN`, `\uNNNN` or
    `\UNNNNNNNN`. What is left over after `longest` becomes `…`.
    """
    if text.isascii() and text.isprintable() and len(text) <= longest:
        return text
    cut = text if len(text) <= longest else text[: longest - 1]
    return "".join(map(_shown, cut)) + ("…" if cut is not text else "")


def cells(text: str) -> int:
    """How many terminal cells an escaped text takes: wide East Asian characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
