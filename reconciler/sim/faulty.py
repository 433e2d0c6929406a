"""A request that may meet a fault, answered as the fault says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from reconciler.sim.faults import Faults
from reconciler.sim.http import Request, Response, text_response

_HTML = "<!DOCTYPE html>\n<html><head><title>Welcome</title></head><body><h1>It works!</h1></body></html>\n"


async def struck(
    faults: Faults, request: Request, answer: Callable[[], Awaitable[Response]], failure: Callable[[int, str], Response]
) -> Response:
    """What the server's `answer` is, unless a fault is in force. `failure` makes an error in the server's own form."""
    fault = faults.strike_request(request.method, request.path)
    if fault is None:
        return await answer()
    if fault.kind == "slow":
        await asyncio.sleep(fault.seconds)
        return await answer()
    if fault.kind == "cut":
        found = await answer()
        return Response(found.status, found.content_type, found.body, found.headers, cut=True)
    if fault.kind == "garbage":
        return text_response(_HTML, content_type="text/html; charset=utf-8")
    if fault.kind == "huge":
        return Response(body=_endless(fault.size))
    if fault.kind == "redirect":
        return Response(302, "text/html", b"", (("Location", fault.location),))
    if fault.kind == "status":
        return failure(fault.status, fault.text or "simulated failure")
    return Response(drop=True)


async def _endless(size: int) -> AsyncGenerator[bytes, None]:
    block = b" " * 65_536
    yield b'{"models":['
    left = size - 13
    while left > 0:
        yield block[: min(left, len(block))]
        left -= len(block)
    yield b"]}"
