"""What can be told of this machine itself: whether it has NVML or another way to its cards, and whose processes hold them."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import sys
from collections.abc import Collection
from functools import cache
from pathlib import Path

from reconciler.probes.protocol import ProcessTable

_LISTENING = "0A"
_DEEPEST = 64
_FOLDERS = ("/opt/rocm/bin", "/usr/sbin", "/sbin")
"""Where tools are though PATH may not say so."""
_CONTAINER = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?:$|/)")


def tool_here(platform: str = sys.platform) -> str | None:
    """The program by which this machine's cards can be asked for where NVML is not there; None where it has none. Looked for once."""
    return _tool_on(platform, _search_path())


@cache
def _tool_on(platform: str, path: str) -> str | None:
    names = ("system_profiler",) if platform == "darwin" else ("amd-smi", "rocm-smi")
    return next((found for name in names if (found := shutil.which(name, path=path)) is not None), None)


def program_here(name: str) -> str | None:
    """The path of a program of this machine."""
    return shutil.which(name, path=_search_path())


def _search_path() -> str:
    return os.pathsep.join((os.environ.get("PATH", os.defpath), *_FOLDERS))


@cache
def nvml_is_here() -> bool:
    """Whether the driver's library can be loaded; nothing of it is called, so a driver that hangs is not noticed yet."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


def process_table(pids: Collection[int], ports: Collection[int], proc: Path = Path("/proc")) -> ProcessTable:
    """Of these processes and all above them: parents, names, and which listens on one of `ports`, as far as this user may see."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    containers: dict[int, str] = {}
    for pid in pids:
        found = _container(proc / str(pid))
        if found is not None:
            containers[pid] = found
        for _ in range(_DEEPEST):
            if pid <= 1 or pid in parents:
                break
            line = _stat(proc / str(pid))
            if line is None:
                break
            names[pid], parents[pid] = line
            pid = parents[pid]
    sockets = _listening(ports, proc) if parents else {}
    listeners: dict[int, int] = {}
    for pid in parents if sockets else ():
        for inode in _sockets(proc / str(pid)):
            port = sockets.get(inode)
            # a child may have inherited the socket: the one nearest the root of its tree listens
            if port is not None and (port not in listeners or parents.get(listeners[port]) == pid):
                listeners[port] = pid
    return ProcessTable(parents, listeners, names, containers)


def _stat(folder: Path) -> tuple[str, int] | None:
    """Name and parent; the name stands in parentheses and may hold some itself (proc(5))."""
    try:
        line = (folder / "stat").read_text(errors="replace")
        name, _, rest = line.partition("(")[2].rpartition(")")
        return name, int(rest.split()[1])
    except (OSError, ValueError, IndexError):
        return None


def _container(folder: Path) -> str | None:
    try:
        found = _CONTAINER.search((folder / "cgroup").read_text(errors="replace").strip())
    except OSError:
        return None
    return found.group(1) if found is not None else None


def _listening(ports: Collection[int], proc: Path) -> dict[int, int]:
    """Ports by the inode of the socket that listens on them."""
    found: dict[int, int] = {}
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            parts = line.split()
            if len(parts) > 9 and parts[3] == _LISTENING:
                port = int(parts[1].rpartition(":")[2], 16)
                if port in ports:
                    found[int(parts[9])] = port
    return found


def _sockets(folder: Path) -> list[int]:
    found = []
    try:
        for entry in (folder / "fd").iterdir():
            target = str(entry.readlink())
            if target.startswith("socket:["):
                found.append(int(target[8:-1]))
    except (OSError, ValueError):
        return found
    return found
