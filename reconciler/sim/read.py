"""The file of a simulated fleet: YAML to a `SimSpec`, every mistake with its line.

```yaml
time_scale: 1.0            # 1.0 real, 0.1 ten times as fast, 0 at once, `manual` by hand
models:                    # a catalogue, so that engines can name what they share
  - name: llama3.1:8b
    size: 4.9GB            # the file; left out where `vram` is given
    weights: 4.6GiB        # of it on the card; default size
    kv_per_token: 128KiB   # cache a token of context; default layers × 4 KiB, 0 for embedding models and with `vram`
    compute: 0             # compute buffers
    layers: 32
    embedding: false
    context_train: 131072
    embedding_length: 4096
    vram: 705MiB           # fixes what is resident, whatever the context
    overhead: 0            # on the card, but in no engine's figures
    context: 4096          # llama.cpp: what it is started with
    parameters: {num_ctx: 8192}     # Ollama: baked into the tag
    blob: other-name       # the same weights as another name
    family: llama
    quantization: Q4_K_M
    tokens_per_second: 400  # wholly on cards; elsewhere it takes 20 times as long
nodes:
  ada:
    ram: 64GiB             # left out: not limited
    gpus:
      - {name: RTX 4090, vram: 24GiB, foreign: 300MiB, compute_capability: "8.9", uuid: GPU-1}   # uuid: default GPU-NODE-INDEX
    docker:                # a Docker Engine
      port: 22375          # 0 or left out: chosen; or `socket: /path`
      cdi: false           # lists the cards as CDI devices
      pull_seconds: 1
      images:
        - {name: "ollama/ollama:0.34.0", engine: {kind: ollama, installed: [llama3.1:8b]}}   # a container of it is this engine
        - {name: "agent:1", command: [sleep, "1000"]}
      registry: [{name: "ollama/ollama:0.35.0", size: 2GB, entrypoint: [], env: {A: "1"}, content: other, engine: {kind: ollama}}]
    engines:
      ollama:
        kind: ollama       # or llamacpp, vllm, llamaswap, openai, service
        port: 22434        # 0 or left out: chosen
        gpus: [0]          # default: all cards of the node
        version: 0.34.0
        num_parallel: 1
        default_context: 4096
        installed: [llama3.1:8b, {name: own, size: 1GiB}]
        load_seconds: 0.5      # a load takes this, and
        seconds_per_gib: 0.5   # this for each GiB
        release_seconds: 0.5   # memory comes back so long after an unload
        answer_seconds: 0
        fit_margin: 0          # what the automatic fit keeps free of a card
        faults: [{kind: slow, paths: [/api/ps], models: [], count: 3, seconds: 2, status: 500, text: x, location: u, size: 1GB}]
        # ollama only
        registry: [llama3.1:8b]
        pull_seconds: 5
        max_loaded: 3
        max_queue: 512
        keep_alive: 5m
        # llamacpp only
        mode: router           # or single
        models_max: 4
        autoload: true
        api_key: secret        # vllm and llamaswap too
        fit: false             # true: layers that find no room go to RAM, where false fails the load
        metrics: false
        sleep_idle: 0          # seconds without a request until a model sleeps, as --sleep-idle-seconds; 0 is never
        # vllm only (one model under `installed`)
        gpu_memory_utilization: 0.92   # what it takes of each card, whatever the model
        sleep_mode: false
        lora: [adapter]
        served_names: [name, other]
        # llamaswap only
        ttl: 0                 # seconds without a request until a model stops; 0 is never
        groups: {small: {swap: false, exclusive: false, persistent: true, members: [own]}}
```
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from reconciler.sim.errors import SimFileError
from reconciler.sim.faults import KINDS, LOAD_KINDS, PULL_KINDS
from reconciler.sim.section import Problems, Section
from reconciler.sim.spec import FaultSpec, SimDocker, SimEngine, SimGpu, SimGroup, SimImage, SimModel, SimNode, SimSpec

_LARGEST_FILE = 2**20
_KEYS_OF = {
    "ollama": ("registry", "pull_seconds", "max_loaded", "max_queue", "keep_alive"),
    "llamacpp": ("mode", "models_max", "autoload", "api_key", "fit", "metrics", "sleep_idle"),
    "vllm": ("api_key", "gpu_memory_utilization", "sleep_mode", "lora", "served_names"),
    "llamaswap": ("api_key", "ttl", "groups", "fit"),
    "openai": ("api_key",),
    "service": ("api_key",),
}
"""Keys that only some kinds have."""


def read_sim_file(path: Path | str) -> SimSpec:
    """The fleet of a file. Raises SimFileError with every problem found, or when the file cannot be read."""
    path = Path(path)
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise SimFileError(f"{path}: larger than {_LARGEST_FILE} bytes; that is no file of a simulated fleet")
        text = path.read_text("utf-8")
    except OSError as error:
        raise SimFileError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SimFileError(f"{path}: is no text in UTF-8: {error.reason} at byte {error.start}") from None
    return read_sim_text(text, str(path))


def read_sim_text(text: str, name: str) -> SimSpec:
    """The fleet of a text; `name` stands for the file in errors."""
    yaml = YAML(typ="rt")
    try:
        document = yaml.load(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark is not None else name
        raise SimFileError(f"{where}: not valid YAML: {error.problem or error.context}") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise SimFileError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from None
    problems = Problems(name)
    spec = _fleet(Section.top(document, problems))
    problems.raise_if_any()
    return spec


def _fleet(top: Section) -> SimSpec:
    scale: float | None = None
    if top.get("time_scale") != "manual":
        scale = top.number("time_scale", 1.0)
    catalogue = {model.name: model for model in (_model(entry) for entry in top.sections("models"))}
    nodes = tuple(_node(name, section, catalogue) for name, section in top.named("nodes"))
    if not nodes:
        top.wrong("no nodes", "nodes", "give at least one under `nodes:`")
    top.done()
    return SimSpec(nodes, scale)


def _node(name: str, section: Section, catalogue: dict[str, SimModel]) -> SimNode:
    gpus = tuple(_gpu(entry) for entry in section.sections("gpus"))
    ram = section.size("ram") if section.has("ram") else None
    engines = tuple(_engine(engine, entry, len(gpus), catalogue) for engine, entry in section.named("engines"))
    daemons = [_docker(entry, len(gpus), catalogue) for entry in section.section("docker")]
    section.done()
    return SimNode(name, gpus, ram, engines, daemons[0] if daemons else None)


def _docker(section: Section, cards: int, catalogue: dict[str, SimModel]) -> SimDocker:
    base = SimDocker()
    docker = SimDocker(
        section.integer("port", 0),
        section.text("socket") if section.has("socket") else None,
        tuple(_image(entry, cards, catalogue) for entry in section.sections("images")),
        tuple(_image(entry, cards, catalogue) for entry in section.sections("registry")),
        section.seconds("pull_seconds", base.pull_seconds),
        section.boolean("cdi", base.cdi),
    )
    section.done()
    return docker


def _image(section: Section, cards: int, catalogue: dict[str, SimModel]) -> SimImage:
    base = SimImage("")
    engines = [_engine("engine", entry, cards, catalogue, in_image=True) for entry in section.section("engine")]
    image = SimImage(
        section.text("name", required=True),
        section.texts("command"),
        section.texts("entrypoint"),
        {key: str(value) for key, value in section.scalars("env").items()},
        section.size("size", base.size),
        section.text("content", ""),
        engines[0] if engines else None,
    )
    section.done()
    return image


def _gpu(section: Section) -> SimGpu:
    gpu = SimGpu(
        section.text("name", "GPU"),
        section.size("vram", required=True),
        section.size("foreign", 0),
        section.text("compute_capability") if section.has("compute_capability") else None,
        section.text("uuid") if section.has("uuid") else None,
    )
    section.done()
    return gpu


def _engine(name: str, section: Section, cards: int, catalogue: dict[str, SimModel], *, in_image: bool = False) -> SimEngine:
    """`in_image`: its port, its cards and its one model come with the container."""
    base = SimEngine(name, "ollama")
    kind = section.choice("kind", tuple(_KEYS_OF), required=True)
    for key in sorted({key for keys in _KEYS_OF.values() for key in keys}.difference(_KEYS_OF.get(kind, ())) if kind else ()):
        if section.has(key):
            section.wrong(f"`{key}` is no key of an engine of kind {kind}", key, "remove it")
    gpus = section.integers("gpus", tuple(range(cards)))
    for index in gpus:
        if not 0 <= index < cards:
            section.wrong(f"there is no card {index}: the node has {cards}", "gpus", "cards are counted from 0")
    mode = section.choice("mode", ("router", "single"), "router")
    installed = _models(section, "installed", catalogue)
    if in_image:
        for key in ("port", "gpus"):
            if section.has(key):
                section.wrong(f"`{key}` of an engine in an image comes with its container", key, "remove it")
    if mode == "single" and len(installed) != 1 and not in_image:
        section.wrong(f"single mode serves just one model, not {len(installed)}", "installed", "name one under `installed:`")
    if kind == "vllm" and len(installed) != 1 and not in_image:
        section.wrong(f"a vLLM serves just one model, not {len(installed)}", "installed", "name one under `installed:`")
    engine = SimEngine(
        name,
        _kind(kind),
        "single" if mode == "single" else "router",
        port=section.integer("port", 0),
        gpus=tuple(index for index in gpus if 0 <= index < cards),
        version=section.text("version", ""),
        models_max=section.integer("models_max", base.models_max),
        autoload=section.boolean("autoload", base.autoload),
        api_key=section.text("api_key") if section.has("api_key") else None,
        fit=section.boolean("fit", base.fit),
        metrics=section.boolean("metrics", base.metrics),
        sleep_idle=section.seconds("sleep_idle", 0.0),
        num_parallel=max(1, section.integer("num_parallel", base.num_parallel)),
        default_context=section.integer("default_context") if section.has("default_context") else None,
        max_loaded=section.integer("max_loaded") if section.has("max_loaded") else None,
        max_queue=section.integer("max_queue", base.max_queue),
        keep_alive=section.seconds("keep_alive", base.keep_alive),
        fit_margin=section.size("fit_margin", 0),
        gpu_memory_utilization=min(1.0, section.number("gpu_memory_utilization", base.gpu_memory_utilization)),
        sleep_mode=section.boolean("sleep_mode", False),
        lora=section.texts("lora"),
        served_names=section.texts("served_names"),
        groups=tuple(_group(group, inner) for group, inner in section.named("groups")),
        ttl=section.seconds("ttl", 0.0),
        installed=installed,
        registry=_models(section, "registry", catalogue),
        load_seconds=section.seconds("load_seconds", base.load_seconds),
        seconds_per_gib=section.seconds("seconds_per_gib", base.seconds_per_gib),
        release_seconds=section.seconds("release_seconds", base.release_seconds),
        pull_seconds=section.seconds("pull_seconds", base.pull_seconds),
        answer_seconds=section.seconds("answer_seconds", base.answer_seconds),
        faults=tuple(_fault(entry) for entry in section.sections("faults")),
    )
    section.done()
    return engine


def _kind(word: str) -> Literal["ollama", "llamacpp", "vllm", "llamaswap", "openai", "service"]:
    match word:
        case "llamacpp" | "vllm" | "llamaswap" | "openai" | "service":
            return word
    return "ollama"


def _group(name: str, section: Section) -> SimGroup:
    base = SimGroup(name)
    group = SimGroup(
        name,
        section.boolean("swap", base.swap),
        section.boolean("exclusive", base.exclusive),
        section.boolean("persistent", base.persistent),
        section.texts("members"),
    )
    section.done()
    return group


def _models(section: Section, key: str, catalogue: dict[str, SimModel]) -> tuple[SimModel, ...]:
    found: dict[str, SimModel] = {}
    for index, entry in enumerate(section.items(key)):
        if isinstance(entry, Section):
            model = _model(entry)
        elif entry in catalogue:
            model = catalogue[entry]
        else:
            section.wrong(f"there is no model {entry!r} in `models:`", key, "describe it there, or here as a mapping", item=index)
            continue
        if model.name in found:
            section.wrong(f"the model {model.name!r} is there twice", key, "remove one", item=index)
        found[model.name] = model
    return tuple(found.values())


def _model(section: Section) -> SimModel:
    name = section.text("name", required=True)
    embedding = section.boolean("embedding", False)
    vram = section.size("vram") if section.has("vram") else None
    size = section.size("size", vram or 0, required=vram is None)
    layers = max(1, section.integer("layers", 12 if embedding else 32))
    model = SimModel(
        name,
        size,
        weights=section.size("weights", size),
        kv_per_token=section.size("kv_per_token", 0 if embedding or vram is not None else layers * 4096),
        compute=section.size("compute", 0),
        layers=layers,
        embedding=embedding,
        context_train=section.integer("context_train", 2048 if embedding else 131_072),
        embedding_length=section.integer("embedding_length", 768 if embedding else 4096),
        vram=vram,
        overhead=section.size("overhead", 0),
        context=section.integer("context") if section.has("context") else None,
        parameters=section.scalars("parameters"),
        blob=section.text("blob", ""),
        family=section.text("family", "bert" if embedding else "llama"),
        tokens_per_second=max(0.001, section.number("tokens_per_second", 400.0)),
        quantization=section.text("quantization", "F16" if embedding else "Q4_K_M"),
    )
    section.done()
    return model


def _fault(section: Section) -> FaultSpec:
    base = FaultSpec("slow")
    kind = section.choice("kind", tuple(sorted(KINDS)), required=True)
    if section.has("paths") and kind in LOAD_KINDS | PULL_KINDS:
        section.wrong(f"`paths` is no key of the fault {kind}", "paths", "use `models`")
    fault = FaultSpec(
        kind,
        section.texts("paths"),
        section.texts("models"),
        section.integer("count") if section.has("count") else None,
        section.seconds("seconds", base.seconds),
        section.integer("status", base.status),
        section.text("text") if section.has("text") else None,
        section.text("location", base.location),
        section.size("size", base.size),
    )
    section.done()
    return fault
