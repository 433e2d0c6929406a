"""`when:` of a model: the room that it asks for before it comes, the hours and the days on which it is wanted."""

from __future__ import annotations

import re
from datetime import UTC, tzinfo

from reconciler.fleet import DAYS, WHOLE_DAY, Hours, UnitError, When, parse_bytes
from reconciler.workspace.forms import MOST_BYTES, Form, scalar, shortened, text
from reconciler.workspace.problems import Problems, did_you_mean, nearest
from reconciler.workspace.table import Field, Table
from reconciler.workspace.tree import Node

_ROOM = re.compile(r"(>=|>)?\s*(\S.*)")
_WINDOW = re.compile(r"([0-9]{1,2}):([0-9]{2})\s*-\s*([0-9]{1,2}):([0-9]{2})(?:\s+(\S+))?")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]*")
_ROOM_SCHEMA = {"type": ["string", "integer"], "description": ">10GB"}


def _free_vram(node: Node, problems: Problems, name: str) -> int:
    found = scalar(node, problems, name, "a size, such as '>10GB'")
    match = _ROOM.fullmatch(found.text.strip()) if not isinstance(found.value, bool) and len(found.text) < 100 else None
    hint = "write it as '>10GB', or '>=10GiB'; a bare size means at least that"
    if match is None:
        raise problems.refuse(f"{name}: {shortened(found.text)} is no bound of free memory", node, hint)
    try:
        count = parse_bytes(match.group(2)) + (match.group(1) == ">")
    except UnitError as error:
        raise problems.refuse(f"{name}: {error.args[0]}", node, hint) from None
    if not 0 < count <= MOST_BYTES:
        raise problems.refuse(f"{name}: {shortened(found.text)} is no bound of free memory", node, hint)
    return count


def _hours(node: Node, problems: Problems, name: str) -> tuple[int, int, str | None]:
    """First and last minute of a day, and the zone that is named."""
    word = text.read(node, problems, name)
    match = _WINDOW.fullmatch(word.strip())
    hint = "write it as '08:00-18:00 Europe/Berlin'; '22:00-06:00' goes over midnight, and without a zone it is UTC"
    if match is None:
        raise problems.refuse(f"{name}: {shortened(word)} is no window of time", node, hint)
    numbers = [int(part) for part in match.groups()[:4]]
    start, end = numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3]
    if numbers[1] > 59 or numbers[3] > 59 or start >= WHOLE_DAY or end > WHOLE_DAY:
        raise problems.refuse(f"{name}: {shortened(word)} is no window of time", node, "hours go from 00:00 to 24:00")
    if start == end:
        raise problems.refuse(f"{name}: {shortened(word)} begins and ends at one time", node, "write '00:00-24:00' for the whole day")
    return start, end, match.group(5)


def _days(node: Node, problems: Problems, name: str) -> tuple[frozenset[int], str | None]:
    """The days of the week, 0 for Monday, and the zone that is named."""
    word = text.read(node, problems, name)
    days, _, zone = word.strip().replace(", ", ",").rpartition(" ")
    if not days or not _ZONE.fullmatch(zone):
        days, zone = word.strip(), ""
    found: set[int] = set()
    for part in days.lower().split(","):
        ends = [DAYS.index(_day(one.strip(), node, problems, name)) for one in part.split("-", 1)]
        first, last = ends[0], ends[-1]
        found |= {day % 7 for day in range(first, last + 1 + (7 if last < first else 0))}
    return frozenset(found), zone or None


def _day(word: str, node: Node, problems: Problems, name: str) -> str:
    if word not in DAYS:
        raise problems.refuse(f"{name}: {shortened(word)} is no day of the week", node, did_you_mean(word, DAYS))
    return word


def _zone(word: str, node: Node, problems: Problems, name: str) -> tzinfo:
    if word == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, available_timezones

    try:
        return ZoneInfo(word)
    except (KeyError, ValueError, OSError):
        known = available_timezones()
    if not known:
        what, hint = f"{name}: this machine has no list of time zones to look {word!r} up in", "install one: pip install tzdata"
        raise problems.refuse(what, node, hint)
    near = nearest(word, known)
    hint = "write one such as Europe/Berlin" if near is None else f"did you mean {near!r}?"
    raise problems.refuse(f"{name}: {shortened(word)} is no time zone", node, hint)


FREE_VRAM = Field(
    "free_vram",
    Form(_free_vram, _ROOM_SCHEMA),
    says="It is placed only where a card has so much room.",
    meant="vram min_free_vram free min_vram",
)
HOURS = Field(
    "hours",
    Form(_hours, {"type": "string", "description": "08:00-18:00 Europe/Berlin"}),
    says="The hours at which it is wanted; without a zone in UTC.",
    meant="time window between schedule",
)
WEEKDAYS = Field(
    "days", Form(_days, {"type": "string", "description": "mon-fri"}), says="The days on which it is wanted.", meant="weekdays day"
)
WHEN = Table("when", (FREE_VRAM, HOURS, WEEKDAYS))


def _when(node: Node, problems: Problems, name: str) -> When:
    values = WHEN.read(node, problems, name)
    window, weekdays = values.get(HOURS), values.get(WEEKDAYS)
    if window is None and weekdays is None:
        return When(values.get(FREE_VRAM))
    start, end, clock = window or (0, WHOLE_DAY, None)
    days, other = weekdays or (frozenset(range(7)), None)
    if clock is not None and other is not None and clock != other:
        raise problems.refuse(f"{name} names two time zones, {clock} and {other}", values.nodes[WEEKDAYS.key], "keep one of the two")
    word = clock or other or "UTC"
    zone = _zone(word, values.nodes[HOURS.key if clock is not None or weekdays is None else WEEKDAYS.key], problems, name)
    return When(values.get(FREE_VRAM), Hours(start, end, days, zone, _shown(start, end, days, word)))


def _shown(start: int, end: int, days: frozenset[int], zone: str) -> str:
    window = f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
    return f"{_shown_days(days)}{window} {zone}"


def _shown_days(days: frozenset[int]) -> str:
    if len(days) == len(DAYS):
        return ""
    first = next(day for day in range(7) if day in days and (day - 1) % 7 not in days)
    run = [(first + number) % 7 for number in range(len(days))]
    if len(run) > 2 and set(run) == days:
        return f"{DAYS[run[0]]}-{DAYS[run[-1]]} "
    return ",".join(DAYS[day] for day in sorted(days)) + " "


when = Form(_when, WHEN.schema())
