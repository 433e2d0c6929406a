"""One loop and its API in one process: uvicorn over the access layer, ended in order."""

from __future__ import annotations

import asyncio
import socket
import ssl
from asyncio import ALL_COMPLETED, FIRST_COMPLETED
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import uvicorn

from reconciler.fleet import GpurecError
from reconciler.fleet.addresses import is_loopback
from reconciler.operations.settings import WorkspaceSettings
from reconciler.operations.workspace import load
from reconciler.service.events import Listening, Reloaded, WatchEvent
from reconciler.service.http.access import Access, Tokens
from reconciler.service.http.app import app_of
from reconciler.service.http.broadcast import Broadcast
from reconciler.service.http.metrics import Metrics
from reconciler.service.http.pages.login import login_page
from reconciler.service.http.patience import ImpatientProtocol
from reconciler.service.watch import Signals, Watch, WatchOptions
from reconciler.value_class import value_class

MOST_HEADERS = 32 * 1024
KEEP_ALIVE = 20
MOST_CONNECTIONS = 600
_LAST = 5


@value_class
class Listen:
    """Where it listens. `names` are the hosts of its urls."""

    host: str
    port: int
    cert: Path | None = None
    key: Path | None = None

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host)

    @property
    def names(self) -> frozenset[str]:
        return frozenset({_in_url(self.host).lower()})

    @property
    def url(self) -> str:
        return f"{'https' if self.cert is not None else 'http'}://{_in_url(self.host)}:{self.port}"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def parse_listen(text: str) -> tuple[str, int]:
    """`HOST:PORT`, an IPv6 address in brackets. Raises GpurecError for anything else."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or not host or not (port.isascii() and port.isdecimal() and 0 <= int(port[:6]) < 65536):
        raise GpurecError.of(f"{text!r} is no address to listen on", "--listen", "write HOST:PORT, such as 127.0.0.1:8471")
    return host, int(port)


class _Server(uvicorn.Server):
    """Leaves signals to the loop: taken here, each would also end the server at once, with the steps that run, and come a second time."""

    def __init__(self, config: uvicorn.Config, started: Callable[[int], None]) -> None:
        super().__init__(config)
        self._started = started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self.servers:
            self._started(self.servers[0].sockets[0].getsockname()[1])


async def serve(
    settings: WorkspaceSettings,
    options: WatchOptions,
    listen: Listen,
    tell: Callable[[WatchEvent], None],
    signals: Signals,
) -> None:
    """Runs the loop and answers until it is asked to end. `tell` also hears where it listens.

    Raises GpurecError for wrong files, a token that cannot be read, and a port that cannot be had.
    """
    workspace = await load(settings)
    tokens = Tokens(workspace.desired.policy.service)
    broadcast = Broadcast()
    metrics: Metrics | None = None

    def hear(event: WatchEvent) -> None:
        nonlocal tokens
        tell(event)
        if metrics is not None:
            metrics.hear(event)
        broadcast.hear(event)
        if isinstance(event, Reloaded) and event.error is None and watch.workspace is not None:
            try:
                tokens = Tokens(watch.workspace.desired.policy.service)
            except GpurecError as error:  # the ones of before still count
                tell(Reloaded(error))

    watch = Watch(settings, options, hear, signals)
    metrics = Metrics(watch)
    app = Access(
        app_of(watch, settings, metrics, broadcast, lambda: tokens),
        lambda: tokens,
        listen.names,
        loopback=listen.loopback,
        login=login_page,
    )
    config = uvicorn.Config(
        app,
        host=listen.host,
        port=listen.port,
        ssl_certfile=str(listen.cert) if listen.cert is not None else None,
        ssl_keyfile=str(listen.key) if listen.key is not None else None,
        http=ImpatientProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        h11_max_incomplete_event_size=MOST_HEADERS,
        timeout_keep_alive=KEEP_ALIVE,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=_LAST,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        what = f"the certificate or its key cannot be used: {error.strerror or error}"
        raise GpurecError.of(what, f"{listen.cert}, {listen.key}", "name a PEM certificate and its key") from None
    server = _Server(config, lambda port: hear(Listening(replace(listen, port=port).url)))
    await together(_answer(server, listen), watch.run(), signals, lambda: _end(server, broadcast))


def _end(server: _Server, broadcast: Broadcast) -> None:
    broadcast.close()
    server.should_exit = True


async def together(
    answer: Coroutine[None, None, None], look: Coroutine[None, None, None], signals: Signals, end: Callable[[], None]
) -> None:
    """Answers and looks; whichever of them ends, the other ends too: the loop after its running steps, what answers by `end`. Cancelled, it
    still waits for both; a second time, it cuts the steps."""
    tasks = asyncio.ensure_future(answer), asyncio.ensure_future(look)
    cancelled = False
    ended = FIRST_COMPLETED
    while not all(task.done() for task in tasks):
        try:
            await asyncio.wait(tasks, return_when=ended)
        except asyncio.CancelledError:
            if cancelled:
                signals.request_stop()
            cancelled = True
        ended = ALL_COMPLETED
        end()
        if not signals.stop.requested:  # asked once more it would cut the steps that run
            signals.request_stop()
    for task in tasks:
        task.result()
    if cancelled:
        raise asyncio.CancelledError


async def _answer(server: _Server, listen: Listen) -> None:
    try:
        await server.serve()
    except SystemExit:  # what uvicorn does where it cannot listen
        what = f"{listen.host}:{listen.port} cannot be listened on"
        raise GpurecError.of(what, "--listen", "is another program there? name another port") from None
