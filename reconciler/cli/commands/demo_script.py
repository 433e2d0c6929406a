"""The story that `gpurec demo` tells, and `gpurec tutorial` with a pause before each command. Each is really run, and the story ends with
an error where one did not do what it should.
"""

from __future__ import annotations

import io
import socket
import sys
import tempfile
import textwrap
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TextIO

import click

from reconciler.cli.commands.sim_server import inventory_of
from reconciler.cli.main import CLOSED_PIPE, INTERRUPTED, cli
from reconciler.cli.settings import Settings
from reconciler.fleet import GIB, GpurecError
from reconciler.sim import SimFleet, SimSpec, builtin_fleet, running

DESIRED = """\
version: 1
priority_models: [nomic-embed-text]
models:
  nomic-embed-text: {engine: ollama, on: ollama, each: node, vram: 350MiB}
  llama3.1:8b: {engine: ollama, on: ollama, priority: 50, vram: 6GiB}
  qwen2.5-coder:7b: {engine: ollama, on: ollama, vram: 5200MiB}
  mistral:7b: {engine: ollama, on: ollama, vram: 5GiB}
  phi-3-mini: {engine: llamacpp, on: llamacpp, vram: 3GiB}
  tinyllama-1b: {engine: llamacpp, on: llamacpp, vram: 1200MiB}
"""
OWNED = """\
all:
  hosts:
    dora:
      address: 127.0.0.1
      docker: {dora}
      gpus: [{{index: 0, vram: 12GiB, uuid: {dora_card}}}]
      engines: {{ollama: {{runtime: container, port: {dora_port}, container: &ollama {{image: "ollama/ollama:0.34.0"}}}}}}
    emil:
      address: 127.0.0.1
      docker: {emil}
      gpus: [{{index: 0, vram: 12GiB, uuid: {emil_card}}}]
      engines: {{ollama: {{runtime: container, port: {emil_port}, container: *ollama}}}}
"""
OWNED_DESIRED = """\
version: 1
models:
  llama3.1:8b: {engine: ollama, on: dora, vram: 6GiB}
agents:
  analyst: {model: llama3.1:8b, near: node, container: {image: "example/agent:1", networks: [host], stop_timeout: 1}}
"""
_FORGETFUL, _SQUEEZED = "ada/ollama", "bea/ollama"


class DemoFailed(GpurecError):
    """A stage of the demo did not do what it says."""


class _Tee(io.TextIOBase):
    """Writes on, and keeps a copy."""

    def __init__(self, under: TextIO) -> None:
        self._under = under
        self.copy = io.StringIO()

    def write(self, text: str) -> int:
        self.copy.write(text)
        return self._under.write(text)

    def flush(self) -> None:
        self._under.flush()

    def isatty(self) -> bool:
        return self._under.isatty()


Pause = Callable[[str], None]
"""Waits before a command, given as it is typed, until whoever reads goes on."""


class _Story:
    def __init__(self, root: Path, settings: Settings, pause: Pause | None) -> None:
        self._root = root
        self._settings = settings
        self._pause = pause
        if pause is not None:
            self.tell(f"The workspace is {root}, as long as this goes on. Open its files, or try commands of your own there: cd {root}")

    def tell(self, text: str) -> None:
        lines = ["", *textwrap.wrap(text, 100, initial_indent="# ", subsequent_indent="# ")]
        click.secho("\n".join(lines), fg="cyan" if self._settings.colour() else None)

    def type(self, command: str, *, expect: int = 0, begins: str | None = None, says: str | None = None) -> None:
        """Runs one command as a user would, in the demo's workspace, and holds it to its exit status and words."""
        line = f"$ gpurec {command}"
        if self._pause is not None:
            self._pause(line)
        click.echo(click.style(line, bold=True) if self._settings.colour() else line)
        tee = _Tee(sys.stdout)
        asked = self._settings
        obj = Settings(
            directory=self._root, quiet=asked.quiet, verbose=asked.verbose, no_colour=asked.no_colour, poll_seconds=asked.poll_seconds
        )
        status = 0
        with redirect_stdout(tee):
            try:
                cli.main(command.split(), "gpurec", obj=obj)
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 1
        if status == INTERRUPTED:
            raise click.Abort
        if status == CLOSED_PIPE:
            raise BrokenPipeError
        self.check(status == expect, f"gpurec {command} ended with {status}, not {expect}")
        output = click.unstyle(tee.copy.getvalue())
        self.check(begins is None or output.startswith(begins), f"the output of gpurec {command} does not begin with {begins!r}")
        self.check(says is None or says in output, f"the output of gpurec {command} does not say {says!r}")

    def check(self, right: bool, otherwise: str) -> None:
        if not right:
            raise DemoFailed.of(f"the demo went wrong: {otherwise}", None, "run it again with -vv, and report it with what it printed")


def demonstrate(settings: Settings, spec: SimSpec | None = None, pause: Pause | None = None) -> None:
    """Runs the demo, on another simulated fleet of the same machines where `spec` is given, all of it as fast as that. With `pause` it
    waits before each command.

    Raises DemoFailed where a stage did not do what it says.
    """
    with tempfile.TemporaryDirectory(prefix="gpurec-demo-") as folder, running((spec or builtin_fleet("demo")).on_free_ports()) as fleet:
        root = Path(folder)
        (root / "inventories").mkdir()
        (root / "desired").mkdir()
        (root / "inventories" / "demo.yaml").write_text(inventory_of(fleet), encoding="utf-8")
        (root / "desired" / "demo.yaml").write_text(DESIRED, encoding="utf-8")
        story = _Story(root, settings, pause)
        _first_apply(story)
        _break(story, fleet)
        _repair(story)
    machines = builtin_fleet("containers")
    _own_engines(settings, machines if spec is None else machines.with_time_scale(spec.time_scale), pause)
    click.echo("\nThat is gpurec. `gpurec init` makes a workspace of your own.")


def _first_apply(story: _Story) -> None:
    story.tell("Three simulated machines: ada and bea run Ollama, cleo runs llama.cpp; nothing is loaded. This is what we want:")
    click.echo("$ cat desired/demo.yaml")
    click.echo(DESIRED, nl=False)
    story.tell("What would have to change? Nothing is touched yet. The plan is saved, so that just this can be approved.")
    story.type("plan --out demo.plan", says="Plan: ")
    story.tell("Carry out exactly that plan.")
    story.type("apply demo.plan", says="Apply complete!")
    story.tell("Done means done: there is nothing left to do.")
    story.type("plan", begins="No changes.")


def _break(story: _Story, fleet: SimFleet) -> None:
    victim = max(fleet.engines[_SQUEEZED].residents.items(), key=lambda item: (item[1], item[0]))[0]
    story.tell(
        f"Now things go wrong. ada's Ollama is restarted and forgets its models. On bea a game takes the card while "
        f"{victim} is loaded anew: Ollama then keeps the model on the CPU, slow and without a word, also after the game has ended."
    )
    fleet.engines[_FORGETFUL].restart()
    _squeeze(fleet, victim)
    story.type("drift", expect=2, says="cpu_fallback")


def _squeeze(fleet: SimFleet, victim: str) -> None:
    """A foreign process takes the card, and the engine has to load the model beside it."""
    import httpx

    node = fleet.nodes[_SQUEEZED.partition("/")[0]]
    before = node.cards[0].foreign
    others = [name for name in fleet.engines[_SQUEEZED].residents if name != victim]
    fleet.engines[_SQUEEZED].restart()
    with httpx.Client(base_url=fleet.engines[_SQUEEZED].url, trust_env=False, timeout=60) as client:
        for name in others:
            client.post("/api/embed", json={"model": name, "input": [], "keep_alive": -1}).raise_for_status()
        node.cards[0].foreign = 7 * GIB
        client.post("/api/generate", json={"model": victim, "keep_alive": -1}).raise_for_status()
    node.cards[0].foreign = before


def _repair(story: _Story) -> None:
    story.tell("The plan back is only about what is broken; what still runs is left alone.")
    story.type("plan --out repair.plan", says="Plan: ")
    story.type("apply repair.plan", says="Apply complete!")
    story.tell("And everything is where it should be.")
    story.type("plan", begins="No changes.")
    story.type("drift", begins="No drift.")


def _own_engines(settings: Settings, spec: SimSpec, pause: Pause | None) -> None:
    """Two machines with nothing but a Docker Engine."""
    with tempfile.TemporaryDirectory(prefix="gpurec-demo-") as folder, running(spec.on_free_ports()) as fleet:
        root, desired = Path(folder), Path(folder, "desired", "own.yaml")
        (root / "inventories").mkdir()
        desired.parent.mkdir()
        found: dict[str, object] = {}
        for name, daemon in fleet.daemons.items():
            found |= {name: daemon.url, f"{name}_card": next(iter(fleet.nodes[name].by_uuid)), f"{name}_port": _free_port()}
        inventory = OWNED.format_map(found)
        (root / "inventories" / "own.yaml").write_text(inventory, encoding="utf-8")
        desired.write_text(OWNED_DESIRED, encoding="utf-8")
        story = _Story(root, settings, pause)
        story.tell("gpurec starts engines too, and agents that use their models. On dora and emil nothing runs but a Docker Engine:")
        click.echo("$ cat inventories/own.yaml desired/own.yaml")
        click.echo(inventory + OWNED_DESIRED, nl=False)
        story.tell("One plan fetches images, starts an engine on each card, loads the model, and starts the agent after it.")
        story.type("apply --auto-approve", says="Apply complete!")
        story.tell("Somebody kills the engine's container on dora. That is drift, and the next apply brings it back.")
        _kill_engine(fleet.daemons["dora"].url)
        story.type("drift", expect=2, says="exited (137)")
        story.type("apply --auto-approve", says="Apply complete!")
        story.tell("Now the model is to be on emil. Its agent follows it.")
        desired.write_text(OWNED_DESIRED.replace("on: dora", "on: emil"), encoding="utf-8")
        story.type("apply --auto-approve", says="agent.analyst@emil")
        story.type("plan", begins="No changes.")


def _kill_engine(docker: str) -> None:
    import httpx

    with httpx.Client(base_url=docker.replace("tcp:", "http:"), trust_env=False, timeout=60) as client:
        container = next(one for one in client.get("/containers/json").json() if one["Image"].startswith("ollama/"))
        client.post(f"/containers/{container['Id']}/kill").raise_for_status()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
