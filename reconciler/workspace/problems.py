"""Everything that is wrong with a set of files, gathered so that all of it can be told at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Protocol

from reconciler.fleet import Place, Problem, WorkspaceError

MOST_SHOWN = 200


class Placed(Protocol):
    """Anything that stands at a position of a file."""

    @property
    def place(self) -> Place: ...


class Refused(Exception):
    """A value that was reported and cannot be used; the reader of the next larger thing goes on without it."""


class Problems:
    """Errors and warnings, each once (a wrong group variable is one error, not one a host)."""

    def __init__(self) -> None:
        self._errors: dict[Problem, None] = {}
        self._warnings: dict[Problem, None] = {}

    def error(self, what: str, at: Placed | Place | None = None, hint: str | None = None) -> None:
        self._errors[Problem(what, _place(at), hint)] = None

    def refuse(self, what: str, at: Placed | Place | None = None, hint: str | None = None) -> Refused:
        """Reports an error and returns the exception that leaves the reading of this value."""
        self.error(what, at, hint)
        return Refused()

    def warn(self, what: str, at: Placed | Place | None = None, hint: str | None = None) -> None:
        self._warnings[Problem(what, _place(at), hint)] = None

    def add(self, others: Problems) -> None:
        """Takes over what was found of a part of the files."""
        self._errors |= others._errors
        self._warnings |= others._warnings

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(sorted(self._warnings, key=_file_order))

    @property
    def any(self) -> bool:
        return bool(self._errors)

    @property
    def errors(self) -> int:
        """How many errors there are so far."""
        return len(self._errors)

    def raise_if_any(self) -> None:
        """Raises a WorkspaceError with every error in file order; beyond `MOST_SHOWN` only their number is told."""
        if not self._errors:
            return
        ordered = sorted(self._errors, key=_file_order)
        shown = ordered[:MOST_SHOWN]
        if len(ordered) > MOST_SHOWN:
            shown.append(Problem(f"{len(ordered) - MOST_SHOWN} more errors are not shown", hint="correct these first"))
        raise WorkspaceError(*shown)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that looks most like `word`, or None when none is close."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """What to do about an unknown word: the nearest known one, else the list of all."""
    words = sorted(known)
    near = nearest(word, words)
    if near is not None:
        return f"did you mean {near!r}?"
    return f"known here: {', '.join(words)}" if words else "take it out: there is nothing else that could stand here"


def _place(at: Placed | Place | None) -> Place | None:
    return at if at is None or isinstance(at, Place) else at.place


def _file_order(problem: Problem) -> tuple[str, int, int, str]:
    where = problem.where or Place("")
    return where.file, where.line or 0, where.column or 0, problem.what
