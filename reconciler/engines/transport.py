"""The one way to a node over HTTP: each answer bounded in size and in time, no redirects, no proxies, keys read only when sent.

Connections are an engine's own, the TLS contexts are shared: building one is the dear part.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Self
from urllib.parse import urlsplit

import httpcore

from reconciler.engines.answers import clean_text, error_message, own_limit, system_reason
from reconciler.engines.clock import skew, told_by
from reconciler.engines.keys import Keys
from reconciler.engines.lines import LineTooLong, paced
from reconciler.engines.lookups import Lookups, Resolved
from reconciler.engines.secrets import read_secret
from reconciler.engines.wire import Exchange, ServerWire, server_url
from reconciler.fleet import (
    MIB,
    Activity,
    EngineError,
    EngineId,
    EngineKind,
    EngineSpec,
    FleetFacts,
    ModelHeader,
    Place,
    Problem,
    SecretRef,
    Tls,
    Unreachable,
    format_duration,
)
from reconciler.value_class import value_class

SMALL = 1 * MIB
LARGE = 64 * MIB
_OK = frozenset({200})
_TOO_MANY = 429
_RETRIES = 2
_HEADERS = [(b"Accept", b"application/json"), (b"Accept-Encoding", b"identity"), (b"User-Agent", b"gpurec")]
_LOST = (httpcore.ReadError, httpcore.WriteError)
_BELOW = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException)


@value_class
class Answer:
    """A whole answer within its bounds."""

    status: int
    body: bytes
    url: str

    @property
    def message(self) -> str:
        """The error text that the body holds, safe to show."""
        return error_message(self.body)


@value_class
class ManifestWeights:
    """What a manifest digest stands for: the sha256 of the weights' blob, whether it embeds, a context baked into it, the header of the
    weights, the bytes that are loaded beside them, and the host that it runs on where that is not the server's own."""

    blob: str | None = None
    embedding: bool | None = None
    num_ctx: int | None = None
    header: ModelHeader | None = None
    beside: int = 0
    remote: str | None = None


def remembered(facts: FleetFacts) -> dict[str, ManifestWeights]:
    """What earlier facts say of manifests, so that an engine is not asked again: a digest says it all."""
    return {
        one.digest: ManifestWeights(one.blob, one.embedding, one.context, one.header, one.beside_bytes)
        for node in facts.nodes.values()
        for engine in node.engines.values()
        for one in engine.installed or ()
        if one.digest is not None and one.blob is not None and one.header is not None
    }


class Transport:
    """Makes the channels to all engines of a run, and holds what they share: TLS contexts and the digests already looked up.

    An async context manager. `environ` is where `env:` keys are read (the process's by default), `backoff` the pause before a retry in
    seconds, of which `jitter` (a number from 0 to 1, another at each call) takes up to half; `clock` tells the time that expiries are
    compared with. A stream ends where it gets nowhere for `stall` seconds, and after `longest` seconds in any case. `known` is what earlier
    runs learned of manifests, by their digest. `activity` (None: it is not asked for) fills with what engines tell of the requests to each
    of their residents, by engine and name. `skews` fills with the seconds by which the clocks of engines that tell theirs are ahead of
    ours. `keys` are taken out of all that comes, whichever engine they are for.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        backoff: float = 0.1,
        stall: float = 60.0,
        longest: float = 3 * 86400.0,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        known: Mapping[str, ManifestWeights] | None = None,
        activity: dict[tuple[EngineId, str], Activity] | None = None,
    ) -> None:
        self.environ = environ
        self.backoff = backoff
        self.stall = stall
        self.longest = longest
        self.keys = Keys()
        self.clock = clock
        self.weights: dict[str, ManifestWeights] = dict(known or {})
        self.headers = {one.blob: one.header for one in self.weights.values() if one.blob is not None and one.header is not None}
        self.network = Resolved(Lookups())
        self.activity = activity
        self.skews: dict[EngineId, float] = {}
        self._jitter = jitter
        self._contexts: dict[Tls, ssl.SSLContext] = {}
        self._plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody; for http:// urls, which never use it
        self._channels: set[Channel] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in tuple(self._channels):
            await channel.aclose()

    def channel(self, spec: EngineSpec) -> Channel:
        """A new channel to one engine; close it, or let the end of this transport do so. Raises EngineError for a bad url or CA file."""
        context = self._context(spec) if spec.url.lower().startswith("https:") else self._plain
        channel = Channel(spec, self, context)
        self._channels.add(channel)
        return channel

    def know(self, refs: Iterable[SecretRef | None]) -> None:
        """Learns keys before any of them is sent: another engine may know one, and bring it back. One that cannot be read is unknown."""
        for ref in dict.fromkeys(refs):
            if ref is not None:
                with suppress(EngineError):
                    self.keys.add(read_secret(ref, str(ref), self.environ))

    def forget(self, channel: Channel) -> None:
        self._channels.discard(channel)

    def pause(self, attempt: int) -> float:
        """Seconds before the next try: doubling, less up to half, so that the runs of many do not come back together."""
        return self.backoff * float(2**attempt) * (1.0 - self._jitter() / 2)

    def _context(self, spec: EngineSpec) -> ssl.SSLContext:
        context = self._contexts.get(spec.tls)
        if context is None:
            try:
                context = ssl.create_default_context(cafile=spec.tls.ca)
            except (OSError, ssl.SSLError) as error:
                if (limit := own_limit(error)) is not None:
                    raise Unreachable(replace(limit, where=Place(str(spec.id))), "own_limit") from None
                what = f"the certificate authority file {spec.tls.ca} cannot be read: {clean_text(str(error))}"
                raise Unreachable(Problem(what, Place(str(spec.id)), "check tls.ca"), "tls") from None
            if not spec.tls.verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._contexts[spec.tls] = context
        return context


class Channel:
    """Requests to one engine. Every failure below the engine's own protocol is `Unreachable` with the url and one sentence."""

    def __init__(self, spec: EngineSpec, transport: Transport, context: ssl.SSLContext) -> None:
        try:
            url = server_url(spec.url)
        except ValueError as error:
            raise _failed("not_its_protocol", clean_text(spec.url), f"is no url of a server: {clean_text(str(error))}") from None
        self.spec = spec
        self.transport = transport
        self._wire = ServerWire(url, context, transport.network)
        self.shown = url.geturl().rstrip("/")

    async def aclose(self) -> None:
        self.transport.forget(self)
        await self._wire.aclose()

    async def get(self, path: str, *, within: float, limit: int = SMALL, accept: Collection[int] = _OK) -> Answer:
        """GET with up to two retries on 5xx and on a broken connection, all within `within` seconds; only statuses in `accept` return."""
        answer = await self._repeated("GET", path, within, limit, accept)
        if answer.status in accept:
            return answer
        raise _refusal(answer, f"GET {path}")

    async def look_up(self, path: str, body: Mapping[str, object], *, within: float, limit: int = SMALL) -> Answer:
        """A POST that changes nothing, such as Ollama's `/api/show`: repeated like a GET, and answered with whatever status."""
        return await self._repeated("POST", path, within, limit, (), body)

    async def _repeated(
        self, method: str, path: str, within: float, limit: int, accept: Collection[int], body: Mapping[str, object] | None = None
    ) -> Answer:
        """The first answer that is accepted or below 500, else the last. Only for what may be asked twice."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        attempt = 0
        while True:
            pause = self.transport.pause(attempt)
            attempt += 1
            try:
                answer = await self.ask(method, path, within=end - loop.time(), body=body, limit=limit)
                if answer.status < 500 or answer.status in accept or attempt > _RETRIES or loop.time() + pause >= end:
                    return answer
            except Unreachable as error:
                if error.code != "cut" or attempt > _RETRIES or loop.time() + pause >= end:
                    raise
            await asyncio.sleep(pause)

    async def ask(self, method: str, path: str, *, within: float, body: Mapping[str, object] | None = None, limit: int = SMALL) -> Answer:
        """One request and its whole answer of whatever status, except redirects and refused keys, which raise."""
        shown = self.shown + path
        try:
            async with asyncio.timeout(within), self._opened(method, path, body) as response:
                return Answer(response.status, self.transport.keys.without(await _whole(response, limit, shown)), shown)
        except TimeoutError:
            raise _failed("timeout", shown, f"did not answer within {within:.3g} s") from None
        except _BELOW as error:
            raise self._from_below(error, shown) from None

    async def lines(
        self, path: str, body: Mapping[str, object], goes_on: Callable[[bytes], float] = lambda line: 1
    ) -> AsyncGenerator[bytes | Answer, None]:
        """The lines of a streamed POST: no limit on the whole, but none longer than 1 MiB, and an end where it does not go on within the
        stall limit; how many of these a line is worth (0: it is no step further) says `goes_on`, which is called with each before it is
        given out.

        An answer that is not 200 comes as one `Answer` instead.
        """
        shown = self.shown + path
        loop = asyncio.get_running_loop()
        stall = self.transport.stall
        last = loop.time() + self.transport.longest
        deadline = min(last, loop.time() + stall)
        opened = self._opened("POST", path, body)
        try:
            async with asyncio.timeout_at(deadline):
                response = await opened.__aenter__()
            try:
                if response.status != 200:
                    async with asyncio.timeout_at(deadline):
                        yield_last = Answer(response.status, self.transport.keys.without(await _whole(response, SMALL, shown)), shown)
                    yield yield_last
                    return
                told = paced(response.chunks(), SMALL, self.transport.keys.without, goes_on, deadline=deadline, stall=stall, last=last)
                async with aclosing(told):
                    async for line in told:
                        yield line
            finally:
                await opened.__aexit__(None, None, None)
        except LineTooLong:
            raise _too_large(shown, SMALL) from None
        except TimeoutError:
            if loop.time() >= last:
                raise _failed("timeout", shown, f"did not end within {format_duration(self.transport.longest)}") from None
            raise _failed("timeout", shown, f"sent nothing that goes on for {stall:.3g} s") from None
        except _BELOW as error:
            raise self._from_below(error, shown) from None

    @asynccontextmanager
    async def _opened(self, method: str, path: str, body: Mapping[str, object] | None) -> AsyncIterator[Exchange]:
        headers = list(_HEADERS)
        content: bytes | None = None
        if self.spec.bearer is not None:
            key = read_secret(self.spec.bearer, str(self.spec.id), self.transport.environ)
            self.transport.keys.add(key)
            headers.append((b"Authorization", b"Bearer " + key.encode()))
        if body is not None:
            headers.append((b"Content-Type", b"application/json"))
            content = json.dumps(body).encode()
        begun = self.transport.clock().timestamp()
        response = await self._wire.send(method, path, headers, content)
        if self.spec.id not in self.transport.skews:
            off = skew(told_by(response.header(b"date")), begun, self.transport.clock().timestamp())
            if off is not None:
                self.transport.skews[self.spec.id] = off
        try:
            if 300 <= response.status < 400:
                location = response.header(b"location") or b"nowhere"
                target = clean_text(self.transport.keys.without(location).decode(errors="replace"))
                raise _failed("redirected", self.shown + path, f"redirects to {target}", "write the engine's own url")
            if response.status in (401, 403):
                raise _refused(self.spec, response.status, self.shown + path)
            yield response
        finally:
            await response.aclose()

    def _from_below(self, error: Exception, shown: str) -> EngineError:
        """The one sentence for what went wrong below HTTP; it may quote what the server sent."""
        found = _from_below(error, shown)
        problem = found.problems[0]
        said = self.transport.keys.without(problem.what.encode()).decode()
        return type(found)(replace(problem, what=said), found.code)


async def _whole(response: Exchange, limit: int, shown: str) -> bytes:
    """The body, read no further than `limit` bytes."""
    announced = response.header(b"content-length") or b""
    if announced.isdigit() and (len(announced) > 18 or int(announced) > limit):
        raise _too_large(shown, limit)
    body = bytearray()
    async for part in response.chunks():
        body += part
        if len(body) > limit:
            raise _too_large(shown, limit)
    return bytes(body)


def _refused(spec: EngineSpec, status: int, shown: str) -> Unreachable:
    """What a 401 or 403 stands for. An Ollama on a loopback address answers 403 to a host name that is not local (it takes every local IP
    address); it has no keys of its own, so whatever else asks for one stands before it."""
    if spec.bearer is not None:
        return _failed("key_refused", shown, f"refuses the key (status {status})", "check auth.bearer of this engine")
    if spec.kind is EngineKind.OLLAMA and status == 403 and not _is_ip(urlsplit(spec.url).hostname or ""):
        mend = "start it with OLLAMA_HOST=0.0.0.0, or ask it by its IP address"
        return _failed("host_refused", shown, f"refuses the host name of its url (status {status})", mend)
    return _failed("key_refused", shown, f"asks for a key (status {status})", "check auth.bearer of this engine")


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _too_large(shown: str, limit: int) -> Unreachable:
    return _failed("too_large", shown, f"answered more than {limit // MIB} MiB", "check that the engine's url and kind are right")


def _refusal(answer: Answer, request: str) -> Unreachable:
    if answer.status >= 500:
        return _failed("http_5xx", answer.url, f"answered {request} with status {answer.status}: {answer.message}")
    if answer.status == _TOO_MANY:
        return _failed("busy", answer.url, f"answered {request} with status 429: too many requests", "try again later")
    what = f"answered {request} with status {answer.status}"
    return _failed("not_its_protocol", answer.url, what, "check that the engine's url and kind are right")


def _from_below(error: Exception, shown: str) -> EngineError:
    if (limit := own_limit(error)) is not None:
        return Unreachable(replace(limit, where=Place(shown)), "own_limit")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return _failed("no_such_host", shown, f"has a name that cannot be resolved: {clean_text(str(cause))}", "check its url")
        if isinstance(cause, ssl.SSLError):
            return _failed("tls", shown, f"TLS failed: {clean_text(str(cause))}", "check tls.ca and the certificate of the engine")
        cause = cause.__cause__ or cause.__context__
    why = clean_text(str(error)) or type(error).__name__
    if isinstance(error, httpcore.TimeoutException):
        return _failed("timeout", shown, "did not answer in time")
    if isinstance(error, httpcore.ConnectError):
        return _failed(
            "refused", shown, f"cannot be connected to: {system_reason(error) or why}", "check that the engine runs and listens there"
        )
    if isinstance(error, _LOST) or "disconnected" in why or "peer closed" in why:
        return _failed("cut", shown, "broke the connection off before its answer was complete")
    return _failed("not_its_protocol", shown, f"does not speak HTTP as expected: {why}", "check that the engine's url and kind are right")


def _failed(code: str, shown: str, what: str, hint: str | None = None) -> Unreachable:
    return Unreachable(Problem(what, Place(shown), hint), code)
