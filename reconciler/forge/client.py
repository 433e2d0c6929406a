"""Requests to a forge: JSON, bounded in size and time, no redirects, the token only in its header; failures that pass are told apart.

Limits, as their documents say: GitHub answers 403 or 429, with `retry-after`, or `x-ratelimit-remaining: 0` and the time of the reset
(seconds of the epoch), or neither and a sentence about a secondary limit, which asks for a minute (docs.github.com "Rate limits for the
REST API"); GitLab 429 with `Retry-After` and `RateLimit-Reset` (docs.gitlab.com "User and IP rate limits"); Bitbucket 429.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Self

import httpx

from reconciler.engines.answers import clean_text, error_message, system_reason
from reconciler.engines.keys import Keys
from reconciler.engines.secrets import read_secret
from reconciler.fleet import MIB, Place, Problem
from reconciler.fleet.units import format_duration
from reconciler.forge.place import Forge, ForgeError, ForgePlace

LARGEST_ANSWER = 64 * MIB
_SECONDS = 30.0
_A_MINUTE = 60.0
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
        return (await self._answer(method, path, body))[0]

    async def page(self, path: str) -> tuple[Any, str | None]:
        """The JSON of a page, and the URL of the one that it says comes after it: by `Link` (GitHub, GitLab, Gitea) or `next` (Bitbucket).
        Raises as `ask`."""
        document, answer = await self._answer("GET", path)
        following = document.get("next") if isinstance(document, dict) else answer.links.get("next", {}).get("url")
        return document, following if isinstance(following, str) and following else None

    def path_of(self, url: str) -> str | None:
        """The path of a URL below this API; None for any other, which is never sent the token."""
        return url.removeprefix(self.place.api) if url.startswith(f"{self.place.api}/") else None

    async def _answer(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[Any, httpx.Response]:
        url = self.place.api + path
        try:
            async with self._http.stream(method, url, json=body) as answer:
                content = await self._content(answer, url)
        except (httpx.TransportError, OSError) as error:  # OSError: TLS that ends after its handshake
            reason = system_reason(error) or clean_text(str(error)) or type(error).__name__
            raise ForgeBusy(Problem(f"{self.place.forge} cannot be reached: {reason}", Place(url), "try again later")) from error
        content = self._keys.without(content)
        if answer.is_success:
            return self._json(content, url), answer
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
        pause = _pause(answer, said)
        if status == 429 or status >= 500 or (status == 403 and pause is not None):
            hint = "try again later" if pause is None or pause < 1 else f"try again in {format_duration(pause)}"
            return ForgeBusy(Problem(what, Place(url), hint), pause)
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
    403: "the token may not do this: it needs to write to issues and pull requests of this repository (a job of a fork may only read)",
    404: "there is no such pull request or repository, or the token may not see it",
    410: "issues are switched off for this repository",
}


def _pause(answer: httpx.Response, said: str) -> float | None:
    """Seconds that a limited client is asked to wait; None where nothing says that it is limited, or for how long."""
    after = _seconds(answer.headers.get("retry-after"))
    if after is not None:
        return after
    for remaining, reset in (("x-ratelimit-remaining", "x-ratelimit-reset"), ("ratelimit-remaining", "ratelimit-reset")):
        if answer.headers.get(remaining) == "0":
            until, now = _seconds(answer.headers.get(reset)), _time_of(answer)
            return _A_MINUTE if until is None or now is None else max(1.0, until - now)
    return _A_MINUTE if "secondary rate limit" in said or "abuse detection" in said else None


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 12 else None


def _time_of(answer: httpx.Response) -> float | None:
    """The forge's own clock, in seconds of the epoch: ours may be another one."""
    try:
        return parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except ValueError:
        return None
