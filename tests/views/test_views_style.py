"""Rows in columns: within the width that there is, with every word, and with no name broken."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.views.escape import cells
from reconciler.views.style import Cell, Style, columns, table

WORD = st.text("abcdefgh", min_size=1, max_size=20)
NAME = st.one_of(st.just(""), WORD, st.lists(WORD, min_size=1, max_size=3).map(" ".join))
SENTENCE = st.lists(WORD, min_size=1, max_size=20).map(" ".join)
NAME_CELL = st.builds(Cell, NAME, right=st.booleans())
SENTENCE_CELL = st.builds(Cell, SENTENCE, sentence=st.just(True))
ROWS = st.lists(st.tuples(NAME_CELL.filter(lambda cell: cell.text), NAME_CELL, st.one_of(NAME_CELL, SENTENCE_CELL), NAME_CELL), max_size=6)


@given(ROWS, st.integers(60, 140))
def test_a_line_is_no_wider_than_the_style_unless_one_name_is(rows: list[tuple[Cell, ...]], width: int) -> None:
    for row, lines in zip(rows, table(rows, Style(width=width)), strict=True):
        names = [" ".join(cell.text.split()) for cell in row if not cell.sentence]
        for line in lines:
            assert cells(line) <= width or " ".join(line.split()) in names


@given(ROWS, st.integers(60, 140))
def test_every_word_of_a_row_is_shown_once_and_only_its_first_line_begins_at_the_left(rows: list[tuple[Cell, ...]], width: int) -> None:
    for row, lines in zip(rows, table(rows, Style(width=width)), strict=True):
        assert sorted(" ".join(lines).split()) == sorted(" ".join(cell.text for cell in row).split())
        assert lines[0].startswith("  ")
        assert all(line.startswith("      ") for line in lines[1:])


@given(ROWS, st.integers(60, 140))
def test_no_name_before_the_last_cell_is_broken(rows: list[tuple[Cell, ...]], width: int) -> None:
    for row, lines in zip(rows, table(rows, Style(width=width)), strict=True):
        for cell in row[:-1]:
            last = not any(after.text for after in row[row.index(cell) + 1 :])
            assert last or cell.sentence or any(cell.text in line for line in lines)


def test_what_does_not_fit_goes_on_below_and_what_fits_stays_lined_up() -> None:
    rows = [
        [Cell("+ load"), Cell("model.a@n/e"), Cell("700 MiB", right=True), Cell("declared"), Cell("is wanted and not loaded")],
        [Cell("+ load"), Cell("model.long-enough@n/e"), Cell("11 GiB", right=True), Cell("declared"), Cell("is wanted and not loaded")],
    ]
    assert columns(rows, Style(width=60)) == [
        "  + load  model.a@n/e            700 MiB  declared",
        "      is wanted and not loaded",
        "  + load  model.long-enough@n/e   11 GiB  declared",
        "      is wanted and not loaded",
    ]


def test_a_sentence_between_others_is_wrapped_in_its_column() -> None:
    rows = [
        [Cell("gpu-a/ollama"), Cell("needs 42.0 GiB > 21.5 GiB usable", sentence=True), Cell("(too_large)")],
        [
            Cell("gpu-b/router"),
            Cell("the model is not installed there, and this engine cannot pull", sentence=True),
            Cell("(not_installed)"),
        ],
    ]
    assert columns(rows, Style(width=70)) == [
        "  gpu-a/ollama  needs 42.0 GiB > 21.5 GiB usable       (too_large)",
        "  gpu-b/router  the model is not installed there, and  (not_installed)",
        "                this engine cannot pull",
    ]
