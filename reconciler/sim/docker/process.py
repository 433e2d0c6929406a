"""What runs in a simulated container: a small part of what a busybox can do, or a program of the fleet's own.

Of the shell: `echo WORDS` (with `$NAME`), `sleep N`, `exec sleep N`, `cat FILE`, `exit N`, `true`, `false`, apart by `;`. `httpd -f` runs
until it is ended. As the first process of a container none of them heeds SIGTERM, as on Linux.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

FOREVER = 10.0**9
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
_SHELLS = frozenset({"sh", "/bin/sh"})


class NoSuchProgram(Exception):
    """A command whose program the image does not have."""


@dataclass(frozen=True, slots=True)
class Write:
    """A line on a stream: 1 stdout, 2 stderr."""

    stream: int
    text: str


@dataclass(frozen=True, slots=True)
class Sleep:
    seconds: float


@dataclass(frozen=True, slots=True)
class Exit:
    code: int


Act = Write | Sleep | Exit


class Running(Protocol):
    """A program of the fleet's own that runs in a container. `end` is heard at once, as by a server that heeds SIGTERM."""

    def end(self) -> None: ...


class Surroundings(Protocol):
    """What a program of the fleet's own sees of the container that it starts in. `published` are address, port of the node, port of the
    container, protocol; `host` is the container's `HostConfig`."""

    @property
    def name(self) -> str: ...

    @property
    def argv(self) -> list[str]: ...

    @property
    def env(self) -> Mapping[str, str]: ...

    @property
    def host(self) -> Mapping[str, object]: ...

    @property
    def network_mode(self) -> str: ...

    @property
    def published(self) -> list[tuple[str, int, int, str]]: ...


Program = Callable[[Surroundings, Callable[[int], None]], Running]
"""Starts in a container; calls the function with its status where it ends by itself. Raises SimError where it cannot start."""


def acts_of(argv: Sequence[str], env: Mapping[str, str], files: Mapping[str, bytes]) -> list[Act]:
    """What a command does, one thing after the other, the last an Exit. Raises NoSuchProgram."""
    if not argv:
        raise NoSuchProgram("")
    program = argv[0].rpartition("/")[2]
    if argv[0] in _SHELLS and len(argv) == 3 and argv[1] == "-c":
        found: list[Act] = []
        status = 0
        for part in argv[2].split(";"):
            words = shlex.split(_VARIABLE.sub(lambda match: env.get(match[1] or match[2], ""), part))
            if words[:1] == ["exec"]:
                words = words[1:]
            if not words:
                continue
            *acts, last = acts_of(words, env, files) if words[0] not in _SHELLS else [Exit(127)]
            found += acts
            status = last.code if isinstance(last, Exit) else 0
            if words[0] == "exit":
                break
        return [*found, Exit(status)]
    return _program(program, list(argv[1:]), files)


def _program(program: str, words: list[str], files: Mapping[str, bytes]) -> list[Act]:
    if program == "echo":
        return [Write(1, " ".join(words)), Exit(0)]
    if program == "sleep":
        return [Sleep(_number(words)), Exit(0)]
    if program == "httpd":
        return [Sleep(FOREVER), Exit(0)]
    if program == "cat":
        content = files.get(words[0]) if words else b""
        if content is None:
            return [Write(2, f"cat: can't open '{words[0]}': No such file or directory"), Exit(1)]
        return [*(Write(1, line) for line in content.decode("utf-8", "replace").splitlines()), Exit(0)]
    if program in ("true", "false", "exit"):
        return [Exit(int(_number(words)) if program == "exit" else int(program == "false"))]
    raise NoSuchProgram(program)


def _number(words: Sequence[str]) -> float:
    try:
        return float(words[0]) if words else 0.0
    except ValueError:
        return 0.0


def exit_code(argv: Sequence[str], env: Mapping[str, str], files: Mapping[str, bytes]) -> int:
    """How a command ends, as a health check asks; one that is not there ends with 127."""
    try:
        last = acts_of(argv, env, files)[-1]
    except NoSuchProgram:
        return 127
    return last.code if isinstance(last, Exit) else 0
