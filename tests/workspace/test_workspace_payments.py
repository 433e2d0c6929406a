"""`policy.service.livepeer`: prices in wei, as go-livepeer's tickets have them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.workspace import Workspace

Load = Callable[..., Workspace]
Sentences = Callable[..., list[str]]

WANTED = "version: 1\npolicy:\n  service:\n    livepeer: {{secret: env:HOOK, {}}}\n"


def test_prices_are_whole_numbers_of_any_size_and_kept_to_the_last_digit(load: Load) -> None:
    text = WANTED.format(f"price_per_unit: 100000000000000, ticket_ev: {2**200 + 1}, max_face_value: {2**256 - 1}")
    paid = load(desired=text).desired.policy.service.livepeer
    assert paid is not None
    assert (paid.price_per_unit, paid.ticket_ev, paid.max_face_value) == (10**14, 2**200 + 1, 2**256 - 1)


@pytest.mark.parametrize(
    "prices",
    [
        "ticket_ev: 0",
        "ticket_ev: 5, max_face_value: 5",
        "ticket_ev: 6, max_face_value: 5",
        "ticket_ev: 1.5",
        "max_face_value: -1",
        f"price_per_unit: {2**63}",
    ],
)
def test_a_ticket_that_wins_always_or_never_is_refused(problems: Sentences, prices: str) -> None:
    assert problems(desired=WANTED.format(prices))


@pytest.mark.parametrize(
    ("prices", "told"),
    [
        (f"price_per_unit: {2**63}", "must be a whole number from 0 to 2^63 - 1"),
        (f"ticket_ev: {2**256}", "must be a whole number from 0 to 2^256 - 1"),
        ("max_face_value: 1e15", "write 1000000000000000"),
        ("max_face_value: '1000000000000000'", "write 1000000000000000"),
    ],
)
def test_a_price_that_is_refused_is_told_its_bound_or_how_to_write_it(problems: Sentences, prices: str, told: str) -> None:
    assert told in "".join(problems(desired=WANTED.format(prices)))


@pytest.mark.parametrize(
    ("prices", "told"),
    [
        ("ticket_ev: 29000000000000, max_face_value: 1000000000000000", "gateways refuse tickets worth more than 3000000000000 wei"),
        ("ticket_ev: 3000000000001, max_face_value: 0", "unless their -maxTicketEV says more"),
        ("price_per_unit: 0", "work is free"),
        ("ticket_ev: 29000000, max_face_value: 30000000", "to redeem it costs about 12000000000000 wei or more"),
        ("price_per_unit: 2000001, ticket_ev: 2000", "one unit of work is paid with 1000 tickets"),
    ],
)
def test_what_only_some_gateways_take_is_a_warning(load: Load, prices: str, told: str) -> None:
    (warning,) = load(desired=WANTED.format(prices)).warnings
    assert told in warning.sentence()


def test_prices_need_no_webhook(load: Load) -> None:
    found = load(desired="version: 1\npolicy: {service: {livepeer: {price_per_unit: 1, ticket_ev: 7, max_face_value: 0}}}\n")
    paid = found.desired.policy.service.livepeer
    assert paid is not None
    assert (paid.secret, paid.price_per_unit, found.warnings) == (None, 1, ())


def test_what_all_gateways_take_is_told_by_nobody(load: Load) -> None:
    assert load(desired=WANTED.format("ticket_ev: 3000000000000, max_face_value: 0, price_per_unit: 1")).warnings == ()
