"""From an error to one sentence on stderr and an exit status."""

from __future__ import annotations

import errno

from reconciler.cli.settings import tell
from reconciler.fleet import GpurecError
from reconciler.views.escape import escape

_LONGEST = 2000
_OUTPUT_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""Of these without a file: every other file names itself in its error, only the standard streams do not."""


def report(error: Exception, verbose: int) -> int:
    """Writes `Error: …`, a line for each problem, and a traceback only with `-vv`; returns the exit status."""
    show_traceback(error, verbose)
    for sentence in _sentences(error):
        tell(f"Error: {escape(sentence, _LONGEST)}")
    return error.exit_code if isinstance(error, GpurecError) else 1


def show_traceback(error: Exception, verbose: int) -> None:
    """On stderr, and only with `-vv`."""
    if verbose >= 2:
        import traceback

        tell("".join(traceback.format_exception(error)).rstrip())


def _sentences(error: Exception) -> list[str]:
    if isinstance(error, GpurecError):
        return [problem.sentence() for problem in error.problems] or [type(error).__name__]
    if isinstance(error, OSError) and error.strerror:
        if error.errno in _OUTPUT_ERRORS and not error.filename:
            return [f"standard output: the result cannot be written: {error.strerror}; send it where there is room"]
        if error.errno == errno.ENOENT and not error.filename:  # only the look for the folder that this process is in names none
            return ["the folder that gpurec was started in is gone; go to one that is there, or name one with -C"]
        return [f"{error.filename}: {error.strerror}" if error.filename else error.strerror]
    return [f"gpurec itself failed: {type(error).__name__}: {error}; run it again with -vv to see where, and report that"]
