"""Which process holds a lease, and whether it still runs.

A process id alone says nothing: ids are used again, and containers on one host count from 1 each. So a process is its id with its start
time, on a boot of a kernel, inside one pid namespace (Linux: proc(5), `/proc/sys/kernel/random/boot_id`, `/proc/PID/stat` field 22).
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START_FIELD = 22


@dataclass(frozen=True, slots=True)
class Process:
    """`boot` None: the system does not tell, so nobody can say whether the process is gone. `started` is in clock ticks since boot."""

    who: str
    host: str
    boot: str | None
    pid: int
    started: int | None


def this_process() -> Process:
    return Process(_who(), socket.gethostname(), _boot(), os.getpid(), _started(os.getpid()))


def is_gone(process: Process, boot: str | None) -> bool:
    """Whether `process` surely runs no more, as seen from the boot and pid namespace `boot`; False when that cannot be told."""
    if boot is None or process.boot != boot:
        return False
    started = _started(process.pid)
    return started is None or (process.started is not None and started != process.started)


def _who() -> str:
    try:
        return getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _boot() -> str | None:
    try:
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _started(pid: int) -> int | None:
    """The start time of a running process; None when there is none, or only a zombie that its parent has not waited for."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # the name before may hold blanks and parentheses
    return None if fields[0] in ("Z", "X") else int(fields[_START_FIELD - 3])
