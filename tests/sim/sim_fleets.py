"""Small fleets for the tests of the simulated fleet, and a client that asks them over real HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx

from reconciler.sim import Engine, SimEngine, SimFleet, SimGpu, SimModel, SimNode, SimSpec, running

MIB, GIB = 2**20, 2**30


def chat_model(name: str, vram_mib: int, **more: Any) -> SimModel:
    return SimModel(name, size=vram_mib * MIB, weights=vram_mib * MIB, kv_per_token=0, vram=vram_mib * MIB, **{"layers": 9, **more})


def embedding_model(name: str, vram_mib: int) -> SimModel:
    return chat_model(name, vram_mib, embedding=True, family="bert", embedding_length=8, context_train=512)


BIG = chat_model("big", 2000)
SMALL = chat_model("small", 500)
OTHER = chat_model("other", 900)
EMBED = embedding_model("embed", 100)
WITH_CACHE = SimModel("cached", size=1000 * MIB, weights=1000 * MIB, kv_per_token=64 * 1024, context_train=8192)


def spec(*engines: SimEngine, vram_mib: tuple[int, ...] = (4096,), foreign_mib: int = 0, time_scale: float | None = 0.0) -> SimSpec:
    gpus = tuple(SimGpu("test card", size * MIB, foreign_mib * MIB) for size in vram_mib)
    return SimSpec((SimNode("n", gpus, None, engines),), time_scale)


def ollama(**more: Any) -> SimEngine:
    installed = more.pop("installed", (BIG, SMALL, OTHER, EMBED, WITH_CACHE))
    return SimEngine("o", "ollama", gpus=more.pop("gpus", (0,)), installed=installed, **more)


def router(**more: Any) -> SimEngine:
    return SimEngine("l", "llamacpp", gpus=more.pop("gpus", (0,)), installed=more.pop("installed", (BIG, SMALL, OTHER)), **more)


def single(**more: Any) -> SimEngine:
    return SimEngine("l", "llamacpp", "single", gpus=more.pop("gpus", (0,)), installed=more.pop("installed", (SMALL,)), **more)


class Asker:
    """One engine over HTTP, and the fleet that it belongs to."""

    def __init__(self, fleet: SimFleet, engine: Engine, pool: ThreadPoolExecutor) -> None:
        self.fleet, self.engine, self._pool = fleet, engine, pool
        self.http = httpx.Client(base_url=engine.url, timeout=20, trust_env=False)

    @property
    def card(self) -> Any:
        return self.fleet.nodes["n"].cards[0]

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.http.get(path, **more)

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        return self.http.post(path, json=body, **more)

    def behind(self, path: str, body: Any) -> Future[httpx.Response]:
        """The same, while the test goes on."""
        return self._pool.submit(lambda: httpx.post(self.engine.url + path, json=body, timeout=20, trust_env=False))

    def generate(self, model: str, **more: Any) -> httpx.Response:
        return self.post("/api/generate", {"model": model, **more})

    def embed(self, model: str, **more: Any) -> httpx.Response:
        return self.post("/api/embed", {"model": model, **more})

    def ps(self) -> dict[str, dict[str, Any]]:
        return {entry["name"]: entry for entry in self.get("/api/ps").json()["models"]}

    def status(self, model: str) -> dict[str, Any]:
        """llama.cpp router: the status of a model."""
        return next(entry["status"] for entry in self.get("/models").json()["data"] if entry["id"] == model)

    def await_status(self, model: str, value: str) -> dict[str, Any]:
        return until(lambda: found if (found := self.status(model))["value"] == value else None, f"{model} {value}")


def until(condition: Callable[[], Any], what: str) -> Any:
    """What `condition` first gave that is true. Each try is a question to the running fleet; no time is slept away."""
    deadline = time.monotonic() + 20
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"never: {what}"
    return answer


@contextmanager
def asking(fleet_spec: SimSpec, engine: str | None = None) -> Iterator[Asker]:
    """A running fleet and a client of its only (or the named) engine."""
    with ThreadPoolExecutor(4) as pool, running(fleet_spec) as fleet:
        asker = Asker(fleet, fleet.engines[engine] if engine else next(iter(fleet.engines.values())), pool)
        try:
            yield asker
        finally:
            asker.http.close()
