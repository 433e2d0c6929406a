"""One comment, or one issue, that is found again by the marker in its first line and written anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from reconciler.fleet import Place, Problem
from reconciler.forge.client import ForgeBusy, ForgeClient, ForgeRefused
from reconciler.forge.place import Forge, ForgeError, ForgePlace
from reconciler.forge.routes import COMMENTS, ISSUES, Routes
from reconciler.value_class import value_class

TRIES = 5
LONGEST_PAUSE = 60.0
"""Seconds that a forge may ask us to wait; who asks for more is given up on."""
MOST_PAGES = 100
PAGE = 30
Sleep = Callable[[float], Awaitable[None]]


class CommentOutcome(StrEnum):
    """What became of it."""

    CREATED = "created"
    UPDATED = "updated"
    SAME = "is up to date"
    CLOSED = "closed"
    NOT_NEEDED = "not needed"


def marker(fleet: str, what: str) -> str:
    """The line by which a comment is found again: a link definition, which no forge shows."""
    return f"[//]: # (gpurec {what} {quote(fleet, safe='')})"


async def keep_comment(
    place: ForgePlace,
    environ: Mapping[str, str],
    mark: str,
    text: str,
    *,
    only_if_there: bool = False,
    sleep: Sleep = asyncio.sleep,
) -> CommentOutcome:
    """Writes the comment of a pull request, over the one of ours with this `mark` where there is one; `only_if_there` makes none.

    Tries again, with pauses, where the forge fails or limits; before each try it looks again, so that no comment comes twice. Raises
    ForgeError.
    """
    if place.number is None:
        raise ForgeError.of("this job is of no pull request", None, "name it: --number N")
    return await _persevere(place, environ, COMMENTS[place.forge], mark, text, only_if_there, False, "", sleep)


async def keep_issue(
    place: ForgePlace, environ: Mapping[str, str], mark: str, title: str, text: str, *, needed: bool, sleep: Sleep = asyncio.sleep
) -> CommentOutcome:
    """The same with one open issue: opened or written anew where it is `needed`, closed with this text where not. Raises ForgeError."""
    routes = ISSUES.get(place.forge)
    if routes is None:
        raise ForgeError.of(f"{place.forge} has no issues that every repository has", None, "run it for a pull request: --number N")
    return await _persevere(place, environ, routes, mark, text, not needed, not needed, title, sleep)


async def _persevere(
    place: ForgePlace,
    environ: Mapping[str, str],
    routes: Routes,
    mark: str,
    text: str,
    only_if_there: bool,
    close: bool,
    title: str,
    sleep: Sleep,
) -> CommentOutcome:
    async with ForgeClient(place, environ) as client:
        for left in reversed(range(TRIES)):
            try:
                return await _Sticky(client, routes).keep(mark, text, only_if_there, close, title)
            except ForgeBusy as busy:
                if not left or (busy.pause or 0.0) > LONGEST_PAUSE:
                    raise
                await sleep(busy.pause if busy.pause is not None else 2.0 ** (TRIES - left - 1))
    raise AssertionError("the last try returns or raises")


@value_class
class _Sticky:
    client: ForgeClient
    routes: Routes

    def _path(self, path: str, one: Any = None) -> str:
        place = self.client.place
        return path.format(repository=place.repository, number=place.number, id=one)

    async def keep(self, mark: str, text: str, only_if_there: bool, close: bool, title: str) -> CommentOutcome:
        body = f"{mark}\n\n{text}"
        mine = await self._author()
        found = [one async for one in self._every() if self._is_ours(one, mark, mine)]
        kept: CommentOutcome | None = None
        refusal: ForgeRefused | None = None
        for one in sorted(found, key=self.routes.id_of, reverse=True):
            try:
                if kept is None:
                    kept = await self._renew(one, body, title, close)
                elif self._text(one) != (stub := f"{mark}\n\nThere is a newer one of these below."):
                    await self._write(one, stub, title, True)
            except ForgeRefused as refused:
                if mine is not None or refused.status != 403:
                    raise
                refusal = refused  # somebody else's, as it seems, with our mark in it
        if kept is not None:
            return kept
        if refusal is not None and close:
            raise refusal
        if refusal is None and only_if_there:
            return CommentOutcome.NOT_NEEDED
        await self.client.ask("POST", self._path(self.routes.listing), self.routes.payload(body, title, False))
        return CommentOutcome.CREATED

    async def _renew(self, one: Any, body: str, title: str, close: bool) -> CommentOutcome:
        if not close and self._text(one) == body.strip():
            return CommentOutcome.SAME
        await self._write(one, body, title, close)
        return CommentOutcome.CLOSED if close else CommentOutcome.UPDATED

    async def _write(self, one: Any, body: str, title: str, close: bool) -> None:
        path = self._path(self.routes.one, quote(str(self.routes.id_of(one)), safe=""))
        await self.client.ask(self.routes.update, path, self.routes.payload(body, title, close))

    def _text(self, one: Any) -> str:
        return self.routes.text_of(one).replace("\r\n", "\n").strip()

    def _is_ours(self, one: Any, mark: str, mine: str | None) -> bool:
        """Whether it begins with our mark and was not written by somebody else, as far as can be known: a stranger's comment with a forged
        mark is left alone where we know who we are, and on GitHub, whose jobs do not, where the stranger is no bot. Elsewhere the mark
        has to do, and what the forge lets us write over: else every run of a token that may not ask would make one more comment."""
        if not isinstance(one, dict) or not self._text(one).startswith(mark):
            return False
        if one.get("pull_request") or one.get("deleted"):  # GitHub lists pull requests among issues, Bitbucket comments that are gone
            return False
        if mine is not None:
            return self.routes.author_of(one) == mine
        return self.client.place.forge is not Forge.GITHUB or self.routes.is_bot(one)

    async def _author(self) -> str | None:
        """Who we are there; None where the token may not ask (that of a GitHub job may not)."""
        try:
            user = await self.client.ask("GET", "/user")
        except ForgeRefused as refused:
            if refused.status == 401:
                raise
            return None
        return self.routes.name_of(user) if isinstance(user, dict) else None

    async def _every(self) -> AsyncIterator[Any]:
        """Every comment or open issue, page by page: as the forge says where that is below its API, else by number."""
        seen: set[Any] = set()
        path: str | None = self._numbered(1)
        for page in range(1, MOST_PAGES + 1):
            if path is None:
                return
            answer, url = await self.client.page(path)
            found = self.routes.items(answer)
            if found is None:
                where = Place(self.client.place.api + self._path(self.routes.listing))
                raise ForgeError(Problem(f"{self.client.place.forge} answered with no list", where, "is this the API of a forge?"))
            new = [one for one in found if self.routes.id_of(one) not in seen]
            seen |= {self.routes.id_of(one) for one in new}
            for one in new:
                yield one
            if not new or not self.routes.query or (url is None and len(found) < PAGE):  # a forge's own page may be shorter than is asked
                return
            path = (None if url is None else self.client.path_of(url)) or self._numbered(page + 1)

    def _numbered(self, page: int) -> str | None:
        """The path of a page by its number; None where only the first is named so."""
        query = self.routes.query
        return None if page > 1 and "{page}" not in query else self._path(self.routes.listing) + query.format(page=page, size=PAGE)
