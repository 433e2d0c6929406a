"""What is wrong with a row that this program did not write, or that somebody changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError

from reconciler.files import what_is_wrong

NO_VALUE = (ValueError, TypeError, LookupError, OverflowError, RecursionError)
"""What values that are none make their readers raise."""
_LONGEST = 200


class UndecodableRow(Exception):
    """A row of a table that holds something else than this program writes there."""

    def __init__(self, table: str, why: str) -> None:
        super().__init__(f"table {table}: {why}")
        self.table, self.why = table, why


@contextmanager
def decoding(table: str) -> Iterator[None]:
    """Turns whatever values that are none make the block raise into an UndecodableRow."""
    try:
        yield
    except NO_VALUE as error:
        raise UndecodableRow(table, words_of(error)) from error


def words_of(error: Exception) -> str:
    """What an exception says, on one line and bounded, and in words of ours where a reader of JSON raised it."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return what_is_wrong(error)[0]
    if isinstance(error, JSONDecodeError):
        return "it is not JSON"
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__
