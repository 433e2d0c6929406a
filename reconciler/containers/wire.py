"""HTTP to one daemon, over a socket file or TCP: each answer bounded in size and time, no redirects, no proxies.

Docker Engine API 1.41 to 1.51: https://docs.docker.com/reference/api/engine/. Errors are `{"message": "…"}`; in a stream that began with
200 they are lines `{"error": "…"}`.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

import httpx
from pydantic import TypeAdapter

from reconciler.containers.answered import read_shape
from reconciler.containers.protocol import ContainerError
from reconciler.engines.answers import clean_text, own_limit, system_reason
from reconciler.engines.keys import Keys
from reconciler.engines.lines import LineTooLong, paced
from reconciler.fleet import MIB, Place, Problem, Unreachable, format_duration
from reconciler.value_class import value_class

SMALL, LARGE = 4 * MIB, 64 * MIB
_LINE = 1 * MIB
_LONGEST_STREAM = 3 * 86400.0
_CHECK_URL = "check the node's docker key"
_OK = frozenset({200, 201, 204, 304})
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "gpurec"}
Shape = TypeVar("Shape")
Params = Mapping[str, str | int | bool]


@value_class
class DaemonAnswer:
    """A whole answer within its bounds."""

    status: int
    body: bytes
    shown: str

    @property
    def message(self) -> str:
        """What the daemon says of an error, safe to show."""
        try:
            document = json.loads(self.body) if len(self.body) <= MIB else None
        except (ValueError, RecursionError):
            document = None
        said = document.get("message") if isinstance(document, dict) else None
        return clean_text(said if isinstance(said, str) else self.body[:4096].decode("utf-8", "replace")) or "no explanation"

    def read(self, adapter: TypeAdapter[Shape]) -> Shape:
        """The answer in its shape. Raises ContainerError `not_its_protocol` or `too_large`."""
        try:
            return read_shape(adapter, self.body, self.shown)
        except Unreachable as error:
            raise ContainerError(replace(error.problems[0], hint=_CHECK_URL), error.code) from None


class Wire:
    """Requests to one daemon. What goes wrong below its protocol is a ContainerError `unreachable`, `timeout`, `tls`, … with one sentence.
    `keys` are taken out of all that comes."""

    def __init__(self, client: httpx.AsyncClient, shown: str, keys: Keys, hint: str | None = None) -> None:
        """`hint` is what to do where it cannot be reached; a Docker Engine's own by default."""
        self._client = client
        self._hint = hint
        self.shown = shown
        self.keys = keys
        self.prefix = ""
        """`/v1.41`, once it is known."""

    async def ask(
        self,
        method: str,
        path: str,
        *,
        within: float,
        params: Params | None = None,
        body: object = None,
        content: bytes | None = None,
        accept: Collection[int] = _OK,
        limit: int = SMALL,
        raw: bool = False,
    ) -> DaemonAnswer:
        """One request and its whole answer; a status that is not in `accept` raises ContainerError `daemon_error` with what it says. `raw`:
        with the keys in it, for who compares them."""
        answer = await self.ask_any(method, path, within=within, params=params, body=body, content=content, limit=limit, raw=raw)
        if answer.status not in accept:
            raise refusal(answer)
        return answer

    async def ask_any(
        self,
        method: str,
        path: str,
        *,
        within: float,
        params: Params | None = None,
        body: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int = SMALL,
        cut: bool = False,
        raw: bool = False,
    ) -> DaemonAnswer:
        """One request and its whole answer, whatever its status. `cut`: of one that is longer than `limit`, its beginning."""
        shown = self.shown
        try:
            async with asyncio.timeout(within), self._sent(method, path, params, body, content, headers or {}) as response:
                whole = await _whole(response, limit, shown, cut=cut)
                return DaemonAnswer(response.status_code, whole if raw and response.status_code == 200 else self.keys.without(whole), shown)
        except TimeoutError:
            raise failed("timeout", shown, f"did not answer within {within:.3g} s") from None
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise self._below(error, shown) from None

    async def lines(
        self,
        method: str,
        path: str,
        *,
        params: Params,
        stall: float,
        headers: Mapping[str, str] | None = None,
        goes_on: Callable[[bytes], float] = lambda line: 1,
    ) -> AsyncGenerator[bytes, None]:
        """The lines of a stream, none longer than 1 MiB; it ends where it gets nowhere for `stall` seconds, of which `goes_on` judges each
        line. An answer that is not 200 raises as `ask` does."""
        shown = self.shown
        loop = asyncio.get_running_loop()
        last = loop.time() + _LONGEST_STREAM
        deadline = loop.time() + stall
        opened = self._sent(method, path, params, None, None, headers or {})
        try:
            async with asyncio.timeout_at(deadline):
                response = await opened.__aenter__()
            try:
                if response.status_code != 200:
                    async with asyncio.timeout_at(deadline):
                        raise refusal(DaemonAnswer(response.status_code, self.keys.without(await _whole(response, SMALL, shown)), shown))
                told = paced(response.aiter_raw(), _LINE, self.keys.without, goes_on, deadline=deadline, stall=stall, last=last)
                async with aclosing(told):
                    async for line in told:
                        yield line
            finally:
                await opened.__aexit__(None, None, None)
        except LineTooLong:
            raise _too_large(shown, _LINE) from None
        except TimeoutError:
            raise failed("timeout", shown, f"sent nothing that goes on for {format_duration(stall)}") from None
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise self._below(error, shown) from None

    async def aclose(self) -> None:
        await self._client.aclose()

    def _sent(
        self, method: str, path: str, params: Params | None, body: object, content: bytes | None, headers: Mapping[str, str]
    ) -> _Stream:
        sent = {**_HEADERS, **headers}
        if body is not None:
            content = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        elif content is not None:
            sent["Content-Type"] = "application/x-tar"
        request = self._client.build_request(
            method, f"{self.prefix}{path}", params=dict(params or {}), content=content, headers=sent, timeout=None
        )
        return _Stream(self._client, request)

    def _below(self, error: Exception, shown: str) -> ContainerError:
        found = _from_below(error, shown)
        problem = found.problems[0]
        hint = self._hint if self._hint is not None and found.code != "own_limit" else problem.hint
        return ContainerError(replace(problem, what=self.keys.without(problem.what.encode()).decode(), hint=hint), found.code)


class _Stream:
    """An answer that has begun, closed at its end."""

    def __init__(self, client: httpx.AsyncClient, request: httpx.Request) -> None:
        self._client, self._request = client, request
        self._response: httpx.Response | None = None

    async def __aenter__(self) -> httpx.Response:
        self._response = await self._client.send(self._request, stream=True)
        return self._response

    async def __aexit__(self, *_: object) -> None:
        if self._response is not None:
            await self._response.aclose()


async def _whole(response: httpx.Response, limit: int, shown: str, *, cut: bool = False) -> bytes:
    announced = response.headers.get("content-length", "")
    if not cut and announced.isascii() and announced.isdigit() and (len(announced) > 18 or int(announced) > limit):
        raise _too_large(shown, limit)
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > limit:
            if cut:
                break
            raise _too_large(shown, limit)
    return bytes(body[:limit])


def refusal(answer: DaemonAnswer, code: str = "daemon_error", hint: str | None = None) -> ContainerError:
    """What an answer of another status than was hoped for stands for."""
    if answer.status in (401, 403):
        return failed("refused", answer.shown, f"does not let us in: {answer.message}", _CHECK_URL)
    if 300 <= answer.status < 400:
        return failed("not_its_protocol", answer.shown, f"redirects (status {answer.status})", _CHECK_URL)
    return failed(code, answer.shown, answer.message, hint)


def _too_large(shown: str, limit: int) -> ContainerError:
    return failed("too_large", shown, f"answered more than {limit // MIB} MiB", _CHECK_URL)


def _from_below(error: Exception, shown: str) -> ContainerError:
    if (limit := own_limit(error)) is not None:
        return ContainerError(replace(limit, where=Place(shown)), "own_limit")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return failed("tls", shown, f"TLS failed: {clean_text(str(cause))}", "check docker.tls and the certificate of the daemon")
        cause = cause.__cause__ or cause.__context__
    why = system_reason(error) or clean_text(str(error)) or type(error).__name__
    if isinstance(error, httpx.ConnectError):
        hint = "add the user to the group docker, or run as root" if why == "permission denied" else "check that dockerd runs there"
        return failed("unreachable", shown, f"cannot be connected to: {why}", hint)
    if isinstance(error, (httpx.ReadError, httpx.WriteError)) or "disconnected" in why or "closed" in why:
        hint = "check that dockerd runs there, and takes the certificate of docker.tls"
        return failed("unreachable", shown, "broke the connection off before its answer was complete", hint)
    return failed("not_its_protocol", shown, f"does not speak HTTP as expected: {why}", _CHECK_URL)


def failed(code: str, shown: str, what: str, hint: str | None = None) -> ContainerError:
    return ContainerError(Problem(what, Place(shown), hint), code)
