"""Engines: why they cannot be asked, and what shows that their variables are not those that the inventory says."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from reconciler.fleet import EngineFacts, EngineKind, EngineSpec
from reconciler.health.finding import Finding, error, warning

_FOREVER = frozenset(("-1", "-1s", "-1m", "-1h"))


def engine_findings(spec: EngineSpec, facts: EngineFacts) -> Iterator[Finding]:
    """What is wrong with one engine."""
    address = f"engine.{spec.id}"
    if facts.reachable:
        for note in facts.notes:
            yield warning("partly_seen", address, note, "what it would tell stays unknown until it answers as it should")
        yield from _variables(spec, facts, address)
        return
    if not facts.silent:
        return
    reason = (facts.reason or facts.reason_code or "it did not answer").removeprefix(f"{spec.id}: ")
    match facts.reason_code:
        case "host_refused":
            what = f"it takes only local host names while it listens on a loopback address: {reason}"
            yield error("wrong_host_header", address, what, "start it with OLLAMA_HOST=0.0.0.0, or ask it by its IP address")
        case "key_refused" if spec.bearer is None:
            yield error(
                "missing_key", address, _asks_for_a_key(spec, reason), "add `auth: {bearer: env:NAME}` to this engine in the inventory"
            )
        case "key_refused":
            yield error("key_refused", address, f"it refuses the key: {reason}", f"correct what {spec.bearer} holds")
        case "missing_key":
            yield error("missing_key", address, reason, _set_key(spec))
        case "tls":
            mend = "write tls.ca of this engine, renew its certificate, or write its url with http:// where it speaks no TLS"
            yield error("tls", address, reason, mend)
        case "redirected":
            yield error("redirected", address, reason, f"write the url that it redirects to; curl -sSI {spec.url}{_health(spec)}")
        case "no_such_host":
            yield error("no_such_host", address, reason, f"correct the url of this engine in the inventory; getent hosts {_host(spec)}")
        case "own_limit" as code:
            yield error(code, address, reason, "run it again where it has more; the engine may be well")
        case "unreadable" as code:
            yield error(code, address, reason, f"report it with what the engine answers: {_ask(spec)}")
        case "not_its_protocol" | "too_large" as code:
            yield error(code, address, reason, f"correct its url or kind; {_ask(spec)}")
        case "http_5xx" | "cut" as code:
            yield error(code, address, reason, f"look at its log ({_log(spec)}), and restart it; then {_ask(spec)}")
        case "starting" | "busy" as code:
            yield error(code, address, reason, f"wait until it is ready: {_ask(spec)}; if it never is, its log says why")
        case code:
            yield error(code or "unreachable", address, reason, f"start it: {_start(spec)}; then {_ask(spec)}")


_HEALTH = {EngineKind.OLLAMA: "/api/version", EngineKind.OPENAI: "/v1/models"}


def _health(spec: EngineSpec) -> str:
    return spec.health or _HEALTH.get(spec.kind, "/health")


def _asks_for_a_key(spec: EngineSpec, reason: str) -> str:
    before = " (Ollama itself has no keys: a proxy before it does)" if spec.kind is EngineKind.OLLAMA else ""
    return f"it asks for a key{before}: {reason}"


def _set_key(spec: EngineSpec) -> str:
    """How the key that the inventory refers to is put there; its value is never known here."""
    if spec.bearer is None:
        return "set the key"
    if spec.bearer.scheme == "file":
        return f"write the bare key into {spec.bearer.target}, readable by who runs gpurec (chmod 600)"
    return f"export {spec.bearer.target}=…"


def _ask(spec: EngineSpec) -> str:
    return f"curl -sS {spec.url}{_health(spec)}"


def _log(spec: EngineSpec) -> str:
    return "journalctl -u ollama -n 50" if spec.kind is EngineKind.OLLAMA else f"that of its {spec.kind} server"


def _host(spec: EngineSpec) -> str:
    return urlsplit(spec.url).hostname or spec.url


def _start(spec: EngineSpec) -> str:
    return "sudo systemctl start ollama" if spec.kind is EngineKind.OLLAMA else f"its {spec.kind} server"


def _variables(spec: EngineSpec, facts: EngineFacts, address: str) -> Iterator[Finding]:
    """`env:` of the inventory has no effect on an engine that somebody else starts; where it shows that it was never set, that is said."""
    if not spec.env:
        return
    for name, said, seen in _contradicted(spec, facts):
        mend = (
            f"sudo systemctl edit ollama: Environment={name}={said}" if spec.kind is EngineKind.OLLAMA else f"start it with {name}={said}"
        )
        yield warning("variable_not_set", address, f"`env:` says {name}={said}, and it behaves otherwise: {seen}", mend)


def _contradicted(spec: EngineSpec, facts: EngineFacts) -> Iterator[tuple[str, str, str]]:
    context = spec.env.get("OLLAMA_CONTEXT_LENGTH", "")
    if spec.kind is EngineKind.OLLAMA and context.isdecimal():
        plain = [one for one in facts.residents or () if one.context is not None and not _has_own_context(one.name)]
        other = next((one for one in plain if one.context is not None and one.context > int(context)), None)
        if other is not None:
            yield "OLLAMA_CONTEXT_LENGTH", context, f"{other.name} runs with a context of {other.context}"
    if spec.kind is EngineKind.OLLAMA and spec.env.get("OLLAMA_KEEP_ALIVE") in _FOREVER:
        passing = next((one for one in facts.residents or () if one.pinned is False), None)
        if passing is not None:
            yield "OLLAMA_KEEP_ALIVE", spec.env["OLLAMA_KEEP_ALIVE"], f"{passing.name} expires by itself"
    for name in ("OLLAMA_MAX_LOADED_MODELS", "LLAMA_ARG_MODELS_MAX"):
        said = spec.env.get(name, "")
        if not said.isdecimal() or int(said) == 0:
            continue
        if facts.max_residents is not None and facts.max_residents != int(said):
            yield name, said, f"it holds at most {facts.max_residents} models"
        elif facts.residents is not None and len(facts.residents) > int(said):
            yield name, said, f"it holds {len(facts.residents)} models"


def _has_own_context(name: str) -> bool:
    """A derived tag holds its own context (`NAME:TAG-c8192`)."""
    return name.rpartition("-c")[2].isdecimal()
