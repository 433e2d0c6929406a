"""The configuration of a daemon that keeps models on the cards of Ollama nodes: its nodes, priorities, sizes and margin."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from reconciler.conversion.found import Found, Value, is_host, is_name
from reconciler.conversion.reading import entries, items, leave_others, text_of, whole
from reconciler.workspace.tree import MapNode, Node, ScalarNode

_NODES = ("nodes", "ollama_nodes", "hosts")
_SIZES = ("model_sizes", "model_vram", "vram_requirements", "known_models")
_TOP: Mapping[str, str] = {
    "check_interval": "`gpurec watch --interval` says how often it looks",
    "interval": "`gpurec watch --interval` says how often it looks",
    "auto_optimize": "`gpurec watch --mode apply`, or observe",
    "report_only": "`gpurec watch --mode observe`, or `gpurec plan`",
    "log_level": "`gpurec -v` and `-q` say how much is told",
}
_VRAM = ("vram_mb", "total_vram_mb", "gpu_vram_mb")


def is_this(root: MapNode) -> bool:
    """Nodes with a list of models that come first."""
    return root.get("priority_models") is not None and any(root.get(key) is not None for key in _NODES)


def read(root: MapNode, found: Found) -> None:
    """A host for each node; the models are those of the priorities and of the sizes."""
    listed = next((key for key in _NODES if root.get(key) is not None), _NODES[0])
    nodes = root.get(listed)
    if isinstance(nodes, MapNode):
        for name, place, node in entries(nodes, listed, found):
            _node(f"{listed}.{name}", name, place, node, found)
    else:
        for at, item in items(nodes, listed, found):
            named = (item.get("name") or item.get("host")) if isinstance(item, MapNode) else None
            _node(at, named.text if isinstance(named, ScalarNode) else None, item, item, found)
    first: list[str] = []
    for at, item in items(root.get("priority_models"), "priority_models", found):
        said = text_of(item, at, found)
        if said is not None and is_name(said) and said not in first:
            first.append(said)
            found.models[said] = {"engine": "ollama"}
        elif said is not None:
            found.leave(at, item, "it is there twice" if said in first else "this cannot be a model's name in gpurec's files")
    if first:
        found.top["priority_models"] = first
    for sizes in _SIZES:
        for name, place, value in entries(root.get(sizes), sizes, found):
            _size(f"{sizes}.{name}", name, place, value, found)
    margin = text_of(root.get("vram_safety_margin"), "vram_safety_margin", found)
    if margin is not None and _is_ratio(margin):
        found.top["limits"] = {"vram_safety_margin": float(margin), "max_vram_utilization": 1.0, "reserve": 0}
    elif margin is not None:
        found.leave("vram_safety_margin", root.get("vram_safety_margin") or root, "this is no part of a card between 0 and 1")
    leave_others(root, "", (listed, "priority_models", "vram_safety_margin", *_SIZES), _TOP, found)


def _is_ratio(text: str) -> bool:
    try:
        return 0 < float(text) <= 1
    except ValueError:
        return False


def _node(key: str, name: str | None, at: ScalarNode | Node, node: Node, found: Found) -> None:
    said = node.get("url") or node.get("host") or node.get("address") if isinstance(node, MapNode) else node
    text = text_of(said, key, found)
    if text is None:
        found.leave(key, at, "there is no address here")
        return
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        host, port = url.hostname, url.port or _port(node) or 11434
    except ValueError:
        host, port = None, 0
    name = name if name is not None and is_host(name) else host
    if host is None or name is None or not is_host(name):
        found.leave(key, at, "this is no address of a server")
        return
    shown = f"[{host}]" if ":" in host else host
    found.engine(name, host, "ollama", {"url": f"{url.scheme}://{shown}:{port}"})
    if not isinstance(node, MapNode):
        return
    total = next((whole(value.text, 2**24) for one in _VRAM if isinstance(value := node.get(one), ScalarNode)), None)
    gpu = node.get("gpu") or node.get("gpu_name")
    if total == 0 or (isinstance(gpu, ScalarNode) and gpu.text.lower() in ("none", "false", "cpu", "no")):
        found.cards[name] = []
    elif total is not None:
        card: dict[str, Value] = {"index": 0, "vram": f"{total}MiB"}
        found.cards[name] = [card | ({"name": gpu.text} if isinstance(gpu, ScalarNode) and gpu.text.isprintable() else {})]
    leave_others(node, key, ("name", "url", "host", "address", "port", "gpu", "gpu_name", *_VRAM), {}, found)


def _port(node: Node) -> int | None:
    said = node.get("port") if isinstance(node, MapNode) else None
    return whole(said.text, 65535) if isinstance(said, ScalarNode) else None


def _size(key: str, name: str, at: ScalarNode, value: Node, found: Found) -> None:
    mib = whole(text_of(value, key, found), 2**24)
    if not is_name(name) or not mib:
        found.leave(key, at, "this is no size in MiB of a model")
    elif name in found.models:
        found.models[name]["vram"] = f"{mib}MiB"
    else:
        found.models[name] = {"engine": "ollama", "ensure": "present", "vram": f"{mib}MiB"}
