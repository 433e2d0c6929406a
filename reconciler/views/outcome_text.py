"""What an apply did."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.fleet import format_duration
from reconciler.value_class import value_class
from reconciler.views.style import Cell, Style, beside, bounded, columns, joined, more, plural


@value_class
class StepLine:
    """How one step ended: `status` is `done`, `satisfied`, `failed`, `skipped` or `interrupted`; `reason` says why it is not done."""

    address: str
    action: str
    status: str
    reason: str | None = None


@value_class
class LostLine:
    """A resident that no step was about and that is gone. `ours`: a replica of the plan, else nobody here asked for it."""

    address: str
    message: str
    ours: bool


@value_class
class HeldLine:
    """A replica that is not as wanted and was left alone, and why."""

    address: str
    message: str


_WORDS = (("done", "done"), ("satisfied", "already so"), ("failed", "failed"), ("skipped", "skipped"), ("interrupted", "interrupted"))


def outcome_text(
    results: Sequence[StepLine],
    *,
    seconds: float,
    serial: int | None,
    unplaced: int = 0,
    deferred: int = 0,
    lost: Sequence[LostLine] = (),
    held: Sequence[HeldLine] = (),
    interrupted: bool = False,
    colour: bool = False,
    width: int = 100,
) -> str:
    """The end of an apply: one line a step that did not succeed, then the summary; begins `Apply complete!` when every step is done,
    everything has a place, and nothing of ours was lost meanwhile.

    `interrupted`: somebody asked the run to stop, and not every step was begun or let to its end.
    """
    style = Style(colour, width)
    counts = {status: sum(1 for one in results if one.status == status) for status, _ in _WORDS}
    bad = [one for one in results if one.status not in ("done", "satisfied")]
    shown, left = bounded(bad)
    lines = columns(
        [
            [Cell(f"! {one.status}", "red"), Cell(f"{one.action} {one.address}"), Cell(beside(one.address, one.reason or ""))]
            for one in shown
        ],
        style,
    )
    lines += more(left, style)
    gone, left = bounded(lost)
    lines += columns([[Cell("! lost", "red" if one.ours else "yellow"), Cell(one.address), Cell(one.message)] for one in gone], style)
    lines += more(left, style)
    left_alone, left = bounded(held)
    lines += columns([[Cell("! held", "yellow"), Cell(one.address), Cell(one.message)] for one in left_alone], style)
    lines += more(left, style)
    bad_end = bool(bad) or bool(held) or bool(unplaced) or any(one.ours for one in lost)
    done = ", ".join(f"{counts[status]:,} {word}" for status, word in _WORDS if counts[status] or status == "done")
    failure = "Apply interrupted." if interrupted else "Apply incomplete."
    head = style.paint(failure, "red") if bad_end else style.paint("Apply complete!", "green")
    tail = f" Serial {serial}." if serial is not None else ""
    lines.append(f"{head} {plural(len(results), 'step')}: {done}, in {format_duration(seconds)}.{tail}")
    if unplaced:
        lines.append(f"{plural(unplaced, 'replica has', 'replicas have')} no place; `gpurec plan` says why.")
    if deferred:
        verb = "was" if deferred == 1 else "were"
        lines.append(f"{plural(deferred, 'node, engine or file', 'nodes, engines or files')} could not be reached and {verb} left alone.")
    return joined(lines)
