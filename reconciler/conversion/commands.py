"""The command line of a llama-server, as far as it says how a model is run.

Names of arguments: common/arg.cpp of llama.cpp.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import PureWindowsPath

from reconciler.conversion.reading import whole
from reconciler.value_class import value_class

MOST_ARGUMENTS = 1000
ALL_LAYERS = 99
"""So many layers on the card, and more, are written by people who mean all of them."""
_NAMES: Mapping[str, str] = {
    "-m": "model", "--model": "model", "-hf": "hf", "-hfr": "hf", "--hf-repo": "hf", "-c": "context", "--ctx-size": "context",
    "-ngl": "layers", "--gpu-layers": "layers", "--n-gpu-layers": "layers", "-np": "parallel", "--parallel": "parallel", "--port": "port",
    "--host": "host", "--api-key": "key", "-hft": "token", "--hf-token": "token",
}  # fmt: skip
_DRIVE = re.compile(r"(?:^|[\s\"'=])[A-Za-z]:\\")
_ARGUMENT = re.compile(r"--?[a-z][a-z0-9-]{0,60}")
_SECRET = ("key", "token")


@value_class
class ServerCommand:
    """What the arguments say. `context` is what one request may use, in tokens; `layers` is how many of them the card is to hold, as it
    stands there; `others` are arguments that nobody reads, without their values; `secrets` are those that hold one."""

    weights: str | None
    context: int | None
    layers: str | None
    others: tuple[str, ...]
    secrets: tuple[str, ...]

    @property
    def on_cpu(self) -> bool:
        return self.layers == "0"

    @property
    def partly(self) -> bool:
        layers = whole(self.layers)
        return layers is not None and 0 < layers < ALL_LAYERS


def _is_server(word: str) -> bool:
    """Whether what comes after this word of a command line are arguments of llama-server: its program, or an image that starts it."""
    return PureWindowsPath(word).name in ("llama-server", "llama-server.exe") or word.rpartition("/")[2].startswith("llama.cpp:server")


def read_command(text: str) -> ServerCommand | None:
    """The command of a llama-server; None where the text is none. Lines that begin with `#` are comments, a `\\` at the end goes on, as
    llama-swap reads them (internal/config/config.go, SanitizeCommand)."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    line = "\n".join(lines).replace("\\\n", " ")
    if _DRIVE.search(line):  # there a backslash is a part of a path
        line = line.replace("\\", "\\\\")
    try:
        words = shlex.split(line)[: MOST_ARGUMENTS + 1]
    except ValueError:
        return None
    at = next((place for place, word in enumerate(words) if _is_server(word)), None)
    if at is None or len(words) > MOST_ARGUMENTS:
        return None
    said: dict[str, str] = {}
    others: list[str] = []
    secrets: list[str] = []
    rest = iter(words[at + 1 :])
    word = next(rest, None)
    while word is not None:
        name, equals, inline = word.partition("=")
        meaning = _NAMES.get(name)
        if meaning is None:
            if _ARGUMENT.fullmatch(name):
                others.append(name)
            word = next(rest, None)
            continue
        value = inline if equals else next(rest, None)
        if value is not None:
            said[meaning] = value
        if meaning in _SECRET:
            secrets.append(name)
        word = next(rest, None)
    cells, parallel = whole(said.get("context")), whole(said.get("parallel"))
    context = cells // max(parallel or 1, 1) if cells else None
    weights = said.get("model") or said.get("hf")
    return ServerCommand(weights, context or None, said.get("layers"), tuple(dict.fromkeys(others)), tuple(dict.fromkeys(secrets)))
