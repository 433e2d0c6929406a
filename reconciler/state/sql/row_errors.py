"""What is wrong with a row that this program did not write, or that somebody changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError

from reconciler.files import what_is_wrong
from reconciler.state.not_as_written import NotAsWritten

NO_VALUE = (ValueError, TypeError, LookupError, OverflowError, RecursionError)
"""What values that are none make their readers raise."""
_LONGEST = 200


class UndecodableRow(Exception):
    """A row of a table that holds something else than this program writes there. `row` is the first of its columns, where it is known."""

    def __init__(self, table: str, why: str, row: str | None = None) -> None:
        super().__init__(f"table {table}{'' if row is None else f', row {row}'}: {why}")
        self.table, self.why = table, why


@contextmanager
def decoding(table: str, row: str | None = None) -> Iterator[None]:
    """Turns whatever values that are none make the block raise into an UndecodableRow."""
    try:
        yield
    except NO_VALUE as error:
        raise UndecodableRow(table, words_of(error), row) from error


def words_of(error: Exception) -> str:
    """What is wrong, on one line, bounded and in words of ours, whatever reader raised it: Python's own tell of its code."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return what_is_wrong(error)[0]
    if isinstance(error, JSONDecodeError):
        return "it is not JSON"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, NotAsWritten):
        return " ".join(str(error).split())[:_LONGEST]
    return "it is not of the form that gpurec writes"
