"""A daemon's socket that kills its client: after the answer to its n-th request that changes something, and before the client hears it."""

from __future__ import annotations

import os
import re
import selectors
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workspaces import GPUREC

_PIECE = 65536
_CHANGES = re.compile(rb"(POST|PUT|DELETE) ")


class KillingSocket:
    """In front of a unix socket. `after(n, kill)`: the n-th change from now on is answered, and `kill` is called instead of telling so,
    until `rest()`. `asked` are the first lines of the changes of that time."""

    def __init__(self, path: Path, daemon: Path) -> None:
        self.path, self._daemon = path, str(daemon)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._lock = threading.Lock()
        self._last = 0
        self._kill: Callable[[], None] = lambda: None
        self.asked: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def after(self, count: int, kill: Callable[[], None]) -> None:
        with self._lock:
            self._last, self._kill, self.asked = count, kill, []

    def rest(self) -> None:
        with self._lock:
            self._last = 0

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _is_the_last(self, piece: bytes) -> bool:
        if not _CHANGES.match(piece):
            return False
        with self._lock:
            if self._last == 0:
                return False
            self.asked.append(piece.partition(b" HTTP/")[0].decode())
            return len(self.asked) == self._last

    def _carry(self, client: socket.socket) -> None:
        ends = False
        with client, socket.socket(socket.AF_UNIX) as server, selectors.DefaultSelector() as both, suppress(OSError):
            server.connect(self._daemon)
            both.register(client, selectors.EVENT_READ, server)
            both.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in both.select():
                    assert isinstance(key.fileobj, socket.socket)
                    piece = key.fileobj.recv(_PIECE)
                    if not piece:
                        return
                    if key.fileobj is server and ends:
                        self._kill()
                        return
                    ends = ends or (key.fileobj is client and self._is_the_last(piece))
                    key.data.sendall(piece)


@contextmanager
def killing_socket(daemon: Path) -> Iterator[KillingSocket]:
    with tempfile.TemporaryDirectory(prefix="gr-", dir="/tmp") as short:  # the path of a socket has 108 bytes at most
        door = KillingSocket(Path(short, "docker.sock"), daemon)
        try:
            yield door
        finally:
            door.close()


def is_killed(workspace: Path, door: KillingSocket, count: int, **variables: str) -> bool:
    """Whether an apply that is killed after so many changes asks for as many."""
    command = [str(GPUREC), "-C", str(workspace), "apply", "--auto-approve"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **variables})
    door.after(count, process.kill)
    status = process.wait(100)
    door.rest()
    return status == -signal.SIGKILL
