"""What a simulated fleet is made of, as values. Sizes in bytes, times in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

MIB, GIB = 2**20, 2**30
Parameter = int | float | str | bool
NO_PARAMETERS: Mapping[str, Parameter] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class SimModel:
    """A model file. Resident it takes `vram` where that is fixed, else weights + cache for its context + compute.

    `size` is the file, `weights` the part of it that goes to a card; `overhead` is what its process takes on a card and no engine reports;
    `context` is the context it is started with on llama.cpp; `parameters` are baked into it on Ollama; `blob` names the weights: two models
    with one blob are two tags on one file.
    `tokens_per_second` is how fast it writes wholly on cards; elsewhere it takes twenty times as long.
    """

    name: str
    size: int
    weights: int
    kv_per_token: int
    compute: int = 0
    layers: int = 32
    embedding: bool = False
    context_train: int = 131072
    embedding_length: int = 4096
    vram: int | None = None
    overhead: int = 0
    context: int | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=lambda: NO_PARAMETERS)
    blob: str = ""
    family: str = "llama"
    quantization: str = "Q4_K_M"
    tokens_per_second: float = 400.0

    def speed(self, on_cards: bool) -> float:
        return self.tokens_per_second if on_cards else self.tokens_per_second / 20

    def resident_bytes(self, context: int, parallel: int = 1) -> int:
        """Memory of the loaded model, as its engine reports it."""
        if self.vram is not None:
            return self.vram
        return self.weights + self.kv_per_token * context * parallel + self.compute


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """A fault as written; see `faults.py` for the kinds. `count` None is "until cleared"; no `paths` or `models` means all."""

    kind: str
    paths: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    count: int | None = None
    seconds: float = 1.0
    status: int = 500
    text: str | None = None
    location: str = "http://redirected.invalid/"
    size: int = 10 * 10**9


@dataclass(frozen=True, slots=True)
class SimGpu:
    name: str
    vram: int
    foreign: int = 0
    compute_capability: str | None = None
    uuid: str | None = None


@dataclass(frozen=True, slots=True)
class SimGroup:
    """A group of llama-swap: `swap` is one member at a time, `exclusive` stops other groups, `persistent` is not stopped by them."""

    name: str
    swap: bool = True
    exclusive: bool = True
    persistent: bool = False
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SimEngine:
    """An engine as written. Port 0: chosen at start. `gpus` are indices into the node's cards, `version` empty is the kind's usual one.

    Ollama only: `registry`, `default_context` (None: by VRAM, as Ollama does), `max_loaded`, `max_queue`, `keep_alive` (its own).
    llama.cpp only: `mode`, `models_max`, `autoload`, `fit` (partial offload instead of a failed load), `metrics`,
    `sleep_idle` (idle seconds until a model sleeps, 0 for never).
    vLLM only: `gpu_memory_utilization` (its share of each card), `sleep_mode`, `lora` (adapters), `served_names`.
    llama-swap only: `groups`, `ttl` (idle seconds until a model stops, 0 for never). All but Ollama: `api_key`.
    """

    name: str
    kind: Literal["ollama", "llamacpp", "vllm", "llamaswap", "openai", "service"]
    mode: Literal["router", "single"] = "router"
    port: int = 0
    gpus: tuple[int, ...] = ()
    version: str = ""
    models_max: int = 4
    autoload: bool = True
    api_key: str | None = None
    fit: bool = False
    metrics: bool = False
    sleep_idle: float = 0.0
    num_parallel: int = 1
    default_context: int | None = None
    max_loaded: int | None = None
    max_queue: int = 512
    keep_alive: float = 300.0
    fit_margin: int = 0
    gpu_memory_utilization: float = 0.92
    sleep_mode: bool = False
    lora: tuple[str, ...] = ()
    served_names: tuple[str, ...] = ()
    groups: tuple[SimGroup, ...] = ()
    ttl: float = 0.0
    installed: tuple[SimModel, ...] = ()
    registry: tuple[SimModel, ...] = ()
    load_seconds: float = 0.5
    seconds_per_gib: float = 0.5
    release_seconds: float = 0.5
    pull_seconds: float = 5.0
    answer_seconds: float = 0.0
    faults: tuple[FaultSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class SimImage:
    """An image of a Docker Engine. `engine`: a container of it is such an engine. `content` tells two images of one name apart."""

    name: str
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    size: int = 30_000_000
    content: str = ""
    engine: SimEngine | None = None


@dataclass(frozen=True, slots=True)
class SimDocker:
    """A Docker Engine of a node, on a port of loopback (0: chosen at start) or a socket file. `images` it has, those in `registry` it can
    pull within `pull_seconds`. `cdi`: it lists the node's cards as CDI devices."""

    port: int = 0
    socket: str | None = None
    images: tuple[SimImage, ...] = ()
    registry: tuple[SimImage, ...] = ()
    pull_seconds: float = 1.0
    cdi: bool = False


@dataclass(frozen=True, slots=True)
class SimNode:
    name: str
    gpus: tuple[SimGpu, ...] = ()
    ram: int | None = None
    engines: tuple[SimEngine, ...] = ()
    docker: SimDocker | None = None


@dataclass(frozen=True, slots=True)
class SimSpec:
    """A whole fleet. `time_scale` 1.0 is real time, 0 at once, None by hand (see `clock.py`)."""

    nodes: tuple[SimNode, ...]
    time_scale: float | None = 1.0

    def with_time_scale(self, time_scale: float | None) -> SimSpec:
        return replace(self, time_scale=time_scale)

    def on_free_ports(self) -> SimSpec:
        """The same fleet with every port chosen at start, so that several can run side by side."""
        return replace(self, nodes=tuple(_on_free_ports(node) for node in self.nodes))


def _on_free_ports(node: SimNode) -> SimNode:
    docker = replace(node.docker, port=0) if node.docker is not None else None
    return replace(node, engines=tuple(replace(engine, port=0) for engine in node.engines), docker=docker)
