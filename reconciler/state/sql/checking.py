"""What is wrong with the rows of a state, whichever database holds them."""

from __future__ import annotations

from itertools import islice

from reconciler.state.finding import StateFinding, StateLevel
from reconciler.state.sql.connection import Connection
from reconciler.state.sql.ranges import numbers_out_of_range
from reconciler.state.sql.rows import undecodable_rows

MOST_TOLD = 20


def check_rows(conn: Connection, restore: str) -> StateFinding:
    """Can every row be read? `restore` says what to do where one cannot."""
    bad = [f"{row}: {why}" for row, why in islice(undecodable_rows(conn), MOST_TOLD)]
    if not bad:
        return StateFinding("rows", StateLevel.OK, "every row can be read")
    count = f"{_so_many(bad)} rows cannot" if len(bad) > 1 else "1 row cannot"
    return StateFinding("rows", StateLevel.ERROR, f"{count} be read: {'; '.join(bad)}", restore)


def check_numbers(conn: Connection, restore: str) -> StateFinding:
    """Can every number be true?"""
    bad = [f"{row}: {what}" for row, what in islice(numbers_out_of_range(conn), MOST_TOLD)]
    if not bad:
        return StateFinding("numbers", StateLevel.OK, "each is in its range")
    count = f"{_so_many(bad)} numbers are" if len(bad) > 1 else "1 number is"
    what = f"{count} out of range, and counted as unknown: {'; '.join(bad)}"
    return StateFinding("numbers", StateLevel.ERROR, what, f"apply, which writes what it sees of replicas and nodes anew; or {restore}")


def _so_many(bad: list[str]) -> str:
    return f"{len(bad)}{' or more' if len(bad) == MOST_TOLD else ''}"
