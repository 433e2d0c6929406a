"""Simulated engines as programs of containers: an image says which, the container's command, ports and cards say how."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from reconciler.sim.cards import Card
from reconciler.sim.docker.containers import as_mapping, texts
from reconciler.sim.docker.process import Program, Surroundings
from reconciler.sim.engine import Engine
from reconciler.sim.errors import SimError
from reconciler.sim.ollama import OllamaEngine
from reconciler.sim.ollama.library import Library
from reconciler.sim.spec import SimEngine, SimModel

Make = Callable[[SimEngine, Sequence[Card]], Engine]
_USUAL_PORT = {"ollama": 11434, "llamacpp": 8080, "vllm": 8000, "llamaswap": 8080}
_CDI = "nvidia.com/gpu="


class ContainerEngine:
    """An engine that lives as long as its container runs."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def end(self) -> None:
        self.engine.end()


Stores = dict[str, Library]
"""What Ollama servers of a daemon have installed, by the volume that it is in, or else the container."""


def engine_program(template: SimEngine, cards: Mapping[str, Card], make: Make, stores: Stores) -> Program:
    """Starts `template` in a container: behind the port that it publishes, or that it listens on in the node's network, with the cards that
    it was given (by UUID) and the one model that its command names, where it serves just one."""

    def start(container: Surroundings, ended: Callable[[int], None]) -> ContainerEngine:
        models = _models(template, container.argv)
        if models is None:
            raise SimError(f"none of {', '.join(model.name for model in template.installed)} is in its command")
        share = _after(container.argv, "--gpu-memory-utilization")
        spec = replace(template, name=container.name, port=_port(template, container), installed=models, gpus=())
        if share is not None:
            spec = replace(spec, gpu_memory_utilization=min(1.0, float(share)))
        spec = _as_told(spec, container.argv)
        engine = make(spec, [cards[uuid] for uuid in given_cards(container, tuple(cards))])
        if isinstance(engine, OllamaEngine):
            engine.library = stores.setdefault(_store_of(container), engine.library)
        engine.on_exit = lambda: ended(1)
        engine.launch()
        return ContainerEngine(engine)

    return start


def _as_told(spec: SimEngine, argv: Sequence[str]) -> SimEngine:
    """A server with one model, with the context, the slots and the name of its command: llama.cpp's `-c` is that of all its slots
    together, and `--alias` what it lists its model as."""
    if spec.kind == "llamacpp" and spec.mode == "single":
        slots = int(_after(argv, "--parallel") or _after(argv, "-np") or spec.num_parallel)
        context = _after(argv, "-c") or _after(argv, "--ctx-size")
        each = None if context is None else int(context) // slots
        alias = _after(argv, "--alias")
        installed = spec.installed if alias is None else tuple(replace(one, name=alias) for one in spec.installed)
        spec = replace(spec, num_parallel=slots, installed=installed)
    else:
        context = _after(argv, "--max-model-len") if spec.kind == "vllm" else None
        each = None if context is None else int(context)
    return spec if each is None else replace(spec, installed=tuple(replace(one, context=each) for one in spec.installed))


def _store_of(container: Surroundings) -> str:
    volumes = [one.split(":") for one in texts(container.host.get("Binds"))]
    return next((parts[0] for parts in volumes if len(parts) > 1 and parts[1].endswith("/.ollama")), f"container {container.name}")


def given_cards(container: Surroundings, uuids: Sequence[str]) -> list[str]:
    """The UUIDs of the cards that a container was given, of those that there are."""
    requests = container.host.get("DeviceRequests")
    found: list[str] = []
    for request in requests if isinstance(requests, list) else ():
        asked = as_mapping(request)
        ids = [one.removeprefix(_CDI) for one in texts(asked.get("DeviceIDs"))]
        count = int(str(asked.get("Count") or 0))
        found += [uuids[int(one)] if one.isdigit() else one for one in ids] or list(uuids if count < 0 else uuids[:count])
    return found


def _models(template: SimEngine, argv: Sequence[str]) -> tuple[SimModel, ...] | None:
    """All, for an engine that takes many; the one that the command names for one that serves just one. None where it names none."""
    if template.kind in ("ollama", "llamaswap") or (template.kind == "llamacpp" and template.mode == "router"):
        return template.installed
    words = {word.partition("=")[2] or word for word in argv}
    named = [model for model in template.installed if model.name in words or any(word.endswith(f"/{model.name}") for word in words)]
    return tuple(named[:1]) or (template.installed if len(template.installed) == 1 else None)


def _port(template: SimEngine, container: Surroundings) -> int:
    if container.network_mode != "host":
        return next((outer for _, outer, _, _ in container.published), 0)
    listens = container.env.get("OLLAMA_HOST", "").rpartition(":")[2] if template.kind == "ollama" else _after(container.argv, "--port")
    return int(listens) if listens and listens.isdigit() else _USUAL_PORT[template.kind]


def _after(argv: Sequence[str], flag: str) -> str | None:
    """The value of a flag, after it or after its equals sign."""
    for index, word in enumerate(argv):
        if word == flag and index + 1 < len(argv):
            return argv[index + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None
