"""Text from nodes cannot forge a line, move a cursor or turn a reader's eye."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.views.escape import cells, escape


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("llama3.1:latest", "llama3.1:latest"),
        ("modèle-模型", "modèle-模型"),
        ("a\nb", r"a\x0ab"),
        ("a\r\tb\x00", r"a\x0d\x09b\x00"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u2066b\u2069", r"a\u2066b\u2069"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("line\u2028end\u2029", r"line\u2028end\u2029"),
        ("hard\u00a0space", r"hard\xa0space"),
        ("lone\ud800", r"lone\ud800"),
        ("tag\U000e0041", r"tag\U000e0041"),
    ],
)
def test_unsafe_characters_are_shown_as_their_code(raw: str, shown: str) -> None:
    assert escape(raw) == shown


def test_a_text_too_long_is_cut_with_a_mark() -> None:
    assert escape("x" * 1000, 10) == "x" * 9 + "…"
    assert escape("x" * 10, 10) == "x" * 10


@given(st.text(st.characters(exclude_categories=())))
def test_nothing_unsafe_is_left_and_escaping_twice_changes_nothing(text: str) -> None:
    shown = escape(text, 10_000)
    assert not [c for c in shown if c != " " and unicodedata.category(c)[0] in "CZ"]
    assert len(shown.splitlines()) <= 1
    assert escape(shown, 100_000) == shown


def test_wide_characters_take_two_cells_and_combining_marks_none() -> None:
    assert (cells("abc"), cells("模型"), cells("e\u0301")) == (3, 4, 1)


UNSEEN = (
    0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0x200B, 0x2010), *range(0x202A, 0x202F),
    *range(0x2060, 0x2070), 0x2800, 0x3164, *range(0xFE00, 0xFE10), 0xFEFF, 0xFFA0, *range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4),
    0x1D159,
    *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000),
)  # fmt: skip
"""Every code point that Unicode calls default ignorable (DerivedCoreProperties.txt), and two blanks beside."""


def test_what_shows_nothing_is_escaped_whatever_its_category() -> None:
    assert [f"{code:x}" for code in UNSEEN if not escape(f"a{chr(code)}b").startswith("a\\")] == []


@pytest.mark.parametrize("text", ["Qwen3-8B", "größe", "模型", "한국어", "नमूना", "e\u0301", "☃ █", "x²"])
def test_what_people_write_is_shown_as_it_is(text: str) -> None:
    assert escape(text) == text
