"""What the commands that run a loop share: its signals, and systemd's watchdog."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from reconciler.service.systemd import Systemd
from reconciler.service.watch import Signals


@asynccontextmanager
async def signalled(signals: Signals, systemd: Systemd) -> AsyncIterator[None]:
    """While it lasts, signals reach the loop and systemd hears that it is alive."""
    gc.set_threshold(700)  # Python's own again, which a start had raised (`main`): what stays for weeks is to stay small
    with _signals(signals):
        alive = asyncio.ensure_future(systemd.keep_alive())
        try:
            yield
        finally:
            alive.cancel()
            systemd.send(STOPPING="1")


@contextmanager
def _signals(signals: Signals) -> Iterator[None]:
    """SIGTERM and ^C end the loop, SIGHUP has its files read again. Where there are no such signals (Windows), ^C ends the process."""
    loop, heard = asyncio.get_running_loop(), []
    for name, act in (("SIGTERM", signals.request_stop), ("SIGINT", signals.request_stop), ("SIGHUP", signals.request_reload)):
        try:
            loop.add_signal_handler(number := getattr(signal, name), act)
        except (AttributeError, NotImplementedError, RuntimeError, ValueError):
            continue
        heard.append(number)
    try:
        yield
    finally:
        for number in heard:
            loop.remove_signal_handler(number)
