"""The real servers: Ollama, llama-server in both modes, and a registry. Each starts on a free port of loopback and is ended by `stop`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from processes import LOOPBACK, HttpServer, Process, free_port
from provision import Provisioned
from recorder import Recorder
from softcards import SoftCard
from waiting import wait_until

CONTEXT = 2048
FIT_MARGIN_MIB = 64
"""llama.cpp's own fit keeps 1024 MiB of a card free unless told otherwise, which is more than a whole model of this suite."""


def card_environment(cards: Sequence[SoftCard]) -> dict[str, str]:
    if not cards:
        return {}
    return {"LLAMA_ARG_RPC": ",".join(card.endpoint for card in cards), "LLAMA_ARG_FIT_TARGET": str(FIT_MARGIN_MIB)}


class Ollama(HttpServer):
    """`ollama serve` with a store of its own (`models`, made from `store` with hard links where one is given)."""

    ready_path = "/api/version"

    def __init__(self, real: Provisioned, home: Path, cards: Sequence[SoftCard] = (), store: Path | None = None, **variables: str) -> None:
        super().__init__(free_port())
        self.home = home
        self.models = home / "models"
        self.models.mkdir(parents=True, exist_ok=True)
        if store is not None:
            link_tree(store, self.models)
        self._command: list[str | Path] = [real.ollama, "serve"]
        self._environment = {
            "OLLAMA_HOST": f"{LOOPBACK}:{self.port}",
            "OLLAMA_MODELS": str(self.models),
            "OLLAMA_NO_CLOUD": "1",
            "OLLAMA_NOPRUNE": "1",
            "OLLAMA_CONTEXT_LENGTH": str(CONTEXT),
            **card_environment(cards),
            **variables,
        }
        self.start()

    def start(self) -> None:
        """Starts it, again after `kill` on the same port with the same store: it remembers no resident."""
        self.process = Process("ollama", self._command, self.home, self._environment)
        self.await_ready()

    def import_gguf(self, name: str, file: Path) -> None:
        """Installs a model from a GGUF file (upload, then create)."""
        digest = hashlib.file_digest(file.open("rb"), "sha256").hexdigest()
        with file.open("rb") as body:
            self.client.post(f"/api/blobs/sha256:{digest}", content=body).raise_for_status()
        self.post("/api/create", {"model": name, "files": {"model.gguf": f"sha256:{digest}"}, "stream": False})

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = self.client.post(path, json=dict(body))
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}\n{self.process.tail()}"
        return dict(answer.json()) if answer.content else {}

    def residents(self) -> dict[str, dict[str, Any]]:
        return {model["name"]: model for model in self.client.get("/api/ps").json()["models"]}

    def installed(self) -> set[str]:
        return {model["name"] for model in self.client.get("/api/tags").json()["models"]}

    def load(self, name: str, **options: Any) -> dict[str, Any]:
        """Loads by hand, pinned; what /api/ps says of it then."""
        self.post("/api/generate", {"model": name, "keep_alive": -1, "options": options})
        return self.residents()[name]

    def unload(self, name: str) -> None:
        """Unloads by hand, as a colleague would, and waits until it is gone."""
        self.post("/api/generate", {"model": name, "keep_alive": 0})
        wait_until(lambda: name not in self.residents(), 30, f"{name} leaves Ollama")

    def delete(self, name: str) -> None:
        self.client.request("DELETE", "/api/delete", json={"model": name}).raise_for_status()


class LlamaServer(HttpServer):
    """`llama-server`; what both modes share."""

    def __init__(self, real: Provisioned, home: Path, arguments: Sequence[str | Path], cards: Sequence[SoftCard], key: str | None) -> None:
        super().__init__(free_port())
        self.home = home
        if key is not None:
            self.client.headers["Authorization"] = f"Bearer {key}"
        own = ["--host", LOOPBACK, "--port", str(self.port), "--offline", "--no-webui"]
        secret = ["--api-key", key] if key is not None else []
        self._command: list[str | Path] = [real.llama_bin / "llama-server", *own, *arguments, *secret]
        self._environment = {"LLAMA_CACHE": str(home / "cache"), **card_environment(cards)}
        self.start()

    def begin(self) -> None:
        """Starts it and does not wait."""
        self.process = Process("llama-server", self._command, self.home, self._environment)

    def start(self) -> None:
        """Starts it, again after `kill` on the same port: it remembers no resident."""
        self.begin()
        self.await_ready()


class Router(LlamaServer):
    """`llama-server --models-dir`: many models. `models` are names to GGUF files; `presets` are names to lines of the preset file."""

    def __init__(
        self,
        real: Provisioned,
        home: Path,
        models: Mapping[str, Path],
        cards: Sequence[SoftCard] = (),
        key: str | None = None,
        most: int = 4,
        extra: Sequence[str] = (),
    ) -> None:
        folder = home / "models"
        folder.mkdir(parents=True)
        for name, file in models.items():
            (folder / f"{name}.gguf").symlink_to(file)
        arguments: list[str | Path] = [
            "--models-dir",
            folder,
            "--models-max",
            str(most),
            "-c",
            str(CONTEXT),
            "-np",
            "1",
            "--cache-ram",
            "0",
            *extra,
        ]
        super().__init__(real, home, arguments, cards, key)

    def statuses(self) -> dict[str, dict[str, Any]]:
        answer = self.client.get("/models")
        answer.raise_for_status()
        return {model["id"]: model["status"] for model in answer.json()["data"]}

    def residents(self) -> set[str]:
        return {name for name, status in self.statuses().items() if status["value"] == "loaded"}

    def load(self, name: str) -> None:
        self.client.post("/models/load", json={"model": name}).raise_for_status()
        wait_until(lambda: name in self.residents(), 60, f"{name} is loaded by the router")

    def unload(self, name: str) -> None:
        """Unloads by hand, as a colleague would, and waits until it is gone."""
        self.client.post("/models/unload", json={"model": name}).raise_for_status()
        wait_until(lambda: self.statuses()[name]["value"] == "unloaded", 30, f"{name} leaves the router")


class Single(LlamaServer):
    """`llama-server -m FILE`: one model, there from the start."""

    def __init__(
        self,
        real: Provisioned,
        home: Path,
        file: Path,
        alias: str,
        cards: Sequence[SoftCard] = (),
        key: str | None = None,
        extra: Sequence[str] = (),
    ) -> None:
        arguments: list[str | Path] = ["-m", file, "--alias", alias, "-c", str(CONTEXT), "-np", "1", "--cache-ram", "0", *extra]
        super().__init__(real, home, arguments, cards, key)


class Registry(HttpServer):
    """Debian's docker-registry, empty, in a folder of its own.

    Ollama takes a layer only from another host name that the registry sends it to, as registry.ollama.ai does (Ollama server/download.go):
    a proxy in front sends each layer's GET to the same registry under the name `localhost`, by way of a slow one where `bytes_a_second` is
    given (of each connection).
    """

    ready_path = "/v2/"

    def __init__(self, home: Path, bytes_a_second: int | None = None) -> None:
        super().__init__(free_port())
        home.mkdir(parents=True, exist_ok=True)
        settings = home / "registry.yml"
        settings.write_text(
            "version: 0.1\n"
            "log: {level: info}\n"
            f"storage: {{filesystem: {{rootdirectory: {home / 'blobs'}}}, delete: {{enabled: true}}}}\n"
            f"http: {{addr: '{LOOPBACK}:{self.port}'}}\n"
        )
        self.process = Process("registry", ["docker-registry", "serve", settings], home)
        self.await_ready()
        self._layers = Recorder(self.url, bytes_a_second=bytes_a_second)
        self._front = Recorder(self.url, lambda path: f"http://localhost:{self._layers.port}{path}" if "/blobs/" in path else None)

    def name(self, model: str) -> str:
        """What Ollama calls a model of this registry."""
        return f"{LOOPBACK}:{self._front.port}/library/{model}"

    def stop(self) -> None:
        self._front.stop()
        self._layers.stop()
        super().stop()


def link_tree(source: Path, target: Path) -> None:
    """The same files a second time, without their bytes. Manifests are copied: Ollama writes them in place."""
    for file in source.rglob("*"):
        copy = target / file.relative_to(source)
        if file.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        if "blobs" in file.relative_to(source).parts:
            os.link(file, copy)
        else:
            copy.write_bytes(file.read_bytes())
