"""An engine that holds many models, with a recorder in front of it and a workspace that manages it: one shape for Ollama and the router."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import LOOPBACK, HttpServer
from provision import Provisioned
from recorder import Recorder
from servers import Ollama, Registry, Router
from softcards import SoftCard
from waiting import wait_until
from workspaces import NODE, Workspace

MIB = 1 << 20
NEED = 300 * MIB
"""What one Gemma takes on a card with 2048 tokens of context: 276 to 287 MiB, by the card's own count."""
ROOM_FOR_ONE = 600 * MIB
"""Usable at 90%: 540 MiB."""
ROOM_FOR_TWO = 1024 * MIB
RAM = 4096 * MIB
SEES_LOAD = {"ollama": "/api/generate", "llamacpp": "/models/load"}
LOADING = {"ollama": "starting llama-server", "llamacpp": "spawning server instance"}
"""What each says in its log when a load has begun."""


@dataclass
class Rig:
    """`server` behind `recorder`, managed by `workspace` as engine `engine` on node `box`. No card means a CPU node."""

    kind: str
    server: Ollama | Router
    recorder: Recorder
    workspace: Workspace
    cards: tuple[SoftCard, ...]

    @property
    def ollama(self) -> Ollama:
        assert isinstance(self.server, Ollama)
        return self.server

    def address(self, model: str) -> str:
        return f"model.{model}@{NODE}/{self.kind}"

    def model(self, **keys: Any) -> dict[str, Any]:
        """A wanted model of this suite, with its need declared."""
        residency = {} if self.cards else {"residency": "cpu"}
        return {"engine": self.kind, "vram": f"{NEED}B", **residency, **keys}

    def want(self, *names: str) -> None:
        self.workspace.want({name: self.model() for name in names})

    def residents(self) -> set[str]:
        """Loaded models, by their short names."""
        return {name.removesuffix(":latest") for name in self.server.residents()}

    def load(self, model: str, **options: Any) -> None:
        """Loads by hand, past the recorder."""
        self.server.load(self.engine_name(model), **options)

    def unload(self, model: str) -> None:
        self.server.unload(self.engine_name(model))

    def engine_name(self, model: str) -> str:
        return f"{model}:latest" if self.kind == "ollama" else model

    def kill_during_next_load(self) -> None:
        """The server is killed once it has begun the next load that comes through the recorder."""
        already = self.server.process.said().count(LOADING[self.kind])

        def kill() -> None:
            wait_until(lambda: self.server.process.said().count(LOADING[self.kind]) > already, 30, "the load begins")
            self.server.kill()

        self.recorder.during(SEES_LOAD[self.kind], kill)

    def await_killed(self) -> None:
        wait_until(lambda: self.server.process.status is not None, 30, "the server has been killed")


class Bench:
    """Starts what a test needs and ends it all with the test, newest first."""

    def __init__(self, real: Provisioned, home: Path, ollama_store: Callable[[], Path]) -> None:
        self.real = real
        self.home = home
        self._ollama_store = ollama_store
        self._started = ExitStack()
        self._count = 0

    def folder(self, name: str) -> Path:
        self._count += 1
        return self.home / f"{self._count}-{name}"

    def card(self, size: int, address: str = LOOPBACK) -> SoftCard:
        card = SoftCard(self.real, self.folder("card"), size, address)
        self._started.callback(card.stop)
        return card

    def started(self, server: HttpServer) -> None:
        """Ends `server` with the test."""
        self._started.callback(server.stop)

    def store(self) -> Path:
        """An Ollama store with all three models."""
        return self._ollama_store()

    def ollama(self, cards: Sequence[SoftCard] = (), **variables: str) -> Ollama:
        server = Ollama(self.real, self.folder("ollama"), cards, self._ollama_store(), **variables)
        self.started(server)
        return server

    def router(self, cards: Sequence[SoftCard] = (), *, broken: bool = False, **arguments: Any) -> Router:
        """With `broken`, a third model of that name: a file cut short, which no server can load."""
        models = {"gemma": self.real.gemma, "twin": self.real.gemma_twin}
        if broken:
            models["broken"] = self.home / "broken.gguf"
            with self.real.gemma.open("rb") as whole:
                models["broken"].write_bytes(whole.read(32 * MIB))
        server = Router(self.real, self.folder("router"), models, cards, **arguments)
        self.started(server)
        return server

    def registry(self, bytes_a_second: int | None = None) -> Registry:
        registry = Registry(self.folder("registry"), bytes_a_second)
        self.started(registry)
        return registry

    def recorder(self, server: HttpServer) -> Recorder:
        recorder = Recorder(server.url)
        self._started.callback(recorder.stop)
        return recorder

    def workspace(self) -> Workspace:
        return Workspace(self.folder("workspace"))

    def rig(self, kind: str, *sizes: int, declared: tuple[int, ...] | None = None, **arguments: Any) -> Rig:
        """A server of `kind` on cards of `sizes` (none: on the CPU), with a workspace that declares them (or says `declared` instead)."""
        cards = tuple(self.card(size) for size in sizes)
        server = self.ollama(cards, **arguments) if kind == "ollama" else self.router(cards, **arguments)
        recorder = self.recorder(server)
        workspace = self.workspace()
        engine = {"kind": kind, "url": recorder.url, "load_timeout": "60s"}
        workspace.declare({kind: engine}, declared if declared is not None else sizes, RAM)
        return Rig(kind, server, recorder, workspace, cards)

    def logs(self) -> str:
        """The end of every server's log."""
        tails = {log.relative_to(self.home): log.read_text(errors="replace")[-4000:] for log in sorted(self.home.rglob("*.log"))}
        return "\n".join(f"--- {name}\n{tail}" for name, tail in tails.items())

    def stop(self) -> None:
        self._started.close()
