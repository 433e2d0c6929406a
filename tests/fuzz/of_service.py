"""What is sent to the service: tickets that are paid, as JSON with values changed and as bytes."""

from __future__ import annotations

import time
from dataclasses import asdict

from drawing import Choices, as_json, changed
from oracle import Surface
from starlette.exceptions import HTTPException

from reconciler.service.http.bodies import object_of
from reconciler.service.http.payments import _ticket

TICKET = {"id": "t-1", "face_value": "1000", "win_probability": 0.25, "sender": "0x1"}


def take_ticket(data: bytes) -> object:
    """A ticket as it is kept, or the sentence of the answer that refuses it."""
    choices = Choices(data)
    body = choices.rest() if choices.below(4) == 0 else as_json(changed({**TICKET, "timestamp": int(time.time())}, choices))
    try:
        ticket = _ticket(object_of(body, {"id", "face_value", "win_probability", "timestamp"}, {"sender"}))
    except HTTPException as error:
        return error.detail
    # Numbers of wei have up to 256 bits; the state keeps them as text.
    return asdict(ticket) | {"face_value": str(ticket.face_value), "expected_value": str(ticket.expected_value)}


def seeds() -> list[bytes]:
    drawn = (bytes([1, 0, place, 7, value]) for place in range(5) for value in range(0, 60, 7))
    return [b"\0" + as_json(TICKET), *drawn]


SURFACES = (Surface("service-ticket", take_ticket, seeds),)
