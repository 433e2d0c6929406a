"""What can be done on a host, however it is reached: run a program, read a file, write one whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from reconciler.fleet import MIB, GpurecError, Place, Problem
from reconciler.hosts.bounded import Ran
from reconciler.value_class import value_class

PATH = "{path}"
"""What a command that validates a file says for the path of the draft."""
MOST_FILE = 4 * MIB
"""The largest file that is read or written whole."""


class HostError(GpurecError):
    """A host could not be reached, or did not do what it was asked for. `code` is a word such as `timeout`, `key_refused`, `no_permission`,
    `not_a_file`; `said` is what had come of an answer that was cut off."""

    def __init__(self, problem: Problem, code: str, said: bytes = b"") -> None:
        super().__init__(problem)
        self.code = code
        self.said = said


def host_error(code: str, host: str, what: str, hint: str | None = None, said: bytes = b"") -> HostError:
    return HostError(Problem(what, Place(host), hint), code, said)


def cannot_start(program: str, code: str, host: str, error: OSError) -> HostError:
    """Why a program of this machine did not start; a limit of our own is told as ours."""
    from reconciler.engines.answers import own_limit

    limit = own_limit(error)
    if limit is not None:
        return host_error("own_limit", host, limit.what, limit.hint)
    return host_error(code, host, f"{program} cannot be started: {error.strerror}")


@value_class
class HostFile:
    """A file as it is there. `mode` are its permission bits (0o644), `owner` and `group` names, or numbers where they have none."""

    content: bytes
    mode: int
    owner: str
    group: str


@value_class
class FileSeen:
    """A file without its content. `digest` is its SHA-256 as hex, None where it has more than MOST_FILE bytes, and so is none of ours."""

    digest: str | None
    mode: int
    owner: str
    size: int


class Host(Protocol):
    """A machine on which commands run and files are. Everything takes at most `within` seconds, and raises HostError."""

    @property
    def name(self) -> str:
        """What errors name: the node."""
        ...

    async def run(self, command: Sequence[str], *, within: float, given: bytes = b"", limit: int = ..., sudo: bool = False) -> Ran:
        """Runs a command, which is a list and is never read by a shell, with `given` on its stdin (nothing: an empty one). What it prints
        beyond `limit` bytes ends it."""
        ...

    async def script(self, text: str, *, within: float, limit: int = ..., sudo: bool = False) -> Ran:
        """Runs a POSIX shell script, read to its end before anything of it is done; as root by `sudo -n` where `sudo`."""
        ...

    async def read_file(self, path: str, *, within: float, sudo: bool = False) -> HostFile | None:
        """A file; None where there is none. HostError `not_a_file`, `no_permission`, `too_large` where it cannot be read as one."""
        ...

    async def look_at_files(self, paths: Sequence[str], *, within: float, sudo: bool = False) -> Mapping[str, FileSeen | HostError | None]:
        """Many files at once, none of their content: None where there is none, the error where it cannot be read as a file."""
        ...

    async def write_file(
        self,
        path: str,
        content: bytes,
        *,
        within: float,
        mode: int = 0o644,
        owner: str | None = None,
        validate: Sequence[str] = (),
        sudo: bool = False,
    ) -> FileSeen | HostError | None:
        """Puts a file in the place of `path`, whole or not at all: written beside it under the same name in a folder of its own, approved
        by the command `validate` (HostError `invalid` where that fails), given its mode and owner (None: whoever writes), then renamed. A
        link is followed, but not in a folder that everybody may write to, or that is neither root's nor the writer's; what is no file is
        never replaced. What is there then comes back, as by `look_at_files`."""
        ...

    async def remove_file(self, path: str, *, within: float, sudo: bool = False) -> None:
        """Removes a file, where there is one; a link to a file is removed itself. What is no file is never removed."""
        ...
