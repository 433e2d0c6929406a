"""A compose file: an engine for each service whose image is that of a model server, at the port that it publishes.

The keys: the Compose Specification (compose-spec/compose-spec spec.md), `ports`, `environment`, `deploy.resources.reservations.devices`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise

from reconciler.conversion.commands import read_command
from reconciler.conversion.found import Found, Value, is_host, is_name, is_template, variable_of
from reconciler.conversion.reading import entries, items, leave_others, text_of, whole
from reconciler.workspace.tree import ListNode, MapNode, Node, ScalarNode

HOST, ADDRESS = "box", "127.0.0.1"
_KINDS: Mapping[str, tuple[str, int]] = {
    "ollama/ollama": ("ollama", 11434),
    "ggml-org/llama.cpp": ("llamacpp", 8080),
    "vllm/vllm-openai": ("vllm", 8000),
    "mostlygeek/llama-swap": ("llamaswap", 8080),
}
"""What an image is, by the end of its name, with the port that its server has in the container."""
_CARRIED = re.compile(r"OLLAMA_(?!.*(KEY|TOKEN|SECRET|PASS|ORIGINS|HOST|MODELS))[A-Z_]+")
_PUBLISHED = re.compile(r"(?:(?P<address>\[[0-9a-fA-F:]+\]|[0-9.]+):)?(?P<outer>[0-9]{1,5}):(?P<inner>[0-9]{1,5})(/tcp)?")
_STAYS = "it stays in the compose file: gpurec does not start this container (`gpurec import --own` is for one that runs)"
_SERVICE: Mapping[str, str] = {
    "volumes": _STAYS,
    "restart": _STAYS,
    "healthcheck": "gpurec asks the engine itself",
    "depends_on": _STAYS,
    "runtime": "gpurec asks for cards by their UUIDs, not by a runtime",
}


def is_this(root: MapNode) -> bool:
    """A mapping of services, one of which at least runs a model server."""
    services = root.get("services")
    return isinstance(services, MapNode) and any(_kind(value) is not None for _, value in services.entries.values())


def read(root: MapNode, found: Found) -> None:
    """The engines. Which models an Ollama has is in no compose file: `gpurec import` asks it."""
    services = root.get("services")
    for name, at, service in entries(services, "services", found):
        where, kind = f"services.{name}", _kind(service)
        if kind is None or not isinstance(service, MapNode):
            found.leave(where, at, "its image is no model server that gpurec knows; an agent or a service is declared by hand")
        elif not is_host(name):
            found.leave(where, at, "this cannot be an engine's name")
        else:
            _service(name, service, *kind, found)
    if found.hosts and services is not None:
        found.leave("services", root.key("services") or services, f"where this machine is, is not in this file: {ADDRESS} is written")
    leave_others(root, "", ("services", "version", "name", "volumes", "networks"), {}, found)


def _kind(service: Node) -> tuple[str, int] | None:
    image = service.get("image") if isinstance(service, MapNode) else None
    text = image.text.partition("@")[0] if isinstance(image, ScalarNode) else ""
    name = text if ":" not in text.rpartition("/")[2] else text.rpartition(":")[0]
    return next((kind for ending, kind in _KINDS.items() if name == ending or name.endswith(f"/{ending}")), None)


def _service(name: str, service: MapNode, kind: str, inner: int, found: Found) -> None:
    where = f"services.{name}"
    published = _published(service.get("ports"), f"{where}.ports", inner, found)
    if published is None:
        found.leave(where, service, f"it publishes no port for {inner}, so it cannot be reached from outside: add `ports:` there")
        return
    keys: dict[str, Value] = {"kind": kind, "url": f"http://{ADDRESS}:{published}"}
    if (gpus := _gpus(service, where, found)) is not None:
        keys["gpus"] = gpus
    if env := dict(_environment(service.get("environment"), f"{where}.environment", found)):
        keys["env"] = env
    found.engine(HOST, ADDRESS, name, keys)
    _model(service.get("command"), f"{where}.command", kind, keys, found)
    leave_others(service, where, ("image", "ports", "environment", "deploy", "command", "container_name"), _SERVICE, found)


def _published(node: Node | None, key: str, inner: int, found: Found) -> int | None:
    for at, item in items(node, key, found):
        if isinstance(item, MapNode):
            target, outer = item.get("target"), item.get("published")
            if isinstance(target, ScalarNode) and isinstance(outer, ScalarNode) and target.text == str(inner):
                return whole(outer.text, 65535)
        elif (said := text_of(item, at, found)) is not None:
            match = _PUBLISHED.fullmatch(said)
            if match is not None and int(match["inner"]) == inner and (outer_port := whole(match["outer"], 65535)) is not None:
                return outer_port
            found.leave(at, item, f"this is not read as a port of the host for {inner}")
    return None


def _gpus(service: MapNode, where: str, found: Found) -> Value | None:
    """The cards that it asks for, by index or UUID; None: all, or it is not said which."""
    node: Node | None = service
    for key in ("deploy", "resources", "reservations", "devices"):
        node = node.get(key) if isinstance(node, MapNode) else None
    ids: list[str] = []
    for at, device in items(node, f"{where}.deploy.resources.reservations.devices", found):
        if not isinstance(device, MapNode):
            continue
        ids += [said for key, item in items(device.get("device_ids"), f"{at}.device_ids", found) if (said := text_of(item, key, found))]
        count = device.get("count")
        if isinstance(count, ScalarNode) and count.text != "all":
            found.leave(f"{at}.count", count, "a count does not say which cards: write `gpus: [0]` of the engine")
    if not ids:
        return None
    return [int(one) for one in ids] if all(one.isdecimal() and len(one) < 4 for one in ids) else ids


def _environment(node: Node | None, key: str, found: Found) -> Iterator[tuple[str, str]]:
    """The variables of an Ollama that say how it runs; whatever else is there may be a secret and is named alone."""
    pairs: list[tuple[str, str | None, Node]] = []
    if isinstance(node, ListNode):
        for _, item in items(node, key, found):
            variable, _, said = (item.text if isinstance(item, ScalarNode) else "").partition("=")
            pairs.append((variable, said or None, item))
    else:
        pairs = [(name, value.text if isinstance(value, ScalarNode) else None, value) for name, _, value in entries(node, key, found)]
    for name, value, at in pairs:
        if value is None or not _CARRIED.fullmatch(name) or "$" in value or is_template(value):
            found.leave(f"{key}.{variable_of(name)}", at, _STAYS)
        else:
            yield name, value


def _model(node: Node | None, key: str, kind: str, keys: dict[str, Value], found: Found) -> None:
    """The model that a server with one is started with."""
    words = [item.text for item in node.items if isinstance(item, ScalarNode)] if isinstance(node, ListNode) else []
    words = words or (node.text.split() if isinstance(node, ScalarNode) else [])
    if not words or node is None:
        return
    flags = dict(pairwise(words))
    name = flags.get("--served-model-name") or flags.get("--model") or flags.get("--alias")
    command = read_command(" ".join(["llama-server", *words])) if kind == "llamacpp" else None
    name = name or (command.weights if command is not None else None)
    if kind not in ("vllm", "llamacpp") or name is None or not is_name(name):
        found.leave(key, node, "the model of this server is not told by it: add it under `models`")
        return
    found.models[name] = {"engine": kind, "on": HOST}
    found.leave(key, node, "of the command only the model is carried over")
