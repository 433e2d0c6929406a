"""`gpurec` that is killed at one write of its state: `victim.py before|after N ARGUMENT…`, or `victim.py never 0 ARGUMENT…`.

The N-th commit of the process (its own and its heartbeat's, explicit or not) is where SIGKILL comes: right before it, or right after it.
What is written is not told apart, so that no kind of commit can be forgotten.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from typing import Any

_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "DROP", "ALTER")
_open = sqlite3.connect


class Mortal(sqlite3.Connection):
    """A connection that ends its process at the write that it was told."""

    when = "never"
    left = 0

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        word = sql.lstrip().split(None, 1)[0].upper() if sql.strip() else ""
        commits = word == "COMMIT" or (word in _WRITES and not self.in_transaction)
        if commits:
            Mortal.left -= 1
            self._die("before")
        result = super().execute(sql, *arguments)
        if commits:
            self._die("after")
        return result

    def _die(self, when: str) -> None:
        if Mortal.left == 0 and Mortal.when == when:
            os.kill(os.getpid(), signal.SIGKILL)


def _connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
    return _open(*arguments, **{**options, "factory": Mortal})


if __name__ == "__main__":
    Mortal.when, Mortal.left = sys.argv[1], int(sys.argv[2])
    sqlite3.connect = _connect  # type: ignore[assignment]
    from reconciler.cli.main import main

    sys.argv[1:] = sys.argv[3:]
    main()
