"""Payments for work, as probabilistic micropayments count them: tickets of which only some win, in wei."""

from __future__ import annotations

from reconciler.fleet.secret_refs import SecretRef
from reconciler.value_class import value_class


@value_class
class Payments:
    """`policy.service.livepeer`. `secret` is what a webhook is signed with; prices in wei, None where not set. `max_face_value` 0 is no
    cap."""

    secret: SecretRef
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
