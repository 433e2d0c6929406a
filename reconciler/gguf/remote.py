"""A GGUF header over HTTP: a few byte ranges of the file (RFC 9110, section 14), never the whole of it.

Nothing is believed of the server either: how many bytes, requests, redirects and seconds a header may cost is bounded, and an answer that
is not just the range that was asked for is refused. A redirect (model hubs send one to their content network) is followed without
credentials and never from https to http; from plain http it may stay on its host or become https.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from reconciler.fleet import MIB, GpurecError
from reconciler.gguf.reader import GgufError

FIRST_RANGE = MIB
LARGEST_RANGE = 8 * MIB
MOST_BYTES = 256 * MIB
"""Of all ranges of a model together; a header with a vocabulary of 260,000 words has about 15 MiB."""
MOST_REQUESTS = 256
MOST_REDIRECTS = 5
CONNECT_SECONDS, READ_SECONDS, WHOLE_SECONDS = 10.0, 20.0, 180.0
LONGEST_URL = 8192
LONGEST_NAMED = 200
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DOWNLOAD = "download the file and check that"


class RemoteError(GpurecError):
    """A file cannot be had over HTTP, or its server answers what it was not asked."""


@dataclass(slots=True)
class Budget:
    """What reading one model may still cost; shared by all its parts."""

    clock: Callable[[], float] = time.monotonic
    bytes: int = MOST_BYTES
    requests: int = MOST_REQUESTS
    ends: float = field(init=False)

    def __post_init__(self) -> None:
        self.ends = self.clock() + WHOLE_SECONDS

    def spend(self, url: str, *, requests: int = 0, count: int = 0) -> None:
        self.requests -= requests
        self.bytes -= count
        if self.requests < 0 or self.bytes < 0:
            raise RemoteError.of(f"its header takes more than {MOST_REQUESTS} requests or {MOST_BYTES // MIB} MiB", url, _DOWNLOAD)
        if self.clock() > self.ends:
            raise RemoteError.of(f"its header is not there after {WHOLE_SECONDS:.0f} s", url, _DOWNLOAD)


def client() -> httpx.Client:
    """For `RemoteFile`: verifies certificates, heeds proxies of the environment, sends no credentials, follows nothing by itself."""
    limits = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    return httpx.Client(timeout=limits, follow_redirects=False, headers={"Accept-Encoding": "identity", "User-Agent": "gpurec"})


class RemoteFile(io.RawIOBase):
    """A file behind a URL that can be read forward; asks for ranges that grow from 1 to 8 MiB, and keeps one of them.

    RemoteError: no such file, no ranges, another file by now, or beyond the budget. `size` is what the server says the file has.
    """

    def __init__(self, http: httpx.Client, url: str, budget: Budget) -> None:
        self.url, self._from = shown(url), checked(url)
        self._http, self._budget = http, budget
        self._at = self._base = 0
        self._kept = b""
        self._next = FIRST_RANGE
        self._tag: str | None = None
        self.size = -1
        self._fetch(0, 1)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("only from the start")
        self._at = offset
        return offset

    def read(self, count: int = -1) -> bytes:
        """Up to `count` bytes (at least 0); fewer only at the end of the file."""
        count = max(0, min(count, self.size - self._at))
        start = self._at - self._base
        if start < 0 or start + count > len(self._kept):
            self._fetch(self._at, count)
            start = 0
        self._at += count
        return self._kept[start : start + count]

    def _fetch(self, start: int, least: int) -> None:
        wanted = max(least, self._next)
        if self.size >= 0:
            wanted = min(wanted, self.size - start)
        self._next = min(self._next * 4, LARGEST_RANGE)
        self._base, self._kept = start, self._range(start, wanted)

    def _range(self, start: int, count: int) -> bytes:
        try:
            for _ in range(MOST_REDIRECTS + 1):
                self._budget.spend(self.url, requests=1)
                asked = {"Range": f"bytes={start}-{start + count - 1}"}
                with self._http.stream("GET", self._from, headers=asked) as answer:
                    if answer.status_code not in _REDIRECTS:
                        return self._body(answer, start, count)
                    self._from = redirected(self._from, answer.headers.get("location", ""), self.url)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
            raise RemoteError.of(f"it cannot be read: {type(error).__name__}", self.url, "see that the URL can be reached") from error
        raise RemoteError.of(f"it redirects more than {MOST_REDIRECTS} times", self.url, "give the address that it ends at")

    def _body(self, answer: httpx.Response, start: int, count: int) -> bytes:
        if answer.status_code == 200:
            raise RemoteError.of("its server sends whole files only, no byte ranges", self.url, _DOWNLOAD)
        if answer.status_code != 206:
            hint = "it needs a login; " + _DOWNLOAD if answer.status_code in (401, 403) else "see that the URL is right"
            raise RemoteError.of(f"its server answers {answer.status_code}", self.url, hint)
        told = _RANGE.fullmatch(answer.headers.get("content-range", ""))
        first, last, size = (int(number) for number in told.groups()) if told is not None else (-1, -1, -1)
        if first != start or last != min(start + count, size) - 1 or answer.headers.get("content-encoding", "identity") != "identity":
            raise RemoteError.of("its server answers another range than it was asked for", self.url, _DOWNLOAD)
        tag = answer.headers.get("etag")
        if self.size >= 0 and (size != self.size or (tag is not None and tag != self._tag)):
            raise RemoteError.of("the file changed while it was read", self.url, "try again")
        self.size, self._tag = size, tag
        length = last - first + 1
        self._budget.spend(self.url, count=length)
        body = bytearray()
        for piece in answer.iter_raw():
            body += piece
            self._budget.spend(self.url)
            if len(body) > length:
                break
        if len(body) != length:
            raise RemoteError.of(f"its server sent {len(body)} bytes of a range of {length}", self.url, "try again")
        return bytes(body)


def checked(url: str) -> str:
    """The URL, if it is plain http(s) to a host without credentials in it."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError, ValueError):
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or len(url) > LONGEST_URL:
        named = shown(url)[:LONGEST_NAMED] if "@" not in url else None
        raise GgufError.of("this is no URL of a file", named, "write it as https://HOST/PATH.gguf")
    if parsed.userinfo:
        raise GgufError.of("the URL has a user or a password in it", f"{_place(parsed)}{parsed.path}", _DOWNLOAD)
    return url


def shown(url: str) -> str:
    """The URL without its query, which may hold a signature."""
    return url.split("?", 1)[0]


def _place(url: httpx.URL) -> str:
    """Scheme, host and port (where it is not the scheme's own), without credentials."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def redirected(before: str, location: str, asked: str) -> str:
    """Where a redirect leads to; RemoteError where it may not."""
    old = httpx.URL(before)
    try:
        new = old.join(location)
    except (httpx.InvalidURL, ValueError):
        new = httpx.URL("")
    plain = new.scheme == "http" and old.scheme == "http" and new.host == old.host
    if not location or len(str(new)) > LONGEST_URL or not new.host or new.userinfo or not (new.scheme == "https" or plain):
        where = _place(new) if new.host else "nowhere"
        raise RemoteError.of(f"it redirects to {where}, which is not followed", asked, "give the https address that it ends at")
    return str(new)
