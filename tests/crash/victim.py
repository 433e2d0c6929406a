"""Makes victims: a process with the whole program loaded, which forks a `gpurec` for each line of JSON that it reads and says how it ended.

A line is `{"when": …, "number": N, "seconds": S, "arguments": […]}`; `when` says where the process ends by SIGKILL, or its disk:

- `before commit`, `after commit`: its N-th commit, its own or its heartbeat's, explicit or not; what is written is not told apart, so
  that no kind of commit can be forgotten;
- `before request`, `after request`: its N-th request that could change a server, before it is sent and when its answer begins;
- `time`: after S seconds, also beside another one: `before commit, or time`;
- `full disk`: from its N-th commit on no file grows beyond 16 KiB, so that a rescue journal still can be written; `no room at all`: nor
  that; `read-only disk`: nor can the state be written, whatever its size;
- `never`.

The answer is `{"status": …, "said": stderr}`, `status` negative for a signal.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sqlite3
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from reconciler.cli.main import cli
from reconciler.cli.settings import Settings
from reconciler.engines.wire import ServerWire

POLL = 0.02
LONGEST_SECONDS = 60.0
_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "DROP", "ALTER")
_open = sqlite3.connect
_send = ServerWire.send


class Fate:
    """Where this process ends. Each point of its kind is counted, and the one that was told is fatal."""

    def __init__(self, when: str, number: int) -> None:
        self.when, self._left = when, number

    def meet(self, kind: str, act: Callable[[], None] | None = None) -> None:
        """The moment `kind` has come; `act` is what is done instead of dying, from the told one on."""
        if self.when.partition(",")[0] != kind:
            return
        self._left -= 1
        if act is not None and self._left <= 0:
            act()
        elif self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Mortal(sqlite3.Connection):
    """A connection that meets its process's fate at its commits."""

    fate = Fate("never", 0)

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        word = sql.lstrip().split(None, 1)[0].upper() if sql.strip() else ""
        commits = word == "COMMIT" or (word in _WRITES and not self.in_transaction)
        if commits:
            self.fate.meet("before commit")
            self.fate.meet("full disk", lambda: _fill_disk(16384))
            self.fate.meet("no room at all", lambda: _fill_disk(1))
            self.fate.meet("read-only disk", self._forbid)
        result = super().execute(sql, *arguments)
        if commits:
            self.fate.meet("after commit")
        return result

    def _forbid(self) -> None:
        super().execute("PRAGMA query_only = ON")


def _fill_disk(most: int) -> None:
    """No file of this process is written beyond so many bytes; what is longer keeps its length. Python ignores SIGXFSZ."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


def _connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
    return _open(*arguments, **{**options, "factory": Mortal})


async def _mortal_send(self: ServerWire, method: str, path: str, *rest: Any, **options: Any) -> Any:
    changing = method != "GET" and path != "/api/show"
    if changing:
        Mortal.fate.meet("before request")
    response = await _send(self, method, path, *rest, **options)
    if changing:
        Mortal.fate.meet("after request")
    return response


def _load_program() -> None:
    """All that an apply imports, so that a victim spends its time on its work."""
    import sqlite_utils  # noqa: F401

    import reconciler.cli.commands.plan
    import reconciler.engines
    import reconciler.operations.apply
    import reconciler.probes
    import reconciler.service.watch
    import reconciler.views
    import reconciler.workspace  # noqa: F401


def _victim(order: dict[str, Any], said: int) -> NoReturn:
    """What the forked process does: its fate, then the command."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.dup2(said, 2)
    Mortal.fate = Fate(order["when"], order["number"])
    sqlite3.connect = _connect  # type: ignore[assignment]  # a plain function in the place of an overloaded one
    ServerWire.send = _mortal_send  # type: ignore[method-assign]  # the options are passed on as they come
    try:
        cli.main(order["arguments"], obj=Settings(poll_seconds=POLL))
    except SystemExit as ending:
        sys.stderr.flush()
        os._exit(ending.code if isinstance(ending.code, int) else 1)
    os._exit(0)


def _end_of(pid: int, seconds: float) -> int:
    """Waits for a victim, and kills it after so many seconds; its status, negative for a signal."""
    watched = os.pidfd_open(pid)
    try:
        if not select.select([watched], [], [], seconds)[0]:
            os.kill(pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(watched)


def main() -> None:
    _load_program()
    for line in sys.stdin:
        order = json.loads(line)
        said, saying = os.pipe()  # it holds 64 KiB, more than an apply of few steps says
        pid = os.fork()
        if pid == 0:
            _victim(order, saying)
        os.close(saying)
        status = _end_of(pid, order["seconds"] if order["when"].endswith("time") else LONGEST_SECONDS)
        with os.fdopen(said, encoding="utf-8", errors="replace") as words:
            print(json.dumps({"status": status, "said": words.read()}), flush=True)


if __name__ == "__main__":
    main()
