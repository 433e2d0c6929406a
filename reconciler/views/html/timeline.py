"""Steps over time: a bar a step, from its earliest begin, with lines from what it waits for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from reconciler.fleet import format_duration
from reconciler.planning.plan import Step
from reconciler.planning.schedule import Timed, schedule
from reconciler.views.escape import escape
from reconciler.views.html.elements import Content, Html, tag
from reconciler.views.html.looks import look_of
from reconciler.views.style import bounded, plural

MOST = 150
"""Steps that are drawn."""
_LABEL, _WIDTH, _ROW, _TOP = 380.0, 1000.0, 22.0, 22.0
_TICKS = 5


def timeline_section(steps: Sequence[Step], drawn: Collection[str]) -> Content:
    """All steps in time, of which those with the ids `drawn` have bars."""
    if len(steps) < 2:
        return None
    timed = schedule(steps)
    numbers = {one.step.id: number for number, one in enumerate(timed, 1)}
    shown, _ = bounded([one for one in timed if one.step.id in drawn], MOST)
    left = len(timed) - len(shown)
    whole = max(one.end for one in timed)
    guessed = sum(not one.known for one in timed)
    measured = guessed < len(timed)
    if not measured:
        said = "No such step was measured before, so each is drawn as long as any other: what waits for what, and not how long."
    else:
        said = f"About {format_duration(whole)} if as much as can runs at once."
    if guessed and measured:
        said += f" {plural(guessed, 'step was', 'steps were')} never measured, and drawn paler with the median of the others."
    if left:
        said += f" {plural(left, 'more step is', 'more steps are')} not drawn: those of alike nodes, or beyond the first {MOST}."
    return [
        tag("h2", "Steps over time"),
        tag("p", said, class_="quiet"),
        tag("div", _graph(shown, numbers, whole, measured), class_="scroll", tabindex="0", role="region", aria_label="Steps over time"),
    ]


def _graph(timed: Sequence[Timed], numbers: Mapping[str, int], whole: float, measured: bool) -> Html:
    scale = (_WIDTH - _LABEL - 60) / (whole or 1.0)
    height = _TOP + len(timed) * _ROW + 6
    rows = {one.step.id: number for number, one in enumerate(timed)}
    parts = [*_axis(whole, scale, height)] if measured else []
    for number, one in enumerate(timed):
        parts += [_wait(timed[rows[need]], rows[need], one, number, scale) for need in one.step.needs if need in rows]
    for number, one in enumerate(timed):
        parts.append(_step(one, number, numbers[one.step.id], scale))
    words = plural(len(timed), "step") + (f", about {format_duration(whole)}" if measured else " in their order")
    return tag("svg", *parts, role="img", aria_label=words, width=_WIDTH, height=height, viewBox=f"0 0 {_WIDTH:.0f} {height:.0f}")


def _axis(whole: float, scale: float, height: float) -> list[Html]:
    marks = []
    for tick in range(_TICKS + 1):
        seconds = whole * tick / _TICKS
        at = _LABEL + seconds * scale
        marks.append(tag("line", class_="axis", x1=at, x2=at, y1=_TOP - 4, y2=height))
        marks.append(tag("text", format_duration(seconds), class_="tick", x=at, y=12.0, text_anchor="middle"))
    return marks


def _step(one: Timed, row: int, number: int, scale: float) -> Html:
    top = _TOP + row * _ROW
    label = f"{number}  {one.step.action.value} {one.step.address}"
    short = escape(label, 50)
    took = format_duration(one.end - one.start) if one.known else "time unknown"
    bar = tag(
        "rect",
        class_=f"b-{look_of(one.step.action)}" + ("" if one.known else " guess"),
        x=_LABEL + one.start * scale,
        y=top + 4,
        width=max(3.0, (one.end - one.start) * scale),
        height=_ROW - 8,
        rx=2.0,
    )
    return tag("g", tag("title", f"{label}: {took}"), tag("text", short, x=0.0, y=top + 15), bar)


def _wait(need: Timed, row: int, one: Timed, number: int, scale: float) -> Html:
    """A line from the end of what is waited for down to the begin of what waits."""
    from_x, from_y = _LABEL + need.end * scale, _TOP + row * _ROW + _ROW / 2
    to_x, to_y = _LABEL + one.start * scale, _TOP + number * _ROW + _ROW / 2
    turn = max(from_x, to_x) - 3 if to_x > from_x + 6 else from_x + 3
    return tag("path", class_="wait", d=f"M{from_x:.1f} {from_y:.1f}H{turn:.1f}V{to_y:.1f}H{to_x:.1f}")
