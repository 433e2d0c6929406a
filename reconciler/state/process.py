"""Which process holds a lease, and whether it still runs.

A process id alone says nothing: ids are used again, and containers on one host count from 1 each. So a process is its id with its start
time, on a boot of a kernel, inside one pid namespace (Linux: proc(5), `/proc/sys/kernel/random/boot_id`, `/proc/PID/stat` field 22).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from getpass import getuser
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.value_class import value_class

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")
_START_FIELD = 22
_LONGEST_URL = 500

ProcessTable = Callable[[int], int | None]
"""The start time of the process with this id, in clock ticks since boot; None when there is none."""


@value_class
class Process:
    """`boot` or `namespace` None: the system does not tell, so nobody can say whether the process is gone. `started` is in clock ticks
    since boot. `ci` is the page of the CI job that it runs in."""

    who: str
    host: str
    boot: str | None
    pid: int
    started: int | None
    namespace: str | None = None
    ci: str | None = None

    def seen_from(self, other: Process) -> bool:
        """Whether `other` can look this process up by its id: same boot of the same kernel, same pid namespace."""
        here = (self.boot, self.namespace)
        return None not in here and here == (other.boot, other.namespace)


def this_process() -> Process:
    pid = os.getpid()
    return Process(_who(), socket.gethostname(), _boot(), pid, start_time(pid), _namespace(), ci_page(os.environ))


def is_gone(process: Process, me: Process, table: ProcessTable | None = None) -> bool:
    """Whether `process` surely runs no more, as seen from `me`; False when that cannot be told from here."""
    if not process.seen_from(me):
        return False
    started = (table or start_time)(process.pid)
    return started is None or (process.started is not None and started != process.started)


def start_time(pid: int) -> int | None:
    """The start time of a running process; None when there is none, or only a zombie that its parent has not waited for."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # the name before may hold blanks and parentheses
    return None if fields[0] in ("Z", "X") else int(fields[_START_FIELD - 3])


def ci_page(environment: Mapping[str, str]) -> str | None:
    """The page of the CI job that this process runs in; None elsewhere.

    GitHub Actions: `GITHUB_SERVER_URL/GITHUB_REPOSITORY/actions/runs/GITHUB_RUN_ID` ("Variables reference" of its documentation).
    GitLab: `CI_JOB_URL` ("Predefined CI/CD variables"). What is no web address is left out, and so is a password in it.
    """
    get = environment.get
    if get("GITHUB_ACTIONS") and get("GITHUB_REPOSITORY") and get("GITHUB_RUN_ID"):
        page = f"{get('GITHUB_SERVER_URL') or 'https://github.com'}/{get('GITHUB_REPOSITORY')}/actions/runs/{get('GITHUB_RUN_ID')}"
    else:
        page = get("CI_JOB_URL") or ""
    if len(page) > _LONGEST_URL or not page.isprintable():
        return None
    try:
        parts = urlsplit(page)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _who() -> str:
    try:
        return getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _boot() -> str | None:
    try:
        return _BOOT_ID.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _namespace() -> str | None:
    try:
        return str(_NAMESPACE.readlink())
    except OSError:
        return None
