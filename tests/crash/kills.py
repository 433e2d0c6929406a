"""One apply that is killed, and what the next one makes of it: the rules that hold after every kill."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))
from cli_lab import Lab, served

from reconciler.sim import builtin_fleet

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
_LOADS = ("/api/generate", "/api/embed", "/models/load")


@dataclass(frozen=True)
class Story:
    """What is applied before the kill, and how the apply that is killed is asked for."""

    name: str
    before: str | None
    wanted: str
    saved: bool = False
    arguments: tuple[str, ...] = ()


STORIES = (
    Story("fresh", None, FIRST),
    Story("fresh, one at a time", None, FIRST, arguments=("--parallelism", "1")),
    Story("changed", FIRST, THEN),
    Story("saved", FIRST, THEN, saved=True),
    Story("saved without a state", None, THEN, saved=True),
)


@contextmanager
def told(story: Story, root: Path) -> Iterator[Lab]:
    """A simulated fleet where the story has come to the apply that will be killed."""
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


def killed(lab: Lab, story: Story, when: str, number: int, seconds: float | None = None) -> bool:
    """Runs the apply and kills it at that write (or after so many seconds); whether it died of it. Else it must have done all."""
    process = subprocess.Popen(
        [sys.executable, str(VICTIM), when, str(number), "-C", str(lab.root), "apply", *_how(story), *story.arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, said = process.communicate(timeout=seconds if seconds is not None else 60)
    except subprocess.TimeoutExpired:
        process.kill()
        _, said = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), said
    return process.returncode != 0


def check_aftermath(lab: Lab, story: Story) -> None:
    """The state is whole, the next apply does what is left and loads nothing twice, and then there is nothing to do."""
    if lab.state.exists():
        with closing(sqlite3.connect(lab.state)) as state:
            assert state.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    there = {name: set(engine.residents) for name, engine in lab.fleet.engines.items()}
    lab.fleet.forget_requests()
    ran(lab, "apply", *_how(story))
    repeated = [
        f"{name}: {request.path} {request.body}"
        for name, engine in lab.fleet.engines.items()
        for request in engine.requests
        if request.path in _LOADS and request.body and _is_load(request.body) and str(request.body.get("model")) in there[name]
    ]
    assert repeated == []
    assert json.loads(ran(lab, "plan", "--format", "json"))["steps"] == []
    assert json.loads(ran(lab, "drift", "--format", "json"))["drift"] == []
    ran(lab, "lock", "status")


def _how(story: Story) -> tuple[str, ...]:
    return ("p.json",) if story.saved else ("--auto-approve",)


def _is_load(body: dict[str, object]) -> bool:
    return body.get("keep_alive") not in (0, "0", "0s")
