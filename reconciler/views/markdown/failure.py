"""What a comment says where there is no plan: what is wrong, and where."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.fleet import Problem
from reconciler.views.markdown.budget import Listing, Whole, share
from reconciler.views.markdown.layout import heading, left_out
from reconciler.views.markdown.neutral import code, prose


def failure_markdown(fleet: str, what: str, problems: Sequence[Problem], max_bytes: int) -> str:
    """`what` (a plan, a drift report) of a fleet could not be made, for these reasons, in at most `max_bytes` bytes."""
    head = f"{heading(3)} gpurec {what} for {code(fleet, 64)} failed\n\nNothing is known of what an apply would do.\n\n"
    rows = [Whole(f"- {code(str(one.where), 200) + ': ' if one.where is not None else ''}{_words(one)}\n") for one in problems]
    texts, _ = share([Whole(head), Listing("", rows, left_out("problem"))], max_bytes)
    return "".join(texts).rstrip() + "\n"


def _words(problem: Problem) -> str:
    return prose(problem.what) + (f"; {prose(problem.hint)}" if problem.hint else "")
