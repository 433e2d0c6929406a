"""Takes the keys of a run out of what comes from outside, however a server writes them back.

The one door: everything that is read from a node goes through here before any of it becomes a value.
"""

from __future__ import annotations

import re
from base64 import b32encode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from sys import byteorder

_HIDDEN = b"(the key)"
_SHORTEST = 8
"""Shorter ones (such as the `ollama` that some clients ask for) are found in honest words too, and would spoil them."""
_PIECE = 64
_WHOLE = 1024
"""A key longer than a piece is looked for in pieces too, so that a part of one is found; one longer than this only so."""
_WORD = 8
_FEW = 64
"""So many are looked for one by one, which is faster than to cut a text into words."""
_ROUNDS = 8
"""How often a text may be wrapped into itself: JSON that holds an url that holds JSON."""
_ESCAPED = re.compile(
    rb"\\u00([0-9a-fA-F]{2})|\\x([0-9a-fA-F]{2})|%([0-9a-fA-F]{2})|&#[xX]0{0,4}([0-9a-fA-F]{2});|&#0{0,4}([0-9]{2,3});"
    rb"|\\([/\"'\\])"
)
_NAMED = {b"&amp;": b"&", b"&lt;": b"<", b"&gt;": b">", b"&quot;": b'"', b"&apos;": b"'"}
_SIGNS = (b"\\", b"%", b"&")


class Keys:
    """The keys that a run knows. Found plain, escaped as JSON, URLs and HTML do it (also several times over), in base64 (also twice over),
    in base32, in hexadecimal digits, in UTF-16 and from back to front."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._needles: _Needles | None = None

    def add(self, key: str) -> None:
        """From now on `key` is taken out of all that comes."""
        if key not in self._known and len(key) >= _SHORTEST:
            self._known.add(key)
            self._needles = None

    def without(self, text: bytes) -> bytes:
        """`text`, each key in it replaced. Where one is written in a way that cannot be cut out of it, nothing of the text is left."""
        if not self._known:
            return text
        if self._needles is None:
            self._needles = _Needles(form for key in self._known for piece in _pieces(key.encode()) for form in _encoded(piece))
        for plain in self._needles.plain.within(text):
            text = text.replace(plain, _HIDDEN)
        if not any(sign in text for sign in _SIGNS):
            return text
        found = self._needles.unescaped.within(_unescaped(text))
        if found:
            for plain in found:
                text = _in_any_form(plain).sub(_HIDDEN, text)
            if self._needles.unescaped.within(_unescaped(text)):
                return _HIDDEN
        return text


class _Needles:
    """What is looked for, and the same with all escapes taken off, each for what it is looked for in."""

    def __init__(self, forms: Iterable[bytes]) -> None:
        every = set(forms)
        self.plain = _Search({plain: plain for plain in every})
        self.unescaped = _Search({_unescaped(plain): plain for plain in every})


class _Search:
    """Which of many texts are in another, in time by the length of that one: of those that are long enough only such are looked for of
    which a word of eight bytes stands in it where words begin."""

    def __init__(self, wanted: Mapping[bytes, bytes]) -> None:
        self._wanted = dict(sorted(wanted.items(), key=lambda one: -len(one[0])))
        self._always: list[bytes] = []
        self._by_word: dict[int, list[bytes]] = {}
        for needle in self._wanted if len(self._wanted) > _FEW else ():
            if len(needle) < 2 * _WORD - 1:
                self._always.append(needle)
                continue
            for start in range(_WORD):
                self._by_word.setdefault(int.from_bytes(needle[start : start + _WORD], byteorder), []).append(needle)

    def within(self, text: bytes) -> list[bytes]:
        """The values of those that are in it, the longest first."""
        return [self._wanted[needle] for needle in self._possible(text) if needle in text]

    def _possible(self, text: bytes) -> Iterable[bytes]:
        if not self._by_word:
            return self._wanted
        words = set(memoryview(text)[: len(text) // _WORD * _WORD].cast("Q"))
        found = {needle for word in words & self._by_word.keys() for needle in self._by_word[word]}
        return sorted((*found, *self._always), key=lambda one: (-len(one), one))


def _pieces(key: bytes) -> Iterator[bytes]:
    if _PIECE < len(key) <= _WHOLE:
        yield key
    for start in range(0, max(1, len(key) - _SHORTEST + 1), _PIECE):
        last = start + _PIECE >= len(key) - _SHORTEST + 1
        yield key[start:] if last else key[start : start + _PIECE]


def _encoded(key: bytes) -> Iterator[bytes]:
    """A key as programs write it by themselves."""
    yield key
    yield key[::-1]
    yield b"\0".join(key[at : at + 1] for at in range(len(key)))  # UTF-16
    yield key.hex().encode()
    yield key.hex().upper().encode()
    for once in _in_groups(key, 3, b64encode, urlsafe_b64encode):
        yield once
        yield from _in_groups(once, 3, b64encode)
    yield from _in_groups(key, 5, b32encode)


def _in_groups(key: bytes, size: int, *encodings: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """What stands in an encoding of any text that holds `key`, of groups of `size` bytes: by its place in a group, without what its
    neighbours decide."""
    bits = 6 if size == 3 else 5
    for before in range(size):
        for encode in encodings:
            yield encode(b"\0" * before + key)[-(-before * 8 // bits) : (before + len(key)) * 8 // bits]


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
