"""llama-swap's `config.yaml`: one engine of kind `llamaswap`, and its models.

The keys: config.example.yaml of mostlygeek/llama-swap.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.conversion.commands import read_command
from reconciler.conversion.found import Found, Value, is_name, variable_of
from reconciler.conversion.reading import entries, items, leave_others, text_of, whole
from reconciler.workspace.tree import ListNode, MapNode, Node, ScalarNode, is_null

HOST, ADDRESS, ENGINE, PORT = "box", "127.0.0.1", "llamaswap", 8080
MOST_COMMAND = 2**16
MOST_COMMANDS = 2**22
"""Characters of one command with its macros in it, and of all commands of a file: aliases can make many of few."""
_MACRO = re.compile(r"\$\{([A-Za-z0-9_-]+)\}")
_OWN = "it stays in llama-swap's own file, which gpurec does not write"
_TOP: Mapping[str, str] = {
    "macros": "they are put into the commands where they can be; the rest stays in llama-swap's own file",
    "groups": "which models llama-swap stops for another stays in its own file: gpurec learns it from what runs",
    "routing": "which models llama-swap stops for another stays in its own file: gpurec learns it from what runs",
    "matrix": "which models llama-swap stops for another stays in its own file: gpurec learns it from what runs",
    "peers": "servers of others that llama-swap passes requests to: add those of your own to the inventory by hand",
}
_MODEL: Mapping[str, str] = {
    "env": "the variables of the model's process stay in llama-swap's own file",
    "proxy": "gpurec talks to llama-swap, which knows where the model's process listens",
    "useModelName": "gpurec asks llama-swap for the model by its key",
}


@dataclass(slots=True)
class _Names:
    """`taken` are names and aliases of models; `room` is how many more characters of commands are read."""

    preloaded: Mapping[str, Node]
    taken: set[str]
    room: int = MOST_COMMANDS


def is_this(root: MapNode) -> bool:
    """A mapping of models with commands or proxies."""
    models = root.get("models")
    return isinstance(models, MapNode) and any(
        isinstance(value, MapNode) and (value.get("cmd") is not None or value.get("proxy") is not None)
        for _, value in models.entries.values()
    )


def read(root: MapNode, found: Found) -> None:
    """The engine and its models. Where llama-swap listens is an argument of its own and in no file: its default port is written."""
    engine: dict[str, Value] = {"kind": "llamaswap", "url": f"http://{ADDRESS}:{PORT}"}
    models = root.get("models")
    if not isinstance(models, MapNode):
        found.leave("models", models or root, "there are no models here")
        return
    keys = root.get("apiKeys")
    if keys is not None and not is_null(keys) and not (isinstance(keys, ListNode) and not keys.items):
        name = variable_of("LLAMA_SWAP_API_KEY")
        engine["auth"] = {"bearer": f"env:{name}"}
        found.leave(
            "apiKeys", root.key("apiKeys") or keys, f"keys are never copied: the engine refers to env:{name}, set it to one of them"
        )
    found.engine(HOST, ADDRESS, ENGINE, engine)
    found.leave("models", root.key("models") or models, f"where llama-swap listens is not in this file: {engine['url']} is written")
    macros = _macros(root.get("macros"), "macros", found)
    preloaded = _preloaded(root, found)
    names = _Names(preloaded, set(_keys(models)))
    for name, at, value in entries(models, "models", found):
        _model(name, at, value, macros, names, found)
    for missing in sorted(preloaded.keys() - found.models.keys()):
        found.leave("hooks.on_startup.preload", preloaded[missing], "this is none of the models that were carried over")
    leave_others(root, "", ("models", "apiKeys", "hooks"), {**dict.fromkeys(_keys(root), _OWN), **_TOP}, found)


def _keys(node: MapNode) -> list[str]:
    return [name.text for name, _ in node.entries.values()]


def _preloaded(root: MapNode, found: Found) -> dict[str, Node]:
    """The models that llama-swap loads when it starts."""
    hooks = root.get("hooks")
    start = hooks.get("on_startup") if isinstance(hooks, MapNode) else None
    preload = start.get("preload") if isinstance(start, MapNode) else None
    listed = {text_of(item, key, found): item for key, item in items(preload, "hooks.on_startup.preload", found)}
    return {name: item for name, item in listed.items() if name is not None}


def _macros(node: Node | None, key: str, found: Found) -> dict[str, str]:
    """Macros by name: in the older form a mapping, in the newer also a list of mappings."""
    parts = [one for _, one in items(node, key, found)] if isinstance(node, ListNode) else [node]
    texts = {name: text_of(value, f"{key}.{name}", found) for part in parts for name, _, value in entries(part, key, found)}
    return {name: text for name, text in texts.items() if text is not None}


def _expanded(command: str, macros: Mapping[str, str]) -> str | None:
    """The command with its macros in it, some of which name others; None where that grows beyond MOST_COMMAND characters."""
    for _ in range(10):
        if len(command) + sum(len(macros.get(name, "")) for name in _MACRO.findall(command)) > MOST_COMMAND:
            return None
        after = _MACRO.sub(lambda match: macros.get(match[1], match[0]), command)
        if after == command:
            break
        command = after
    return command


def _model(name: str, at: ScalarNode, node: Node, macros: dict[str, str], names: _Names, found: Found) -> None:
    where = f"models.{name}"
    if not isinstance(node, MapNode) or not is_name(name):
        found.leave(where, at, "a mapping is expected here" if is_name(name) else "this cannot be a model's name in gpurec's files")
        return
    keys: dict[str, Value] = {"engine": "llamaswap", "on": HOST, "ensure": "loaded" if name in names.preloaded else "present"}
    found.models[name] = keys
    _aliases(name, node, keys, names.taken, found)
    _time_to_live(where, node, keys, found)
    own = _macros(node.get("macros"), f"{where}.macros", found)
    _command(name, node, ChainMap(own, {"MODEL_ID": name}, macros), keys, names, found)
    reasons = {**dict.fromkeys(_keys(node), _OWN), **_MODEL}
    leave_others(node, where, ("cmd", "ttl", "aliases", "macros"), reasons, found)


def _aliases(name: str, node: MapNode, keys: dict[str, Value], taken: set[str], found: Found) -> None:
    aliases: list[str] = []
    for key, item in items(node.get("aliases"), f"models.{name}.aliases", found):
        alias = text_of(item, key, found)
        if alias is None:
            continue
        if alias in taken or not is_name(alias):
            found.leave(key, item, "another model has this name" if alias in taken else "this cannot be a name in gpurec's files")
            continue
        taken.add(alias)
        aliases.append(alias)
    if aliases:
        keys["aliases"] = aliases


def _time_to_live(where: str, node: MapNode, keys: dict[str, Value], found: Found) -> None:
    ttl = node.get("ttl")
    said = text_of(ttl, f"{where}.ttl", found)
    if ttl is None or said is None or said in ("0", "-1"):
        return
    seconds = whole(said, 10**8)
    if seconds is None:
        found.leave(f"{where}.ttl", ttl, "this is no number of seconds")
    elif keys["ensure"] == "loaded":
        why = "llama-swap loads it when it starts, so `ensure: loaded` is written, but stops it after this time all the same"
        found.leave(f"{where}.ttl", ttl, why)
    else:
        keys["keep_alive"] = f"{seconds}s"


def _command(name: str, node: MapNode, macros: Mapping[str, str], keys: dict[str, Value], names: _Names, found: Found) -> None:
    where, written = f"models.{name}.cmd", node.get("cmd")
    said = text_of(written, where, found)
    if written is None or said is None:
        return
    text = _expanded(said, macros) if len(said) <= names.room else None
    names.room -= len(text or "")
    command = read_command(text) if text is not None and names.room >= 0 else None
    if command is None:
        found.leave(where, written, "this is no command of llama-server that can be read, so its context and its layers are not known")
        return
    if command.weights is not None:
        safe = "${" not in command.weights and "@" not in command.weights and "?" not in command.weights
        found.remarks[name] = [f"weights: {command.weights}"] if safe else []
    if command.context is not None:
        keys["context"] = command.context
    if command.on_cpu:
        keys["residency"] = "cpu"
    elif command.partly:
        keys["residency"] = "gpu_preferred"
        found.leave(
            where, written, f"how much of the model -ngl {command.layers} puts on the card is not known here: gpu_preferred is written"
        )
    for argument in command.secrets:
        found.leave(where, written, f"{argument} holds a secret, which is never copied: it stays in llama-swap's own file")
    if command.others:
        found.leave(where, written, f"{', '.join(command.others)}: arguments of llama-server, which stay in llama-swap's own file")
