"""When a forwarded socket can be used."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

from reconciler.containers.tunnel import is_listening


def test_a_socket_that_is_there_and_not_listened_at_yet_takes_no_connections() -> None:
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as bound:
        path = Path(short, "docker.sock")
        assert not is_listening(str(path))
        bound.bind(str(path))
        assert path.exists()
        assert not is_listening(str(path))
        bound.listen()
        assert is_listening(str(path))
