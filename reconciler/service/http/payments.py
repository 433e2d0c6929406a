"""What work is paid with: the settings of the files, and tickets that a payment service tells of by a signed webhook."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable
from fractions import Fraction

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from reconciler.fleet import LockHeld, StateError, Ticket, TicketKept, Tickets
from reconciler.operations import clock
from reconciler.operations.settings import WorkspaceSettings
from reconciler.operations.workspace import may_make_folder, state_of
from reconciler.service.http.access import Tokens
from reconciler.service.http.bodies import object_of, raw_body, text_of
from reconciler.service.watch import Watch
from reconciler.workspace import Workspace

HEADER = "X-Signature-256"
OLDEST = 300
"""Seconds that a webhook may be old, or early."""
MOST_DIGITS = 78
"""Of a number of wei: what 256 bits hold."""
_PREFIX = "sha256="


def signature_of(secret: bytes, body: bytes) -> str:
    """The header of a body: HMAC-SHA256 of it as it is sent, in hexadecimal digits after `sha256=`."""
    return _PREFIX + hmac.new(secret, body, hashlib.sha256).hexdigest()


class PaymentHandlers:
    """The handlers over one loop. `tokens` gives the secrets of now."""

    def __init__(self, watch: Watch, settings: WorkspaceSettings, tokens: Callable[[], Tokens]) -> None:
        self._watch, self._settings, self._tokens = watch, settings, tokens

    async def stats(self, request: Request) -> Response:
        files = self._files()
        set_ = files.desired.policy.service.livepeer
        found = await asyncio.to_thread(_tickets, self._settings, files)
        return JSONResponse(
            {
                "settings": {
                    "price_per_unit": None if set_ is None else set_.price_per_unit,
                    "ticket_ev": None if set_ is None else set_.ticket_ev,
                    "max_face_value": None if set_ is None else set_.max_face_value,
                },
                "tickets": {"count": found.count, "face_value_wei": found.face_value, "expected_value_wei": found.expected_value},
            }
        )

    async def ticket(self, request: Request) -> Response:
        """A ticket counts once, however often it comes."""
        secret, files = self._tokens().livepeer, self._files()
        if secret is None:
            raise HTTPException(404, "no ticket is taken here: policy.service.livepeer has no `secret` that it is signed with")
        body = await raw_body(request)
        sent = request.headers.get(HEADER, "")
        if not hmac.compare_digest(signature_of(secret, body).encode(), sent.encode("utf-8", "replace")):
            raise HTTPException(401, f"{HEADER} is not the signature of this body")
        ticket = _ticket(object_of(body, {"id", "face_value", "win_probability", "timestamp"}, {"sender"}))
        try:
            kept = await asyncio.to_thread(_record, self._settings, files, ticket)
        except (LockHeld, StateError) as error:  # neither in the state nor beside it
            raise HTTPException(503, f"the ticket cannot be kept: {error.problems[0].sentence()}", {"Retry-After": "10"}) from None
        return JSONResponse({"id": ticket.id, "status": kept.value}, 202 if kept is TicketKept.WAITING else 200)

    def _files(self) -> Workspace:
        if self._watch.workspace is None:
            raise HTTPException(503, "the files were not read yet", {"Retry-After": "5"})
        return self._watch.workspace


def _ticket(found: dict[str, object]) -> Ticket:
    at = found["timestamp"]
    if not isinstance(at, int) or isinstance(at, bool) or abs(int(time.time()) - at) > OLDEST:
        raise HTTPException(400, f"timestamp is in seconds since 1970, and not older than {OLDEST} seconds")
    sender = None if found.get("sender") is None else text_of(found, "sender")
    face, share = _wei(found["face_value"]), _share(found["win_probability"])
    return Ticket(text_of(found, "id"), sender, face, int(face * share), clock.now())


def _wei(value: object) -> int:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS):
        raise HTTPException(400, f"face_value is a whole number of wei, of at most {MOST_DIGITS} digits")
    return int(text)


def _share(value: object) -> Fraction:
    """Exactly what is written: 0.1 is a tenth."""
    text = str(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else ""
    try:
        found = Fraction(text) if len(text) <= MOST_DIGITS and "e" not in text.lower() else Fraction(repr(float(text)))
    except (ValueError, ZeroDivisionError, OverflowError):
        found = Fraction(-1)
    if not 0 <= found <= 1:
        raise HTTPException(400, "win_probability is a number from 0 to 1")
    return found


def _record(settings: WorkspaceSettings, files: Workspace, ticket: Ticket) -> TicketKept:
    store = state_of(settings, files)
    return store.record_ticket(ticket, fleet=files.name, new_folder=may_make_folder(settings, store))


def _tickets(settings: WorkspaceSettings, files: Workspace) -> Tickets:
    return state_of(settings, files).tickets()
