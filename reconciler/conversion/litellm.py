"""The configuration of a LiteLLM proxy: the servers behind it as hosts with engines, its model groups as models.

The keys: LiteLLM's documentation, proxy/config_settings and proxy/reliability.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from reconciler.conversion.found import Found, Value, is_host, is_name, variable_of
from reconciler.conversion.reading import entries, items, leave_others, text_of, whole
from reconciler.fleet import EngineKind, canonical_name
from reconciler.workspace.tree import ListNode, MapNode, Node, ScalarNode, is_null

_PROVIDERS: Mapping[str, EngineKind | None] = {
    "ollama": EngineKind.OLLAMA,
    "ollama_chat": EngineKind.OLLAMA,
    "hosted_vllm": EngineKind.VLLM,
    "openai": None,
    "text-completion-openai": None,
    "custom_openai": None,
}
"""The kind of engine that a provider of LiteLLM is; None where any server with OpenAI's API may be behind it."""
_BY_PORT = {11434: EngineKind.OLLAMA, 8000: EngineKind.VLLM}
_NO_KEYS = frozenset(("", "none", "null", "empty", "dummy", "not-needed", "no-key-required", "sk-no-key-required", "ollama", "anything"))
_REFERENCE = "os.environ/"
_OLLAMA_HERE = "http://localhost:11434"
"""Where LiteLLM looks for an Ollama of which no address is written (litellm/main.py)."""
_READ = ("model", "api_base", "api_key", "num_ctx", "keep_alive")
_GATEWAY = "how requests are sent stays with the gateway"
_SECRET = "a secret, which is never copied: it stays with the gateway"  # noqa: S105


@dataclass(slots=True)
class _Group:
    """A model group: its name, its name on each kind of engine, and (host, engine) of each of its servers."""

    name: str
    at: Node
    names: dict[EngineKind, str] = field(default_factory=dict)
    servers: dict[tuple[str, str], EngineKind] = field(default_factory=dict)
    context: int | None = None
    keep_alive: str | None = None
    aliases: list[str] = field(default_factory=list)
    fallback: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class _Groups:
    """Groups by name; `of` also by the names of groups that are the same model; `on` by what is served where. `engines` has names of
    engines by host and port."""

    of: dict[str, _Group] = field(default_factory=dict)
    on: dict[tuple[str, str, str], _Group] = field(default_factory=dict)
    engines: dict[tuple[str, int], str] = field(default_factory=dict)


def is_this(root: MapNode) -> bool:
    """A list of models with their parameters."""
    models = root.get("model_list")
    return isinstance(models, ListNode) and any(
        isinstance(item, MapNode) and item.get("litellm_params") is not None for item in models.items
    )


def read(root: MapNode, found: Found) -> None:
    """The servers of one address are one host; the groups that one server serves under one name are one model."""
    groups = _Groups()
    for key, item in items(root.get("model_list"), "model_list", found):
        _deployment(key, item, groups, found)
    for section in ("router_settings", "litellm_settings"):
        _settings(section, root.get(section), groups, found)
    for group in _apart(groups, found):
        found.models[group.name] = _keys(group)
    general = root.get("general_settings")
    leave_others(general, "general_settings", (), {"master_key": _SECRET, "database_url": _SECRET}, found)
    known = ("model_list", "router_settings", "litellm_settings", "general_settings")
    leave_others(root, "", known, {"environment_variables": _SECRET}, found)


def _apart(groups: _Groups, found: Found) -> list[_Group]:
    """The groups, but those that are one model of an engine with an earlier one, which gpurec's files name once; without them no other
    falls back to them."""
    taken: dict[tuple[EngineKind, str, str], str] = {}
    kept: dict[str, _Group] = {}
    for group in {id(one): one for one in groups.of.values()}.values():
        hosts = {host for host, _ in group.servers}
        own = all(name == group.name for name in group.names.values())
        uses = [(kind, canonical_name(kind, name), host) for kind, name in group.names.items() for host in (*hosts, *([""] if own else []))]
        other = next((taken[use] for use in uses if use in taken), None)
        if other is not None:
            found.leave(group.name, group.at, f"on one of its hosts this is the same model as {other!r}, which is written")
            continue
        taken |= dict.fromkeys(uses, group.name)
        kept[group.name] = group
    for group in kept.values():
        group.fallback = {name: None for name in group.fallback if name in kept}
    return list(kept.values())


def _keys(group: _Group) -> dict[str, Value]:
    hosts = sorted({host for host, _ in group.servers})
    kinds = sorted(set(group.servers.values()))
    keys: dict[str, Value] = {"engine": kinds[0].value} if len(kinds) == 1 else {}
    if any(name != group.name for name in group.names.values()):
        keys["names"] = {kind.value: name for kind, name in sorted(group.names.items())}
    fixed = all(kind in (EngineKind.VLLM, EngineKind.LLAMACPP) for kind in kinds)
    forever = group.keep_alive is not None and group.keep_alive.startswith("-")
    keys["ensure"] = "loaded" if fixed or forever else "present"
    keys["on"] = ",".join(hosts)
    if len(group.servers) > 1:
        keys |= {"each": "node"} if len(hosts) == len(group.servers) else {"replicas": len(group.servers)}
    if group.context is not None:
        keys |= {"context": group.context, "context_via": "request"}
    if group.keep_alive is not None and not forever and not fixed:
        keys["keep_alive"] = group.keep_alive
    if group.aliases:
        keys["aliases"] = list(group.aliases)
    if group.fallback:
        keys["fallback"] = list(group.fallback)
    return keys


def _deployment(key: str, node: Node, groups: _Groups, found: Found) -> None:
    params = node.get("litellm_params") if isinstance(node, MapNode) else None
    name = text_of(node.get("model_name"), f"{key}.model_name", found) if isinstance(node, MapNode) else None
    if not isinstance(node, MapNode) or not isinstance(params, MapNode) or name is None or not is_name(name) or "*" in name:
        found.leave(key, node, "a model_name that can be a name in gpurec's files, without *, and litellm_params are expected here")
        return
    where = f"{key}.litellm_params"
    provider, _, model = (text_of(params.get("model"), f"{where}.model", found) or "").partition("/")
    if provider not in _PROVIDERS or not is_name(model) or "*" in model:
        found.leave(
            f"{where}.model", params.get("model") or params, "this is no server of your own that gpurec knows, so there is no engine for it"
        )
        return
    parts = _address(where, params, provider, found)
    if parts is None:
        return
    kind = _kind(where, params, provider, parts, found)
    host, engine = _engine(where, params, kind, parts, groups, found)
    group = _group(name, node.key("model_name") or node, key, (host, engine, canonical_name(kind, model)), groups, found)
    if group.names.setdefault(kind, model) != model:
        found.leave(
            f"{where}.model",
            params.get("model") or params,
            f"on {kind.value} this model is {group.names[kind]!r} already, which is written",
        )
        return
    group.servers[host, engine] = kind
    _how(where, params, kind, group, found)
    leave_others(params, where, _READ, dict.fromkeys((one.text for one, _ in params.entries.values()), _GATEWAY), found)
    leave_others(node, key, ("model_name", "litellm_params"), {"model_info": _GATEWAY}, found)


def _group(name: str, at: Node, key: str, served: tuple[str, str, str], groups: _Groups, found: Found) -> _Group:
    """The group of a name; of another name, where that is the same model of the same server."""
    group = groups.of.get(name)
    if group is None:
        group = groups.on.get(served)
        if group is None:
            group = groups.of[name] = groups.on[served] = _Group(name, at)
        else:
            groups.of[name] = group
            group.aliases.append(name)
            found.leave(f"{key}.model_name", at, f"this is {group.name!r} on the same server, so it is written as an alias of it")
    groups.on.setdefault(served, group)
    return group


def _address(where: str, params: MapNode, provider: str, found: Found) -> SplitResult | None:
    """The address of a server, or None where it is told that there is none of one's own."""
    base = params.get("api_base")
    text = text_of(base, f"{where}.api_base", found)
    if text is None and _PROVIDERS[provider] is EngineKind.OLLAMA and (base is None or is_null(base)):
        text = _OLLAMA_HERE
        found.leave(f"{where}.api_base", params, f"no address is written here: {text} is, as LiteLLM has it then")
    if text is None:
        found.leave(f"{where}.api_base", base or params, "no address is written here, so there is no engine for it")
        return None
    if text.startswith(_REFERENCE):
        found.leave(f"{where}.api_base", base or params, "the address is in a variable, which is not read: write http://HOST:PORT here")
        return None
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname
    except ValueError:
        port, host, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or host is None or not is_host(host.replace(":", "-")) or port == 0:
        found.leave(f"{where}.api_base", base or params, "this is no address of a server: write http://HOST:PORT")
        return None
    if _PROVIDERS[provider] is None and port is None and not _is_near(host):
        found.leave(
            f"{where}.api_base", base or params, "this looks like a service of others: add it to the inventory by hand where it is your own"
        )
        return None
    if parts.username is not None or parts.password is not None or parts.query:
        found.leave(
            f"{where}.api_base", base or params, "the login or the query in this address is never copied: write `auth: {bearer: env:NAME}`"
        )
    return parts


def _is_near(host: str) -> bool:
    try:
        return ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".lan", ".internal", ".home.arpa"))


def _kind(where: str, params: MapNode, provider: str, parts: SplitResult, found: Found) -> EngineKind:
    kind = _PROVIDERS[provider]
    if kind is None:
        kind = _BY_PORT.get(parts.port or 0, EngineKind.LLAMACPP)
        what = f"{provider}/ does not tell what the server is: kind {kind.value} is written, by its port; correct it where it is another"
        found.leave(f"{where}.model", params.get("model") or params, what)
    return kind


def _engine(where: str, params: MapNode, kind: EngineKind, parts: SplitResult, groups: _Groups, found: Found) -> tuple[str, str]:
    """The names of the host and of its engine, which is written where it is new."""
    address = "127.0.0.1" if parts.hostname in (None, "localhost") else parts.hostname
    host = address.replace(":", "-")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    at = f"[{address}]" if ":" in address else address
    path = parts.path.rstrip("/").removesuffix("/v1")
    url = f"{parts.scheme}://{at}:{port}{path if path.isascii() and path.isprintable() and '{' not in path and ' ' not in path else ''}"
    engines = found.hosts.setdefault(host, (address, {}))[1]
    name = groups.engines.get((host, port))
    if name is None:
        name = kind.value if kind.value not in engines else f"{kind.value}-{port}"
        groups.engines[host, port] = name
        engines[name] = {"kind": kind.value, "url": url}
    secret = params.get("api_key")
    said = text_of(secret, f"{where}.api_key", found)
    if secret is not None and said is not None and said.lower() not in _NO_KEYS and "auth" not in engines[name]:
        theirs = said.removeprefix(_REFERENCE) if said.startswith(_REFERENCE) else ""
        safe = theirs.isidentifier() and theirs.isascii() and len(theirs) <= 100
        variable = theirs if safe else variable_of(host, name, "API_KEY")
        engines[name]["auth"] = {"bearer": f"env:{variable}"}
        if not safe:
            found.leave(f"{where}.api_key", secret, f"a key is never copied: the engine refers to env:{variable}, set it to this")
    return host, name


def _how(where: str, params: MapNode, kind: EngineKind, group: _Group, found: Found) -> None:
    """The context and the keep-alive that requests ask an Ollama for."""
    for key in ("num_ctx", "keep_alive"):
        node = params.get(key)
        said = text_of(node, f"{where}.{key}", found)
        if node is None or said is None:
            continue
        context, good = whole(said, 2**27), key == "num_ctx" or _is_duration(said)
        if kind is not EngineKind.OLLAMA or not good or (key == "num_ctx" and not context):
            found.leave(f"{where}.{key}", node, "this is nothing that an Ollama is asked for")
        elif key == "num_ctx":
            group.context = group.context or context
            if group.context != context:
                found.leave(f"{where}.{key}", node, f"a model has one context here: {group.context} is written, the first of the file")
        else:
            group.keep_alive = group.keep_alive or said
            if group.keep_alive != said:
                found.leave(f"{where}.{key}", node, "a model has one keep_alive here: the first of the file is written")


def _is_duration(text: str) -> bool:
    """Whether Ollama and gpurec both read it so: a number of seconds, or one with a unit."""
    number = text.removeprefix("-").removesuffix("s").removesuffix("m").removesuffix("h")
    return text[-2:] != "ms" and whole(number, 100_000) is not None and len(text.removeprefix("-")) - len(number) <= 1


def _settings(section: str, node: Node | None, groups: _Groups, found: Found) -> None:
    if node is not None and not is_null(node) and not isinstance(node, MapNode):
        found.leave(section, node, "a mapping is expected here")
        return
    if not isinstance(node, MapNode):
        return
    key = f"{section}.model_group_alias"
    for alias, at, value in entries(node.get("model_group_alias"), key, found):
        target = value.get("model") if isinstance(value, MapNode) else value
        name = text_of(target, f"{key}.{alias}", found)
        group = groups.of.get(name or "")
        if group is None or alias in groups.of or not is_name(alias):
            found.leave(f"{key}.{alias}", at, "a new name for a model that was carried over is expected here")
            continue
        groups.of[alias] = group
        group.aliases.append(alias)
    for key, item in items(node.get("fallbacks"), f"{section}.fallbacks", found):
        for name, at, targets in entries(item, key, found):
            _fallback(f"{key}.{name}", name, at, targets, groups, found)
    reasons = dict.fromkeys((one.text for one, _ in node.entries.values()), _GATEWAY)
    leave_others(node, section, ("model_group_alias", "fallbacks"), reasons, found)


def _fallback(key: str, name: str, at: ScalarNode, targets: Node, groups: _Groups, found: Found) -> None:
    group = groups.of.get(name)
    if group is None:
        found.leave(key, at, "this is none of the models that were carried over")
        return
    for where, target in items(targets, key, found):
        other = groups.of.get(text_of(target, where, found) or "")
        if other is None or other is group or other.name in group.fallback:
            found.leave(where, target, "another model that was carried over is expected here, each once")
        else:
            group.fallback[other.name] = None
