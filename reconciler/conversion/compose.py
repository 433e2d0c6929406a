"""A compose file: an engine for each service whose image is that of a model server, at the port that it publishes.

The keys: the Compose Specification (compose-spec/compose-spec spec.md), `ports`, `environment`, `gpus`,
`deploy.resources.reservations.devices`. `NVIDIA_VISIBLE_DEVICES`: NVIDIA Container Toolkit, docker-specialized. Variables and arguments of
the servers: envconfig/config.go of Ollama, common/arg.cpp of llama.cpp, vllm/entrypoints/openai/cli_args.py of vLLM.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.conversion.commands import read_command
from reconciler.conversion.found import Found, Value, is_host, is_name, is_template, variable_of
from reconciler.conversion.interpolation import with_defaults
from reconciler.conversion.reading import entries, items, leave_others, text_of, whole
from reconciler.workspace.tree import ListNode, MapNode, Node, ScalarNode

HOST, ADDRESS = "box", "127.0.0.1"
_KINDS: Sequence[tuple[str, str, int]] = (
    ("ollama/ollama", "ollama", 11434),
    ("llama.cpp", "llamacpp", 8080),
    ("vllm-openai", "vllm", 8000),
    ("rocm/vllm", "vllm", 8000),
    ("llama-swap", "llamaswap", 8080),
)
"""What an image is, by the end of its name, with the port that its server has in the container."""
_CARRIED = re.compile(r"OLLAMA_(?!.*(KEY|TOKEN|SECRET|PASS|ORIGINS|HOST|MODELS))[A-Z_]+")
_PUBLISHED = re.compile(r"(?:(?P<address>\[[0-9a-fA-F:]+\]|[0-9.]+):)?(?P<outer>[0-9]{1,5}):(?P<inner>[0-9]{1,5})(/tcp)?")
_PORT = re.compile(r".*:(?P<port>[0-9]{1,5})/?")
_STAYS = "it stays in the compose file: gpurec does not start this container (`gpurec import --own` is for one that runs)"
_DEFAULTS = "the defaults of its variables are written: what compose finds in its `.env` or environment is not read"
_NO_DEFAULT = "one of its variables has no default, and what compose finds in its `.env` or environment is not read"
_SERVICE: Mapping[str, str] = {
    "healthcheck": "gpurec asks the engine itself",
    "runtime": "gpurec asks for cards by their UUIDs, not by a runtime",
}
_READ = ("image", "ports", "environment", "deploy", "command", "entrypoint", "container_name", "gpus")
_PORT_VARIABLE: Mapping[str, str] = {"ollama": "OLLAMA_HOST", "llamacpp": "LLAMA_ARG_PORT"}
_KEY_VARIABLES = ("VLLM_API_KEY", "LLAMA_API_KEY")
_ARGUMENT_OF_KEY = "--api-key"


@dataclass(slots=True)
class _Service:
    """A model server of the file. `variables` are those of its environment whose values are told, `words` its entrypoint and command."""

    where: str
    node: MapNode
    kind: str
    port: int
    variables: dict[str, tuple[str | None, Node]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)

    def variable(self, name: str) -> str | None:
        return self.variables.get(name, (None, self.node))[0]

    def argument(self, *names: str) -> str | None:
        """What follows one of these arguments, or stands behind its `=`; the last one counts."""
        said = None
        for at, word in enumerate(self.words):
            name, equals, inline = word.partition("=")
            if name in names:
                said = inline if equals else next(iter(self.words[at + 1 :]), None)
        return said


def is_this(root: MapNode) -> bool:
    """A mapping of services, one of which at least runs a model server."""
    services = root.get("services")
    return isinstance(services, MapNode) and any(_kind(value) is not None for _, value in services.entries.values())


def read(root: MapNode, found: Found) -> None:
    """The engines. Which models an Ollama has is in no compose file: `gpurec import` asks it."""
    services = root.get("services")
    taken: dict[int, str] = {}
    for name, at, service in entries(services, "services", found):
        where, kind = f"services.{name}", _kind(service)
        if kind is None or not isinstance(service, MapNode):
            found.leave(where, at, "its image is no model server that gpurec knows; an agent or a service is declared by hand")
        elif not is_host(name):
            found.leave(where, at, "this cannot be an engine's name")
        else:
            _service(name, at, _Service(where, service, *kind), taken, found)
    if found.hosts and services is not None:
        found.leave("services", root.key("services") or services, f"where this machine is, is not in this file: {ADDRESS} is written")
    extensions = [name.text for name, _ in root.entries.values() if name.text.startswith("x-")]
    leave_others(root, "", ("services", "version", "name", "volumes", "networks", *extensions), {}, found)


def _kind(service: Node) -> tuple[str, int] | None:
    image = service.get("image") if isinstance(service, MapNode) else None
    written = image.text if isinstance(image, ScalarNode) else ""
    text = (with_defaults(written) or written).partition("@")[0]
    path, _, last = text.rpartition("/")
    name = f"{path}/{last.partition(':')[0]}"
    return next(((kind, port) for ending, kind, port in _KINDS if f"/{name}".endswith(f"/{ending}")), None)


def _service(name: str, at: ScalarNode, service: _Service, taken: dict[int, str], found: Found) -> None:
    node, where = service.node, service.where
    service.variables = _variables(node.get("environment"), f"{where}.environment", found)
    service.words = [word for key in ("entrypoint", "command") for word in _words(node.get(key), f"{where}.{key}", found)]
    inner = _inner_port(service)
    on_host = isinstance(mode := node.get("network_mode"), ScalarNode) and mode.text == "host"
    published = inner if on_host else _published(node.get("ports"), f"{where}.ports", inner, found)
    if published is None:
        found.leave(where, node, f"it publishes no port for {inner}, so it cannot be reached from outside: add `ports:` there")
        return
    if published in taken:
        found.leave(where, at, f"{taken[published]} has port {published} too, and is written: only one of the two can run at a time")
        return
    taken[published] = name
    keys: dict[str, Value] = {"kind": service.kind, "url": f"http://{ADDRESS}:{published}"}
    if (gpus := _gpus(service, found)) is not None:
        keys["gpus"] = gpus
    if env := dict(_carried(service, found)):
        keys["env"] = env
    _key(name, service, keys, found)
    found.engine(HOST, ADDRESS, name, keys)
    _model(service, found)
    reasons = dict.fromkeys((one.text for one, _ in node.entries.values()), _STAYS) | dict(_SERVICE)
    leave_others(node, where, (*_READ, *(("network_mode",) if on_host else ())), reasons, found)


def _filled(node: Node | None, key: str, found: Found) -> str | None:
    """The text of a single value with the defaults of its variables; None where there is none, or where it is told."""
    said = text_of(node, key, found)
    filled = None if said is None else with_defaults(said)
    if node is not None and said is not None and filled != said:
        found.leave(key, node, _NO_DEFAULT if filled is None else _DEFAULTS)
    return filled


def _words(node: Node | None, key: str, found: Found) -> list[str]:
    """A command as compose reads it: a list, or a line as a shell splits it."""
    if isinstance(node, ListNode):
        return [_filled(item, at, found) or "" for at, item in items(node, key, found)]
    try:
        return shlex.split(_filled(node, key, found) or "")
    except ValueError:
        return []


def _variables(node: Node | None, key: str, found: Found) -> dict[str, tuple[str | None, Node]]:
    """The variables with their values, None where it is not told."""
    pairs: list[tuple[str, str | None, Node]] = []
    if isinstance(node, ListNode):
        for at, item in items(node, key, found):
            name, equals, said = (text_of(item, at, found) or "").partition("=")
            pairs.append((name, said if equals else None, item))
    else:
        pairs = [(name, text_of(value, f"{key}.{variable_of(name)}", found), value) for name, _, value in entries(node, key, found)]
    return {name: (None if said is None else with_defaults(said), at) for name, said, at in pairs}


def _inner_port(service: _Service) -> int:
    """The port that the server listens on in its container."""
    said = service.argument("--port") or service.variable(_PORT_VARIABLE.get(service.kind, ""))
    if service.kind == "llamaswap":
        said = service.argument("-listen", "--listen")
    match = _PORT.fullmatch(f":{said}" if said is not None and said.isdigit() else said or "")
    return (whole(match["port"], 65535) if match is not None else None) or service.port


def _published(node: Node | None, key: str, inner: int, found: Found) -> int | None:
    for at, item in items(node, key, found):
        if isinstance(item, MapNode):
            target, outer = _filled(item.get("target"), f"{at}.target", found), _filled(item.get("published"), f"{at}.published", found)
            if target == str(inner) and outer is not None:
                return whole(outer, 65535)
        elif (said := _filled(item, at, found)) is not None:
            match = _PUBLISHED.fullmatch(said)
            if match is not None and int(match["inner"]) == inner and (outer_port := whole(match["outer"], 65535)) is not None:
                return outer_port
            found.leave(at, item, f"this is not read as a port of the host for {inner}")
    return None


def _gpus(service: _Service, found: Found) -> Value | None:
    """The cards that it asks for, by index or UUID; None: all, or it is not said which."""
    node, where = service.node, service.where
    reserved: Node | None = node
    for key in ("deploy", "resources", "reservations", "devices"):
        reserved = reserved.get(key) if isinstance(reserved, MapNode) else None
    own = node.get("gpus")
    ids: list[str] = []
    devices = list(items(reserved, f"{where}.deploy.resources.reservations.devices", found))
    devices += items(own, f"{where}.gpus", found) if isinstance(own, ListNode) else ()
    for at, device in devices:
        if not isinstance(device, MapNode):
            continue
        for key, item in items(device.get("device_ids"), f"{at}.device_ids", found):
            ids += (_filled(item, key, found) or "").split(",")
        count = _filled(device.get("count"), f"{at}.count", found)
        if count is not None and count != "all":
            found.leave(f"{at}.count", device.get("count") or device, "a count does not say which cards: write `gpus: [0]` of the engine")
    visible = service.variable("NVIDIA_VISIBLE_DEVICES")
    if not any(ids) and visible is not None and visible not in ("all", "none", "void"):
        ids = visible.split(",")
    if (at_most := service.variables.get("CUDA_VISIBLE_DEVICES")) is not None:
        why = "CUDA counts in an order of its own, the fastest card first: write `gpus: [0]` of the engine, as nvidia-smi counts"
        found.leave(f"{where}.environment.CUDA_VISIBLE_DEVICES", at_most[1], why)
    ids = [one.strip() for one in ids if one.strip().isprintable() and one.strip() and not is_template(one)]
    if not ids:
        return None
    return [int(one) for one in ids] if all(one.isdecimal() and len(one) < 4 for one in ids) else ids


def _carried(service: _Service, found: Found) -> Iterator[tuple[str, str]]:
    """The variables of an Ollama that say how it runs; whatever else is there may be a secret and is named alone."""
    read = (_PORT_VARIABLE.get(service.kind), "NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", *_KEY_VARIABLES)
    for name, (value, at) in service.variables.items():
        if name in read:
            continue
        if value is None or not _CARRIED.fullmatch(name) or is_template(value):
            found.leave(f"{service.where}.environment.{variable_of(name)}", at, _STAYS)
        else:
            if isinstance(at, ScalarNode) and "$" in at.text:
                found.leave(f"{service.where}.environment.{variable_of(name)}", at, _DEFAULTS)
            yield name, value


def _key(name: str, service: _Service, keys: dict[str, Value], found: Found) -> None:
    """Where a server asks for a key, a reference to it."""
    variable = next((one for one in _KEY_VARIABLES if one in service.variables), None)
    if service.kind not in ("vllm", "llamacpp") or (variable is None and service.argument(_ARGUMENT_OF_KEY) is None):
        return
    own = variable_of(name, "API_KEY")
    keys["auth"] = {"bearer": f"env:{own}"}
    at = service.variables[variable][1] if variable is not None else service.node.get("command") or service.node
    found.leave(
        f"{service.where}.{'environment' if variable else 'command'}",
        at,
        f"a key is never copied: the engine refers to env:{own}, set it to this",
    )


def _model(service: _Service, found: Found) -> None:
    """The model that a server with one is started with."""
    kind, words = service.kind, service.words
    at = service.node.get("command") or service.node.get("entrypoint") or service.node
    name = service.argument("--served-model-name", "--alias", "-a") or service.argument("--model")
    if kind == "llamacpp" and name is None:
        command = read_command(shlex.join(["llama-server", *words]))
        told = command.weights if command is not None else None
        name = service.variable("LLAMA_ARG_ALIAS") or told or service.variable("LLAMA_ARG_MODEL")
    if kind == "vllm" and name is None:  # `vllm serve NAME`, of which an image may have the first two words as its entrypoint
        rest = words[words.index("serve") + 1 :] if "serve" in words else words
        name = next((word for word in rest[:1] if not word.startswith("-")), None)
    if kind not in ("vllm", "llamacpp") or name is None or not is_name(name):
        if words or kind in ("vllm", "llamacpp"):
            found.leave(f"{service.where}.command", at, "the model of this server is not told by it: add it under `models`")
        return
    if name in found.models:
        found.models[name]["replicas"] = int(str(found.models[name].get("replicas", 1))) + 1
    else:
        found.models[name] = {"engine": kind, "on": HOST}
    found.leave(f"{service.where}.command", at, "of the command only the model is carried over")
