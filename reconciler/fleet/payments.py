"""Payments for work, as probabilistic micropayments count them: tickets of which only some win, in wei."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from reconciler.fleet.secret_refs import SecretRef
from reconciler.value_class import value_class


@value_class
class Payments:
    """`policy.service.livepeer`. `secret` is what a webhook is signed with, None where there is none; prices in wei, None where not set.
    `max_face_value` 0 is no cap."""

    secret: SecretRef | None = None
    price_per_unit: int | None = None
    ticket_ev: int | None = None
    max_face_value: int | None = None


@value_class
class Ticket:
    """One ticket that came. `expected_value` is its face value times the probability that it wins, rounded down; both in wei. `at` is ISO
    8601 UTC."""

    id: str
    sender: str | None
    face_value: int
    expected_value: int
    at: str


@value_class
class Tickets:
    """How many there are, and their sums in wei."""

    count: int = 0
    face_value: int = 0
    expected_value: int = 0

    @classmethod
    def of(cls, tickets: Collection[Ticket]) -> Tickets:
        return cls(len(tickets), sum(one.face_value for one in tickets), sum(one.expected_value for one in tickets))

    def plus(self, other: Tickets) -> Tickets:
        return Tickets(self.count + other.count, self.face_value + other.face_value, self.expected_value + other.expected_value)


class TicketKept(StrEnum):
    """What came of a ticket: it counts from now on, it counted before, or it counts and waits beside a state that cannot take it now."""

    RECORDED = "recorded"
    KNOWN = "known"
    WAITING = "waiting"
