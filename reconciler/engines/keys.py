"""Takes the keys of a run out of what comes from outside, however a server writes them back.

The one door: everything that is read from a node goes through here before any of it becomes a value.
"""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator

_HIDDEN = b"(the key)"
_SHORTEST = 8
"""Shorter ones (such as the `ollama` that some clients ask for) are found in honest words too, and would spoil them."""
_PIECE = 64
_WHOLE = 1024
"""A key longer than a piece is looked for in pieces too, so that a part of one is found; one longer than this only so."""
_ROUNDS = 8
"""How often a text may be wrapped into itself: JSON that holds an url that holds JSON."""
_ESCAPED = re.compile(
    rb"\\u00([0-9a-fA-F]{2})|\\x([0-9a-fA-F]{2})|%([0-9a-fA-F]{2})|&#[xX]0{0,4}([0-9a-fA-F]{2});|&#0{0,4}([0-9]{2,3});"
    rb"|\\([/\"'\\])"
)
_NAMED = {b"&amp;": b"&", b"&lt;": b"<", b"&gt;": b">", b"&quot;": b'"', b"&apos;": b"'"}
_SIGNS = (b"\\", b"%", b"&")


class Keys:
    """The keys that a run knows. Found plain, escaped as JSON, URLs and HTML do it (also several times over), in base64 and in hexadecimal
    digits."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._needles: dict[bytes, bytes] = {}
        """What is looked for, the longest first, and as it is with all escapes taken off."""

    def add(self, key: str) -> None:
        """From now on `key` is taken out of all that comes."""
        if key in self._known or len(key) < _SHORTEST:
            return
        self._known.add(key)
        for piece in _pieces(key.encode()):
            self._needles.update({plain: _unescaped(plain) for plain in (piece, *_in_base64(piece), *_in_hex(piece))})
        self._needles = dict(sorted(self._needles.items(), key=lambda one: -len(one[0])))

    def without(self, text: bytes) -> bytes:
        """`text`, each key in it replaced. Where one is written in a way that cannot be cut out of it, nothing of the text is left."""
        if not self._needles:
            return text
        for plain in self._needles:
            if plain in text:
                text = text.replace(plain, _HIDDEN)
        if not any(sign in text for sign in _SIGNS):
            return text
        found = self._within(_unescaped(text))
        if found:
            for plain in found:
                text = _in_any_form(plain).sub(_HIDDEN, text)
            if self._within(_unescaped(text)):
                return _HIDDEN
        return text

    def _within(self, unescaped: bytes) -> list[bytes]:
        return [plain for plain, bare in self._needles.items() if bare in unescaped]


def _pieces(key: bytes) -> Iterator[bytes]:
    if _PIECE < len(key) <= _WHOLE:
        yield key
    for start in range(0, max(1, len(key) - _SHORTEST + 1), _PIECE):
        last = start + _PIECE >= len(key) - _SHORTEST + 1
        yield key[start:] if last else key[start : start + _PIECE]


def _in_base64(key: bytes) -> Iterator[bytes]:
    """What stands in the base64 of any text that holds `key`: by its place in a group of four, without what its neighbours decide."""
    for before, first in ((0, 0), (1, 2), (2, 3)):
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(b"\0" * before + key)[first : (before + len(key)) * 8 // 6]


def _in_hex(key: bytes) -> tuple[bytes, bytes]:
    digits = key.hex().encode()
    return digits, digits.upper()


def _unescaped(text: bytes) -> bytes:
    """The text with its escapes taken off, however often they were put on."""
    for _ in range(_ROUNDS):
        before, text = text, _ESCAPED.sub(_character, _without_names(text))
        if text == before:
            break
    return text


def _without_names(text: bytes) -> bytes:
    if b"&" in text:
        for name, character in _NAMED.items():
            text = text.replace(name, character)
    return text


def _character(found: re.Match[bytes]) -> bytes:
    hexadecimal = found[1] or found[2] or found[3] or found[4]
    if hexadecimal is not None:
        return bytes([int(hexadecimal, 16)])
    if found[5] is not None:
        return bytes([int(found[5])]) if int(found[5]) < 256 else found[0]
    return found[6]


def _in_any_form(key: bytes) -> re.Pattern[bytes]:
    return re.compile(b"".join(_forms(byte) for byte in key))


def _forms(byte: int) -> bytes:
    """A character plain, or with so many backslashes, as `\\u0041`, `%41`, `&#65;`, `&#x41;`."""
    plain, high, low = re.escape(bytes([byte])), *(b"[%c%c]" % (c, c ^ 32) if c > 64 else b"%c" % c for c in b"%02x" % byte)
    digits = high + low
    backslash = rb"(?:\\|(?:%(?:25){0,3}5[cC]))"
    named = next((rb"|&(?:amp;){0,3}" + name[1:] for name, character in _NAMED.items() if character == bytes([byte])), b"")
    return (
        rb"(?:" + backslash + rb"{0,15}(?:u00" + digits + rb"|x" + digits + rb"|%(?:25){0,3}" + digits
        + rb"|&(?:amp;){0,3}#[xX]0{0,4}" + digits + rb";|&(?:amp;){0,3}#0{0,4}%d;" % byte + named + rb"|" + plain + rb"))"
    )  # fmt: skip
