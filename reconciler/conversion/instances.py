"""A list of Ollama instances, one for each card: port, memory limit, requests at once, and the models of each."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.conversion.found import Found, Value, is_host, is_name
from reconciler.conversion.reading import entries, items, leave_others, text_of, whole
from reconciler.fleet import UnitError, parse_bytes
from reconciler.workspace.tree import ListNode, MapNode, Node, ScalarNode

HOST, ADDRESS = "box", "127.0.0.1"
_LISTS = ("instances", "ollama_instances", "gpu_instances")
_CARD = ("gpu_id", "gpu", "device_id")
_ADDRESS = ("host", "address", "bind_address")
_HERE = (ADDRESS, "localhost", "0.0.0.0")  # noqa: S104 (what a file says, and nothing that is listened on)
_REQUESTS = ("max_concurrent_requests", "max_concurrent", "concurrency", "max_requests")
_TOP: Mapping[str, str] = {
    "health_check": "how an apply waits for an engine is `policy.health`, how a gateway does is in what it is rendered to",
    "circuit_breaker": "`policy.breaker: {failures: 5, reset: 60s}`",
    "load_balancing": "the gateway that `template: gpurec:nginx` or `gpurec:litellm` renders weighs engines by their requests at once",
    "routing": "the gateway that `template: gpurec:nginx` or `gpurec:litellm` renders routes by model",
}


def is_this(root: MapNode) -> bool:
    """A list of instances of which one names a card and a port."""
    return any(
        isinstance(one, MapNode) and one.get("port") is not None and any(one.get(key) is not None for key in _CARD)
        for _, _, one in _instances(root, Found(""))
    )


def read(root: MapNode, found: Found) -> None:
    """One host with an engine for each instance. Models of a card that may not fit at once are written as `ensure: present`."""
    cards: dict[str, dict[int, str]] = {}
    for key, name, instance in _instances(root, found):
        if not isinstance(instance, MapNode):
            found.leave(key, instance, "a mapping is expected here")
            continue
        port = whole(_said(instance, "port"), 65535)
        card = whole(next((said for one in _CARD if (said := _said(instance, one))), None), 255)
        said = _said(instance, "name")
        own = next((one for one in (said, name, f"gpu{card}" if card is not None else None) if one is not None and is_host(one)), None)
        if port is None or own is None:
            found.leave(key, instance, "an instance needs a `port`, and a name or a card")
            continue
        elsewhere = next((at for one in _ADDRESS if (at := _said(instance, one)) is not None and is_host(at)), ADDRESS)
        host, address = (HOST, ADDRESS) if elsewhere in _HERE else (elsewhere, elsewhere)
        if own in found.hosts.get(host, ("", {}))[1]:
            own = f"{own}-{port}"
        keys: dict[str, Value] = {"kind": "ollama", "url": f"http://{address}:{port}"}
        if card is not None:
            keys["gpus"] = [card]
            model = _said(instance, "gpu_name") or (said if said != own else None)
            if model is not None and model.isprintable():
                cards.setdefault(host, {})[card] = model
        _limit(instance, key, keys, found)
        requests = next((whole(_said(instance, one), 10_000) for one in _REQUESTS if instance.get(one) is not None), None)
        if requests:
            keys["max_concurrent_requests"] = requests
        found.engine(host, address, own, keys)
        _models(instance, key, host, own, found)
        leave_others(instance, key, ("name", "port", "gpu_name", "memory_limit", "models", *_CARD, *_REQUESTS, *_ADDRESS), {}, found)
    for host, names in cards.items():
        found.remarks_of_hosts[host] = [f"card {index}: {name}" for index, name in sorted(names.items())]
    if HOST in found.hosts:
        found.leave("instances", root, f"where this machine is, is not in this file: {ADDRESS} is written")
    leave_others(root, "", _LISTS, _TOP, found)


def _instances(root: MapNode, found: Found) -> list[tuple[str, str | None, Node]]:
    for key in _LISTS:
        node = root.get(key)
        if isinstance(node, ListNode):
            return [(at, None, item) for at, item in items(node, key, found)]
        if isinstance(node, MapNode):
            return [(f"{key}.{name}", name, value) for name, _, value in entries(node, key, found)]
    return []


def _said(node: MapNode, key: str) -> str | None:
    value = node.get(key)
    return value.text if isinstance(value, ScalarNode) and value.tag is None else None


def _limit(instance: MapNode, key: str, keys: dict[str, Value], found: Found) -> None:
    said = _said(instance, "memory_limit")
    if said is None:
        return
    try:
        parse_bytes(said)
    except UnitError as error:
        found.leave(f"{key}.memory_limit", instance.get("memory_limit") or instance, f"{error.args[0]}: a unit is needed")
    else:
        keys["memory_limit"] = said


def _models(instance: MapNode, key: str, host: str, own: str, found: Found) -> None:
    for at, item in items(instance.get("models"), f"{key}.models", found):
        name = text_of(item if isinstance(item, ScalarNode) else item.get("name") if isinstance(item, MapNode) else item, at, found)
        if name is None or not is_name(name):
            found.leave(at, item, "this cannot be a model's name in gpurec's files")
            continue
        if name in found.models:
            hosts = str(found.models[name]["on"]).split(",")
            found.models[name]["on"] = ",".join(dict.fromkeys((*hosts, host)))
            found.models[name]["replicas"] = int(str(found.models[name].get("replicas", 1))) + 1
            found.remarks[name].append(f"and on {own}")
            continue
        found.models[name] = {"engine": "ollama", "on": host, "ensure": "present"}
        found.remarks[name] = [f"was on {own}; gpurec places it where it fits"]
