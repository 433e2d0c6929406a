"""Text that a node says, as one safe line."""

from __future__ import annotations

import re

NAME_LENGTH = 512
TEXT_LENGTH = 300
LONGEST_READ = 64 * TEXT_LENGTH
"""Characters of a message that are looked at: it may be indented or have many blank lines."""
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Controls, bidirectional and other invisible format characters, line separators, surrogates: what could fool a terminal or a reader.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def clean_name(text: str) -> str:
    """A name from a node, safe to show: each unprintable character becomes U+FFFD (so it equals no honest name), at most 512 characters."""
    clean = _UNPRINTABLE.sub(_REPLACEMENT, text[: NAME_LENGTH + 1])
    return clean if len(clean) <= NAME_LENGTH else clean[: NAME_LENGTH - 1] + "…"


def clean_text(text: str) -> str:
    """A message from a node as one safe line of at most 300 characters."""
    clean = _UNPRINTABLE.sub(_REPLACEMENT, " ".join(text[:LONGEST_READ].split()))
    return clean if len(clean) <= TEXT_LENGTH else clean[: TEXT_LENGTH - 1] + "…"
