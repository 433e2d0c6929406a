"""Runs a program within bounds: so much time, so much output, and nothing of it left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from reconciler.fleet import MIB
from reconciler.value_class import value_class

Clean = Callable[[bytes], bytes]
"""Takes out of what a program says what must not become a value, such as keys (`engines.keys`)."""
LIMIT = 8 * MIB
_LOOK = 0.05
_POLL = 0.005
_GRACE = 0.5
"""Seconds in which a program that was killed, or a pipe that a background process still holds, may end."""


@value_class
class Ran:
    """How a program ended. `cut` is `timeout` or `too_large` where it was not let go on; `code` is then None."""

    code: int | None
    out: bytes
    err: bytes
    cut: str | None = None

    def cleaned(self, clean: Clean) -> Ran:
        """The same with `clean` over all that was said."""
        return replace(self, out=clean(self.out), err=clean(self.err))


async def run_bounded(
    argv: Sequence[str], *, within: float, limit: int = LIMIT, give: bytes = b"", environ: Mapping[str, str] | None = None
) -> Ran:
    """Runs `argv` with `give` on its stdin. After `within` seconds, or more than `limit` bytes on stdout, it and its children are killed;
    and so is, once it has ended, what of it still holds its output.

    A process that cannot even be killed (stuck in a driver) is left behind, and not waited for. Raises OSError where there is no such
    program.
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE if give else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environ,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = bytearray(), bytearray()
    readers = [
        asyncio.ensure_future(_read(process.stdout, out, limit)),
        asyncio.ensure_future(_read(process.stderr, err, limit)),
        asyncio.ensure_future(_give(process.stdin, give)),
    ]
    cut: str | None = None
    try:
        async with asyncio.timeout(within):
            # Process.wait() of some Pythons waits for the pipes too, which a background process may hold: so the status is looked at.
            while process.returncode is None:
                await asyncio.wait(readers, timeout=_LOOK)
                if len(out) > limit or len(err) > limit:
                    cut = "too_large"
                    break
                if all(reader.done() for reader in readers):
                    await process.wait()
    except TimeoutError:
        cut = "timeout"
    finally:
        await _end(process, readers, killed=cut is not None)
    return Ran(process.returncode if cut is None else None, bytes(out[:limit]), bytes(err[:limit]), cut)


async def _end(process: asyncio.subprocess.Process, readers: Sequence[asyncio.Future[None]], *, killed: bool) -> None:
    if killed or process.returncode is None:
        _kill(process.pid)
    _, waiting = await asyncio.wait(readers, timeout=_GRACE)
    if waiting:
        _kill(process.pid)  # the group has members as long as somebody holds the pipes, so its number is nobody else's
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    with suppress(TimeoutError):  # closing takes the status from the thread that waits for it, and asyncio says so on stderr
        async with asyncio.timeout(_GRACE):
            while process.returncode is None:  # noqa: ASYNC110 (Process.wait() may wait for the pipes too)
                await asyncio.sleep(_POLL)
    transport: asyncio.SubprocessTransport | None = getattr(process, "_transport", None)
    if transport is not None:  # asyncio has no public way to let go of a pipe that somebody else still holds
        transport.close()


def _kill(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


async def _read(stream: asyncio.StreamReader, into: bytearray, limit: int) -> None:
    while len(into) <= limit:
        part = await stream.read(65536)
        if not part:
            return
        into += part


async def _give(stream: asyncio.StreamWriter | None, what: bytes) -> None:
    if stream is None:
        return
    with suppress(ConnectionError, BrokenPipeError):
        stream.write(what)
        await stream.drain()
        stream.close()
