"""One apply that comes to its end before its time, and what the next one makes of it: the rules that hold after every such end."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))
from cli_lab import Lab, served

from reconciler.sim import builtin_fleet
from reconciler.sim.ollama import OllamaEngine

VICTIM = Path(__file__).parent / "victim.py"
FIRST = """version: 1
models:
  nomic-embed-text: {engine: ollama, on: ollama, each: node, vram: 350MiB}
  tinyllama-1b: {engine: llamacpp, on: llamacpp, vram: 1200MiB}
"""
THEN = """version: 1
models:
  nomic-embed-text: {engine: ollama, on: ada, vram: 350MiB}
  llama3.1:8b: {engine: ollama, on: bea, vram: 5500MiB}
  phi-3-mini: {engine: llamacpp, on: llamacpp, vram: 2500MiB}
"""
TAGGED = """version: 1
models:
  nomic-embed-text: {engine: ollama, on: ollama, each: node, vram: 400MiB, context: 2048}
  tinyllama-1b: {engine: llamacpp, on: llamacpp, vram: 1200MiB}
"""
NOTHING = "version: 1\npolicy: {guards: {allow_empty: true}}\nmodels: {}\n"
_LOADS = ("/api/generate", "/api/embed", "/models/load")
_FETCHES = ("/api/pull", "/api/create")


@dataclass(frozen=True)
class Story:
    """What is applied before the apply that ends early, and how that is asked for. `writes` and `requests` are about how often it commits,
    and sends what could change a server."""

    name: str
    before: str | None
    wanted: str
    writes: int
    requests: int
    saved: bool = False
    arguments: tuple[str, ...] = ()

    @property
    def apply(self) -> tuple[str, ...]:
        return ("apply", "p.json", *self.arguments) if self.saved else ("apply", "--auto-approve", *self.arguments)


STORIES = (
    Story("fresh", None, FIRST, 20, 3),
    Story("fresh, one at a time", None, FIRST, 20, 3, arguments=("--parallelism", "1")),
    Story("changed", FIRST, THEN, 20, 6),
    Story("saved", FIRST, THEN, 20, 6, saved=True),
    Story("saved without a state", None, THEN, 20, 4, saved=True),
    Story("tagged", FIRST, TAGGED, 20, 6),
    Story("emptied", FIRST, NOTHING, 16, 3),
)


@dataclass(frozen=True)
class End:
    """How a victim ended: `status` negative for a signal, and what it said on stderr."""

    status: int
    said: str

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


class Victims:
    """Victims on demand, each forked from one process that has the program loaded."""

    def __enter__(self) -> Self:
        self._source = subprocess.Popen([sys.executable, str(VICTIM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._source.communicate(timeout=60)

    def run(self, lab: Lab, story: Story, when: str, number: int = 0, seconds: float = 0.0) -> End:
        """The story's apply, ended as `victim.py` says."""
        return self.end(lab, story.apply, when, number, seconds)

    def end(self, lab: Lab, arguments: Sequence[str], when: str, number: int = 0, seconds: float = 0.0) -> End:
        """The same of any command."""
        order = {"when": when, "number": number, "seconds": seconds, "arguments": ["-C", str(lab.root), *arguments]}
        assert self._source.stdin is not None
        assert self._source.stdout is not None
        self._source.stdin.write(json.dumps(order) + "\n")
        self._source.stdin.flush()
        return End(**json.loads(self._source.stdout.readline()))


@contextmanager
def told(story: Story, root: Path) -> Iterator[Lab]:
    """A simulated fleet where the story has come to the apply that will end early."""
    root.mkdir(parents=True)
    with served(builtin_fleet("demo").with_time_scale(0), root) as lab:
        if story.before is not None:
            lab.want(story.before)
            ran(lab, "apply", "--auto-approve")
        lab.want(story.wanted)
        if story.saved:
            ran(lab, "plan", "--out", "p.json")
        yield lab


def ran(lab: Lab, *arguments: str) -> str:
    result = lab.run(*arguments)
    assert result.exit_code == 0, f"{arguments}: {result.exit_code}\n{result.output}"
    return result.stdout


def check_aftermath(lab: Lab, story: Story) -> None:
    """The state is whole, the next apply does what is left and repeats nothing, and then there is nothing to do."""
    check_whole(lab)
    resident = {name: set(engine.residents) for name, engine in lab.fleet.engines.items()}
    installed = installed_on(lab)
    lab.fleet.forget_requests()
    ran(lab, *story.apply)
    assert repeated(lab, resident, installed) == []
    assert json.loads(ran(lab, "plan", "--format", "json"))["steps"] == []
    assert json.loads(ran(lab, "drift", "--format", "json"))["drift"] == []
    ran(lab, "lock", "status")
    check_whole(lab)
    with closing(sqlite3.connect(lab.state)) as state:
        assert state.execute("SELECT count(*) FROM journal WHERE status = 'started'").fetchone() == (0,)


def check_whole(lab: Lab) -> None:
    """SQLite finds no fault in the state, where there is one."""
    if lab.state.exists():
        with closing(sqlite3.connect(lab.state)) as state:
            assert state.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert state.execute("PRAGMA foreign_key_check").fetchall() == []


def installed_on(lab: Lab) -> dict[str, set[str]]:
    """What each server lists as installed, by `NODE/ENGINE`; only Ollama fetches anything."""
    return {
        name: {entry["name"] for entry in json.loads(json.dumps(engine.library.tags()))["models"]}
        if isinstance(engine, OllamaEngine)
        else set()
        for name, engine in lab.fleet.engines.items()
    }


def repeated(lab: Lab, resident: dict[str, set[str]], installed: dict[str, set[str]]) -> list[str]:
    """Requests, by the servers' own logs, for what was there already."""
    found = []
    for name, engine in lab.fleet.engines.items():
        for request in engine.requests:
            model = str((request.body or {}).get("model"))
            again = request.path in _LOADS and _is_load(request.body or {}) and model in resident[name]
            if again or (request.path in _FETCHES and model in installed[name]):
                found.append(f"{name}: {request.path} {request.body}")
    return found


def _is_load(body: dict[str, object]) -> bool:
    return body.get("keep_alive") not in (0, "0", "0s")
