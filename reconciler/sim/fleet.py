"""A fleet as running servers, and the way to use it from synchronous code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Self, TypeVar

from reconciler.sim.cards import Card
from reconciler.sim.clock import Clock
from reconciler.sim.docker import DockerDaemon, Image, Library
from reconciler.sim.docker.engines import Stores, engine_program
from reconciler.sim.engine import Engine, Ground
from reconciler.sim.errors import SimError
from reconciler.sim.llamacpp import RouterEngine, SingleEngine
from reconciler.sim.llamaswap import LlamaSwapEngine
from reconciler.sim.ollama import OllamaEngine
from reconciler.sim.other import OtherEngine
from reconciler.sim.spec import SimDocker, SimEngine, SimImage, SimNode, SimSpec
from reconciler.sim.vllm import VllmEngine

T = TypeVar("T")
_START_SECONDS = 30.0


class Node:
    """A host: its cards, in the order of the file, and its RAM. Set `cards[i].foreign` at any time, from any thread."""

    def __init__(self, spec: SimNode) -> None:
        self.name = spec.name
        self.cards = tuple(
            Card(f"{spec.name}/{index} {gpu.name}", gpu.vram, gpu.foreign, gpu.compute_capability) for index, gpu in enumerate(spec.gpus)
        )
        self.ram = Card(f"{spec.name} RAM", spec.ram)
        self.by_uuid: Mapping[str, Card] = MappingProxyType(
            {gpu.uuid or f"GPU-{spec.name}-{index}": card for index, (gpu, card) in enumerate(zip(spec.gpus, self.cards, strict=True))}
        )


class SimFleet:
    """The servers of a fleet on loopback.

    In an event loop: `await start()`, then `await stop()`, or `async with`. From synchronous code: `with running(spec) as fleet`.
    `nodes` by name, `engines` by `NODE/ENGINE`, `daemons` (Docker Engines) by node. Everything but `start` and `stop`
    may be called from any thread, a daemon only through `do`.
    """

    def __init__(self, spec: SimSpec) -> None:
        self.spec = spec
        self.clock = Clock(spec.time_scale)
        self._ground = Ground(self.clock)
        self.nodes: Mapping[str, Node] = MappingProxyType({node.name: Node(node) for node in spec.nodes})
        self.engines: Mapping[str, Engine] = MappingProxyType(
            {
                f"{node.name}/{engine.name}": _engine(self.nodes[node.name], engine, self._ground)
                for node in spec.nodes
                for engine in node.engines
            }
        )
        self.daemons: Mapping[str, DockerDaemon] = MappingProxyType(
            {
                node.name: _daemon(self.nodes[node.name], node.docker, self._ground, self.clock)
                for node in spec.nodes
                if node.docker is not None
            }
        )

    async def start(self) -> None:
        """Opens all ports. Raises PortTaken, with none of them left open."""
        self._ground.attach()
        try:
            for engine in self.engines.values():
                await engine.start()
            for node in self.spec.nodes:
                if node.docker is not None:
                    self.daemons[node.name].open(node.docker.socket or node.docker.port)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Closes all ports and ends all work; harmless when done twice."""
        for daemon in self.daemons.values():
            await daemon.aclose()
        for engine in self.engines.values():
            await engine.stop()
        self._ground.detach()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def advance(self, seconds: float) -> None:
        """Moves the fleet's date forward: keep-alives run out, and with `time_scale: manual` loads and releases end."""
        self._ground.call(lambda: self.clock.advance(seconds))

    def forget_requests(self) -> None:
        """Empties every request log."""
        for engine in self.engines.values():
            engine.forget_requests()
        for daemon in self.daemons.values():
            daemon.forget_requests()

    def do(self, act: Callable[[], T]) -> T:
        """Runs `act` in the fleet's own thread, as what is done to a daemon must be."""
        return self._ground.call(act)


@contextmanager
def running(spec: SimSpec) -> Iterator[SimFleet]:
    """The fleet, running in a thread of its own until the block ends. Raises PortTaken or SimError when it cannot start."""
    fleet = SimFleet(spec)
    started = threading.Event()
    failures: list[BaseException] = []
    ending: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        end = asyncio.Event()
        ending.append((asyncio.get_running_loop(), end))
        async with fleet:
            started.set()
            await end.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 (handed over to the thread that asked)
            failures.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="simulated-fleet", daemon=True)
    thread.start()
    if not started.wait(_START_SECONDS):
        raise SimError(f"the simulated fleet did not start within {_START_SECONDS:g} s")
    try:
        if failures:
            raise failures[0]
        yield fleet
    finally:
        if thread.is_alive() and ending:
            loop, end = ending[0]
            loop.call_soon_threadsafe(end.set)
        thread.join(_START_SECONDS)


def _daemon(node: Node, spec: SimDocker, ground: Ground, clock: Clock) -> DockerDaemon:
    stores: Stores = {}

    def make(engine: SimEngine, cards: Sequence[Card]) -> Engine:
        return _engine(node, engine, ground, cards)

    def image(one: SimImage) -> Image:
        program = engine_program(one.engine, node.by_uuid, make, stores) if one.engine is not None else None
        return Image(one.name, one.command, one.entrypoint, one.env, (one.size,), one.content, program)

    library = Library([image(one) for one in spec.images], [image(one) for one in spec.registry])
    return DockerDaemon(library, clock, cards=tuple(node.by_uuid), cdi=spec.cdi, pull_seconds=spec.pull_seconds, order=ground.order)


def _engine(node: Node, spec: SimEngine, ground: Ground, given: Sequence[Card] | None = None) -> Engine:
    cards = list(given) if given is not None else [node.cards[index] for index in spec.gpus]
    if spec.kind == "ollama":
        return OllamaEngine(node.name, spec, cards, node.ram, ground)
    if spec.kind == "vllm":
        return VllmEngine(node.name, spec, cards, node.ram, ground)
    if spec.kind == "llamaswap":
        return LlamaSwapEngine(node.name, spec, cards, node.ram, ground)
    if spec.kind in ("openai", "service"):
        return OtherEngine(node.name, spec, cards, node.ram, ground)
    if spec.mode == "single":
        return SingleEngine(node.name, spec, cards, node.ram, ground)
    return RouterEngine(node.name, spec, cards, node.ram, ground)
