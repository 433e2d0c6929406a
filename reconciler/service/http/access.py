"""Who may ask what, decided before anything else is read of a request; and the headers that every answer has."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reconciler.engines.secrets import read_secret
from reconciler.fleet import Role, ServicePolicy, Token
from reconciler.fleet.addresses import is_loopback
from reconciler.value_class import value_class

MOST_BODY = 64 * 1024
"""Bytes of a request's body: the largest is a digest."""
BODY_SECONDS = 20.0
"""So long may a body take to come."""
WRONG_TOKENS, WITHIN = 10, 60.0
"""So many wrong tokens of one address within so many seconds, and it has to wait."""
MOST_ADDRESSES = 1000
_UNKNOWN = 401
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_ASKS = frozenset({"GET", "HEAD"})
_PLANS = frozenset({"/v1/gpu/rebalance", "/api/v1/gpu/rebalance"})
_SIGNED = frozenset({"/webhook/livepeer"})
_FORMS = frozenset({"/login", "/approve"})
"""Their token comes in the body, typed by who sends them."""
COOKIE, SESSION_SECONDS, MOST_SESSIONS = "__Host-gpurec", 12 * 3600, 1000
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with none at all browsers send `Origin: null` with our own forms
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_USUAL = [
    (name.lower().encode(), value.encode())
    for name, value in {**HEADERS, "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}.items()
]
"""What an answer has that does not say otherwise, as it goes over the wire."""


def is_signed(path: str) -> bool:
    """Whether what is written there proves itself by a signature of its body, and needs no token."""
    return path in _SIGNED


def needed_role(method: str, path: str) -> Role:
    """What a request needs, where it needs a token at all."""
    return Role.READ if method in _ASKS else Role.PLAN if path in _PLANS else Role.APPLY


@value_class
class Caller:
    """Who asks: the name of the token, or None where none was needed."""

    name: str | None
    role: Role


class Tokens:
    """The secrets behind the tokens of a policy. Raises EngineError where one is unset or empty: nobody could use it, or everybody."""

    def __init__(self, policy: ServicePolicy, environ: Mapping[str, str] | None = None) -> None:
        self.policy = policy
        self._known: list[tuple[bytes, Token]] = [
            (_hashed(read_secret(token.secret, f"policy.service.tokens {token.name!r}", environ)), token) for token in policy.tokens
        ]
        signed = policy.livepeer.secret if policy.livepeer is not None else None
        secret = None if signed is None else read_secret(signed, "policy.service.livepeer", environ)
        self.livepeer = None if secret is None else secret.encode()

    def find(self, sent: str) -> Token | None:
        """Whose token it is. Takes as long for every wrong one: all are compared, by their hashes."""
        return self.of(_hashed(sent))

    def of(self, hashed: bytes) -> Token | None:
        """The same by its hash."""
        found = None
        for known, token in self._known:
            if hmac.compare_digest(known, hashed):
                found = token
        return found


class Sessions:
    """Browsers that read: each has a cookie by which nothing else can be done, and no secret in it. They end with their token."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()

    def begin(self, secret: str) -> str:
        """The Set-Cookie header of a new one for a token."""
        name = secrets.token_urlsafe(32)
        self._known[_hashed(name)] = _hashed(secret), time.monotonic() + SESSION_SECONDS
        while len(self._known) > MOST_SESSIONS:
            self._known.popitem(last=False)
        return f"{COOKIE}={name}; Path=/; Max-Age={SESSION_SECONDS}; HttpOnly; Secure; SameSite=Strict"

    def find(self, cookies: str, tokens: Tokens) -> Token | None:
        """Whose it is, as long as that token is one."""
        for one in cookies.split(";"):
            name, _, value = one.strip().partition("=")
            session = self._known.get(_hashed(value)) if name == COOKIE else None
            if session is not None and time.monotonic() < session[1]:
                return tokens.of(session[0])
        return None


def _hashed(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


class Access:
    """An ASGI layer. `tokens` gives those of now; `names` are the hosts that it listens as; `loopback`: only this machine reaches it, and
    what comes from it, through no proxy of others, reads freely."""

    def __init__(
        self,
        app: ASGIApp,
        tokens: Callable[[], Tokens],
        names: frozenset[str],
        *,
        loopback: bool,
        login: Callable[[], Response] | None = None,
    ) -> None:
        self._app, self._login = app, login
        self._sessions = Sessions()
        self._tokens = tokens
        self._names = names | LOOPBACK_NAMES if loopback else names
        self._loopback = loopback
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(one for one in _USUAL if one[0] not in there)]
            await send(message)

        refused = self._refused(scope)
        if refused is not None:
            await refused(scope, receive, headed)
            return
        await self._app(scope, _bounded(receive), headed)

    def _refused(self, scope: Scope) -> Response | None:
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        host = _host_of(headers.get("host", ""))
        tokens = self._tokens()
        if host not in self._names and host not in tokens.policy.hosts:
            return _error(421, "this service does not answer to that name; name it in policy.service.hosts")
        writes = method not in _ASKS
        if writes and not _same_origin(headers, host):
            return _error(403, "a page of another origin may not write here")
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdecimal() and len(length) < 10 and int(length) <= MOST_BODY):
            return _error(413, f"a body may have {MOST_BODY} bytes at most")
        peer, forwarded = (scope.get("client") or ("", 0))[0], headers.getlist("x-forwarded-for")
        address = asked_by(peer, forwarded, tokens.policy.trusted_proxies)
        near = self._loopback and (not forwarded or (address != peer and is_loopback(address)))
        scope["judge"] = lambda secret, role: self._judge(address, tokens, secret, role)
        scope["session"] = self._sessions.begin
        if (is_signed(path) and writes) or path in _FORMS:
            return None
        if not headers.get("authorization") and not writes:
            if near:
                scope["caller"] = Caller(None, Role.READ)
                return None
            if (reader := self._sessions.find(headers.get("cookie", ""), tokens)) is not None:
                scope["caller"] = Caller(reader.name, Role.READ)
                return None
        return self._judged(scope, headers, address, tokens, needed_role(method, path))

    def _judged(self, scope: Scope, headers: Headers, address: str, tokens: Tokens, needed: Role) -> Response | None:
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        found = self._judge(address, tokens, secret if scheme.lower() == "bearer" or not scheme else f"no bearer: {secret}", needed)
        if isinstance(found, Caller):
            scope["caller"] = found
            return None
        status, what = found
        if status == _UNKNOWN and self._login is not None and scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            return self._login()
        said = {429: {"Retry-After": str(int(WITHIN) + 1)}, 401: {"WWW-Authenticate": "Bearer"}}
        return _error(status, what, said.get(status))

    def _judge(self, address: str, tokens: Tokens, secret: str, needed: Role) -> Caller | tuple[int, str]:
        """Who a secret is of, where it may do that; else a status, and what is wrong."""
        if self._wait(address) > 0:
            return 429, "too many wrong tokens"
        token = tokens.find(secret.strip()) if secret.strip() else None
        if token is None:
            if secret.strip():
                self._count_wrong(address)
            return _UNKNOWN, "this needs a token: Authorization: Bearer …"
        if not token.role.covers(needed):
            return 403, f"the token {token.name!r} has the role {token.role.value}, and this needs {needed.value}"
        return Caller(token.name, token.role)

    def _wait(self, address: str) -> float:
        times = self._wrong.get(address)
        if times is None:
            return 0.0
        now = time.monotonic()
        while times and now - times[0] > WITHIN:
            times.popleft()
        return times[0] + WITHIN - now if len(times) >= WRONG_TOKENS else 0.0

    def _count_wrong(self, address: str) -> None:
        self._wrong.setdefault(address, deque(maxlen=WRONG_TOKENS)).append(time.monotonic())
        self._wrong.move_to_end(address)
        while len(self._wrong) > MOST_ADDRESSES:
            self._wrong.popitem(last=False)


def asked_by(peer: str, forwarded: Sequence[str], trusted: Sequence[IPv4Network | IPv6Network]) -> str:
    """The address that a request comes from: of the connection, or, where that is a proxy which is trusted, the last of its
    `X-Forwarded-For` that is no such proxy: what stands before it can be made up by whoever asks."""
    if not forwarded:
        return peer
    for one in (peer, *(each.strip() for each in reversed(",".join(forwarded).split(",")))):
        try:
            address = ip_address(one)
        except ValueError:
            return peer
        peer = str(address)
        if not any(address in network for network in trusted):
            break
    return peer


def _host_of(header: str) -> str:
    """The name in a Host header, without its port, in lower case."""
    name, colon, port = header.strip().rpartition(":")
    return (name if colon and port.isdecimal() else header.strip()).lower().rstrip(".")


def _same_origin(headers: Headers, host: str) -> bool:
    """Whether a write does not come from a page of another origin: browsers say where it comes from."""
    origin = headers.get("origin")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    if origin is None:
        return True
    try:
        return _host_of(urlsplit(origin).netloc) == host
    except ValueError:
        return False


def _bounded(receive: Receive) -> Receive:
    """The same, cut off where a body without a length is longer than it may be, or does not come."""
    left, whole, until = MOST_BODY, False, time.monotonic() + BODY_SECONDS

    async def bounded() -> Message:
        nonlocal left, whole
        if whole:  # who asks now waits for the end of the connection, which may be long
            return await receive()
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                message = await receive()
        except TimeoutError:
            return {"type": "http.disconnect"}
        if message["type"] == "http.request":
            whole = not message.get("more_body", False)
            left -= len(message.get("body", b""))
            if left < 0:
                return {"type": "http.disconnect"}
        return message

    return bounded


def _error(status: int, what: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": what}, status, headers=dict(headers or {}))
