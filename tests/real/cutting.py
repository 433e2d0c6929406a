"""A TCP proxy that lets so many pieces of what is said pass, and then cuts the connection, as a network does; later ones pass whole."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress

from processes import LOOPBACK

_PIECE = 65536


class CuttingProxy:
    """Between clients and a server on loopback. `cut_after(n)`: the connection that says or hears the n-th piece from now on is cut before
    that piece arrives."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._listening = socket.create_server((LOOPBACK, 0))
        self.port = int(self._listening.getsockname()[1])
        self._left: int | None = None
        self.cuts = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, pieces: int | None) -> None:
        with self._lock:
            self._left = pieces

    def _may_pass(self) -> bool:
        with self._lock:
            if self._left is None:
                return True
            if self._left > 0:
                self._left -= 1
                return True
            self._left = None
            self.cuts += 1
            return False

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection((LOOPBACK, self._server))
        except OSError:
            client.close()
            return
        with client, server, selectors.DefaultSelector() as both, suppress(OSError):
            both.register(client, selectors.EVENT_READ, server)
            both.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in both.select():
                    assert isinstance(key.fileobj, socket.socket)
                    piece = key.fileobj.recv(_PIECE)
                    if not piece or not self._may_pass():
                        return
                    key.data.sendall(piece)

    def close(self) -> None:
        self._listening.close()
