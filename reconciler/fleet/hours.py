"""When in a week something is wanted, by the clock of a time zone. The time is given; the rules of the zone were read with the files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, time, timedelta, tzinfo

from reconciler.value_class import value_class

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WHOLE_DAY = 24 * 60
_MOMENT = timedelta(seconds=1)
_LOOKED_AT = 15
"""Days that are looked at for the next border: a week and its neighbours, whatever a change of the clocks does to one of them."""


@value_class
class Hours:
    """From minute `start` of a day until minute `end`, which is of the next day where it is not after `start` (1440: midnight). `days` are
    those on which it begins, 0 for Monday. `shown` is how files write it.

    Borders are moments: of a time that comes twice the first counts, and one that the clocks skip counts on from before (02:30 is 03:30
    then), so that what lies wholly in a skipped hour does not begin.
    """

    start: int
    end: int
    days: frozenset[int]
    zone: tzinfo
    shown: str

    def holds(self, at: datetime) -> bool:
        """Whether it is wanted at this moment (aware of its zone)."""
        return any(start <= at < end for start, end in self._windows(at))

    def next_border(self, at: datetime) -> datetime | None:
        """When that changes next, in UTC; None: never."""
        borders = {border for start, end in self._windows(at) if start < end for border in (start, end) if border > at}
        return next((border for border in sorted(borders) if self.holds(border) != self.holds(border - _MOMENT)), None)

    def _windows(self, at: datetime) -> Iterator[tuple[datetime, datetime]]:
        first = at.astimezone(self.zone).date() - timedelta(days=2)
        for number in range(_LOOKED_AT):
            day = first + timedelta(days=number)
            if day.weekday() in self.days:
                midnight = datetime.combine(day, time(), self.zone)
                length = self.end if self.end > self.start else self.end + WHOLE_DAY
                yield _moment(midnight, self.start), _moment(midnight, length)


def _moment(midnight: datetime, minutes: int) -> datetime:
    """The clock shows so many minutes after midnight (of the next day, from 1440 on), as a moment."""
    days, minute = divmod(minutes, WHOLE_DAY)
    return (midnight + timedelta(days=days)).replace(hour=minute // 60, minute=minute % 60).astimezone(UTC)


def parse_time(text: str) -> datetime:
    """A time of facts (ISO 8601); without a zone it is UTC. Raises ValueError for what is none."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def first_border(every: Iterable[Hours], at: datetime) -> datetime | None:
    """The next moment at which any of these begins or ends; None: never."""
    return min((border for hours in every if (border := hours.next_border(at)) is not None), default=None)
