"""Signals that ask a command to end: ^C, SIGTERM, and the SIGHUP of a terminal that is gone, all alike."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def interrupt() -> None:
    raise KeyboardInterrupt


@contextmanager
def on_end_signal(act: Callable[[], None]) -> Iterator[None]:
    """Calls `act` for each such signal while it lasts. A SIGHUP that was ignored on purpose (`nohup`) stays ignored; outside the main
    thread Python gives no signals, so nothing happens there."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDING}
    if before.get(getattr(signal, "SIGHUP", None)) is signal.SIG_IGN:
        del before[signal.SIGHUP]
    for number in before:
        signal.signal(number, lambda *_: act())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
