"""What this process may hold, told by the operating system."""

from __future__ import annotations

try:
    import resource
except ImportError:  # there is none on Windows
    resource = None  # type: ignore[assignment]

_USUAL = 1024


def open_files() -> int:
    """How many files, connections among them, this process may hold at the same time (`ulimit -n`)."""
    if resource is None:
        return _USUAL
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if most != resource.RLIM_INFINITY else 1 << 20
