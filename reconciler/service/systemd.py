"""What systemd wants to hear of a service of `Type=notify` (sd_notify(3)): that it is ready, how it stands, that it is alive."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class Systemd:
    """Sends to the socket of `NOTIFY_SOCKET`; without one it does nothing. A service manager that does not listen is no reason to end."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        env = os.environ if environ is None else environ
        self._address = env.get("NOTIFY_SOCKET") or None
        meant = env.get("WATCHDOG_PID") in (None, "", str(os.getpid()))
        usec = env.get("WATCHDOG_USEC", "")
        self.watchdog = int(usec) / 2_000_000 if meant and usec.isascii() and usec.isdecimal() and 0 < len(usec) < 16 else None
        """Seconds between signs of life: half of what systemd waits for (WATCHDOG_USEC)."""

    def send(self, **fields: str) -> None:
        """One datagram of `KEY=value` lines."""
        if self._address is None or not hasattr(socket, "AF_UNIX"):
            return
        text = "\n".join(f"{key}={' '.join(value.split())}" for key, value in fields.items())
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.setblocking(False)
            to.sendto(text.encode("utf-8", "replace"), address)

    async def keep_alive(self) -> None:
        """Signs of life for as long as the loop turns; cancel it to end. Where systemd asks for none it only waits."""
        while self.watchdog is not None:
            self.send(WATCHDOG="1")
            await asyncio.sleep(self.watchdog)
