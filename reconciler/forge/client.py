"""Requests to a forge: JSON, bounded in size and time, no redirects, the token only in its header; failures that pass are told apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self

import httpx

from reconciler.engines.answers import clean_text, error_message, system_reason
from reconciler.engines.keys import Keys
from reconciler.engines.secrets import read_secret
from reconciler.fleet import MIB, Place, Problem
from reconciler.forge.place import Forge, ForgeError, ForgePlace

LARGEST_ANSWER = 64 * MIB
_SECONDS = 30.0
_HEADER: Mapping[Forge, tuple[str, str]] = {
    Forge.GITHUB: ("Authorization", "Bearer "),
    Forge.GITEA: ("Authorization", "token "),
    Forge.GITLAB: ("PRIVATE-TOKEN", ""),
    Forge.BITBUCKET: ("Authorization", "Bearer "),
}


class ForgeBusy(ForgeError):
    """The forge failed, or asks to wait `pause` seconds (None: it does not say how long): the same may work later."""

    def __init__(self, problem: Problem, pause: float | None = None) -> None:
        super().__init__(problem)
        self.pause = pause


class ForgeRefused(ForgeError):
    """The forge says no; `status` is that of HTTP."""

    def __init__(self, problem: Problem, status: int) -> None:
        super().__init__(problem)
        self.status = status


class ForgeClient:
    """An async context manager; the token is read on entry."""

    def __init__(self, place: ForgePlace, environ: Mapping[str, str]) -> None:
        self.place = place
        token = read_secret(place.token, str(place.forge), environ)
        self._keys = Keys()
        self._keys.add(token)
        name, prefix = _HEADER[place.forge]
        headers = {name: prefix + token, "Accept": "application/json", "User-Agent": "gpurec"}
        if place.forge is Forge.GITHUB:
            headers |= {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        self._http = httpx.AsyncClient(headers=headers, timeout=_SECONDS, follow_redirects=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of an answer.

        Raises ForgeBusy for what may pass (no connection, 5xx, rate limits), ForgeRefused for any other answer that is no success.
        """
        url = self.place.api + path
        try:
            async with self._http.stream(method, url, json=body) as answer:
                content = await self._content(answer, url)
        except (httpx.TransportError, OSError) as error:  # OSError: TLS that ends after its handshake
            reason = system_reason(error) or clean_text(str(error)) or type(error).__name__
            raise ForgeBusy(Problem(f"{self.place.forge} cannot be reached: {reason}", Place(url), "try again later")) from error
        content = self._keys.without(content)
        if answer.is_success:
            return self._json(content, url)
        raise self._failure(answer, content, url)

    async def _content(self, answer: httpx.Response, url: str) -> bytes:
        content = bytearray()
        async for piece in answer.aiter_bytes():
            content += piece
            if len(content) > LARGEST_ANSWER:
                raise ForgeError.of(f"the answer is larger than {LARGEST_ANSWER // MIB} MiB", url, "is this the API of a forge?")
        return bytes(content)

    def _json(self, content: bytes, url: str) -> Any:
        try:
            return json.loads(content) if content.strip() else None
        except (ValueError, RecursionError) as error:
            raise ForgeError.of("the answer is not JSON", url, "is this the API of a forge?") from error

    def _failure(self, answer: httpx.Response, content: bytes, url: str) -> ForgeError:
        status = answer.status_code
        said = _message(content)
        what = f"{self.place.forge} answered {status}" + (f": {said}" if said else "")
        pause = _seconds(answer.headers.get("retry-after"))
        limited = status == 403 and (pause is not None or answer.headers.get("x-ratelimit-remaining") == "0")
        if status == 429 or status >= 500 or limited:
            return ForgeBusy(Problem(what, Place(url), "try again later"), pause)
        return ForgeRefused(Problem(what, Place(url), _HINTS.get(status, "is the token one for this repository?")), status)


def _message(content: bytes) -> str:
    """What an error answer says: GitHub, Gitea and GitLab in `message`, GitLab also in `error`, Bitbucket in `error.message`."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    said = document.get("message") if isinstance(document, dict) else None
    return clean_text(said if isinstance(said, str) else json.dumps(said)) if said else error_message(content)


_HINTS = {
    401: "the token is not valid (any more)",
    403: "the token may not do this: it needs to write to issues and pull requests of this repository",
    404: "there is no such pull request or repository, or the token may not see it",
    410: "issues are switched off for this repository",
}


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 8 else None
