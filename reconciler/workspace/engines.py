"""Declared engines: the `engines` mapping of a host. What hosts share is read once; only the URL may differ by template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.fleet import EMPTY, CardId, EngineId, EngineKind, EngineSpec, OwnedEngine, Runtime, Scalar, SecretRef, Tls
from reconciler.workspace.containers import VARIABLES
from reconciler.workspace.forms import (
    Form,
    any_scalar,
    choice,
    duration,
    flag,
    integer,
    label,
    list_of,
    map_of,
    secret,
    size,
    text,
    url,
    vram,
    vram_mebibytes,
)
from reconciler.workspace.owned import OWNED_FIELDS, check_variables, read_owned
from reconciler.workspace.problems import Problems, Refused, did_you_mean
from reconciler.workspace.table import Field, Table, Values
from reconciler.workspace.templating import is_template
from reconciler.workspace.tree import ListNode, MapNode, Node, ScalarNode, what_is

BEARER = Field("bearer", secret, says="Where the token is: env:NAME or file:PATH.", required=True)
AUTH = Table("auth", (BEARER,))
CA = Field("ca", text, says="File of the authority that signed the server's certificate.")
VERIFY = Field("verify", flag, says="Whether the server's certificate is checked; the default is true.")
TLS = Table("tls", (CA, VERIFY))


def _auth(node: Node, problems: Problems, name: str) -> SecretRef:
    bearer = AUTH.read(node, problems, name).get(BEARER)
    if bearer is None:
        raise Refused
    return bearer


def _tls(node: Node, problems: Problems, name: str) -> Tls:
    values = TLS.read(node, problems, name)
    verify = values.get(VERIFY)
    return Tls(values.get(CA), True if verify is None else verify)


def _mark(node: Node, problems: Problems, name: str) -> CardId:
    if isinstance(node, ScalarNode) and isinstance(node.value, int):
        return integer(0).read(node, problems, name)
    return label.read(node, problems, name)


_card_marks = list_of(Form(_mark, {"type": ["integer", "string"]}))


def _gpus(node: Node, problems: Problems, name: str) -> tuple[CardId, ...] | None:
    if isinstance(node, ScalarNode) and node.text == "all" and node.tag is None:
        return None
    if not isinstance(node, ListNode):
        raise problems.refuse(
            f"{name} must be `all` or a list of cards, this is {what_is(node)}", node, "write [0], [amd0] or [GPU-uuid, …]"
        )
    marks = _card_marks.read(node, problems, name)
    for mark in dict.fromkeys(mark for mark in marks if marks.count(mark) > 1):
        problems.error(f"{name} names card {mark!r} twice", node, "name each card once")
    return tuple(dict.fromkeys(marks))


def _health(node: Node, problems: Problems, name: str) -> str:
    found = text.read(node, problems, name)
    if not found.startswith("/") or any(one.isspace() for one in found):
        raise problems.refuse(f"{name} must be a path of its URL, this is {found!r}", node, "write it as `/health`")
    return found


KIND = Field(
    "kind",
    choice(EngineKind),
    says="What kind of server it is; the default is its name, where that is a kind.",
    meant="type engine backend",
)
URL = Field(
    "url",
    url,
    says="Where it answers, as http://HOST:PORT; not written where gpurec starts it.",
    meant="address endpoint base_url api_base host server",
)
GPUS = Field(
    "gpus",
    Form(_gpus, {"anyOf": [{"const": "all"}, _card_marks.schema]}),
    says="Its cards by index, name or UUID; `all` is the default, and [] says that it runs on the CPU.",
    meant="cards card devices gpu gpu_ids device",
)
MEMORY_LIMIT = Field(
    "memory_limit",
    size,
    says="The most that may be placed there on each of its cards.",
    mib_keys=("memory_limit_mb",),
    meant="memory vram max_vram max_memory vram_limit",
)
REQUESTS = Field(
    "max_concurrent_requests",
    integer(1),
    says="How many requests gateways send it at once.",
    meant="concurrency max_requests parallel num_parallel",
)
_runtimes = choice(Runtime)


def _runtime(node: Node, problems: Problems, name: str) -> Runtime:
    """Where containers run is said by the host; whoever writes it here is told so."""
    if isinstance(node, ScalarNode) and node.text in ("docker", "swarm", "kubernetes"):
        hint = "write `runtime: container`, and `docker:` at the host: unix:///var/run/docker.sock, or {kubernetes: {context: NAME}}"
        raise problems.refuse(f"{name} cannot be {node.text!r}: a host says where its containers run", node, hint)
    return _runtimes.read(node, problems, name)


RUNTIME = Field(
    "runtime",
    Form(_runtime, _runtimes.schema),
    says="Who starts its process: somebody else (`external`, default), or gpurec as a container or a unit of systemd.",
)
OPTIONS = Field(
    "options",
    map_of(any_scalar),
    says="Further arguments of a llama.cpp or a vLLM that gpurec starts.",
    meant="params settings",
)
AUTH_FIELD = Field(
    "auth",
    Form(_auth, AUTH.schema()),
    says="The token that is sent to it.",
    meant="token api_key bearer key password",
)
TLS_FIELD = Field(
    "tls",
    Form(_tls, TLS.schema()),
    says="How its certificate is checked.",
    meant="insecure ca cert certificate",
)
HEALTH = Field(
    "health",
    Form(_health, {"type": "string", "pattern": "^/"}),
    says="For `kind: service`: the path that answers with 2xx while it is up; the default is /health.",
    meant="health_path healthcheck health_url",
)
SHARE = Field(
    "vram",
    vram,
    says="For `kind: openai` and `service`: what it may have of each of its cards.",
    mib_keys=("vram_mb",),
    mib_form=vram_mebibytes,
    meant="share",
)
TIMEOUT = Field("timeout", duration, says="How long one look at it may take; the default is 5s.", meant="probe_timeout")
LOAD_TIMEOUT = Field("load_timeout", duration, says="How long one load may take; the default is 15m.")

_TAKE_ARGUMENTS = (EngineKind.LLAMACPP, EngineKind.VLLM)

# fmt: off
ENGINE = Table(
    "engine",
    (KIND, URL, GPUS, MEMORY_LIMIT, REQUESTS, RUNTIME, OPTIONS, VARIABLES, AUTH_FIELD, TLS_FIELD, TIMEOUT, LOAD_TIMEOUT, HEALTH, SHARE,
     *OWNED_FIELDS),
)
# fmt: on


@dataclass(frozen=True, slots=True, eq=False)
class EngineParts:
    """An engine without its node. `url` is a node where it is a template that must be rendered for each host, and empty where gpurec starts
    the engine. `key` is where its name stands."""

    name: str
    kind: EngineKind
    url: str | ScalarNode
    gpus: tuple[CardId, ...] | None
    gpus_node: Node | None
    memory_limit: int | None
    max_concurrent_requests: int | None
    options: Mapping[str, Scalar]
    env: Mapping[str, str]
    bearer: SecretRef | None
    tls: Tls
    timeout: float
    load_timeout: float
    owned: OwnedEngine | None
    health: str | None
    share: int | None
    key: ScalarNode

    def on(self, node: str, url: str) -> EngineSpec:
        """The engine of one node."""
        return EngineSpec(
            EngineId(node, self.name),
            self.kind,
            url,
            self.gpus,
            self.memory_limit,
            self.max_concurrent_requests,
            self.options,
            self.env,
            self.bearer,
            self.tls,
            self.timeout,
            self.load_timeout,
            self.owned,
            self.health,
            self.share,
        )


def _read(node: Node, problems: Problems, name: str) -> tuple[EngineParts, ...]:
    if not isinstance(node, MapNode) or node.tag is not None:
        raise problems.refuse(
            f"{name} must be a mapping, this is {what_is(node)}", node, "write `ollama: {url: http://HOST:11434}` under it"
        )
    found = []
    for _, (key, value) in node.entries.items():
        try:
            found.append(_engine(key, value, problems))
        except Refused:
            continue
    return tuple(sorted(found, key=lambda engine: engine.name))


def _engine(key: ScalarNode, node: Node, problems: Problems) -> EngineParts:
    name = label.read(key, problems, "an engine's name")
    if "/" in name or "@" in name:
        problems.error(f"the engine name {name!r} holds '/' or '@', which separate the parts of an address", key, "name it without")
    where = f"engine {name!r}"
    template = node.get("url") if isinstance(node, MapNode) else None
    if template is not None and is_template(template) and isinstance(node, MapNode):
        plain = {word: entry for word, entry in node.entries.items() if word != "url"}
        stand_in = ScalarNode(template.file, template.line, template.column, "http://host", "http://host")
        entries = plain | {"url": (key, stand_in)}
        node = MapNode(node.file, node.line, node.column, entries)
    else:
        template = None
    values = ENGINE.read(node, problems, where)
    kind = values.get(KIND)
    if kind is None and values.lacks(KIND):
        if name not in list(EngineKind):
            kinds = [str(one) for one in EngineKind]
            raise problems.refuse(f"{where} needs a `kind`, since its name is not one", key, f"add `kind:`; {did_you_mean(name, kinds)}")
        kind = EngineKind(name)
    if kind is None or (RUNTIME in values and values.get(RUNTIME) is None):
        raise Refused
    _check_looked_at(kind, values, problems, where)
    owned = read_owned(values.get(RUNTIME) or Runtime.EXTERNAL, kind, values, problems, where)
    if OPTIONS in values and not kind.is_looked_at and (owned is None or kind not in _TAKE_ARGUMENTS):
        what = f"'options' of {where} would be told to nobody: they are arguments of a llama.cpp or a vLLM that gpurec starts"
        problems.warn(what, values.nodes[OPTIONS.key], "start it with them, or write `options` under the model")
    if owned is None and VARIABLES in values:
        check_variables(kind, values.get(VARIABLES) or (), problems, where, values.nodes[VARIABLES.key])
    address = template if isinstance(template, ScalarNode) else values.get(URL)
    if owned is None and address is None:
        if not isinstance(node, MapNode) or node.get(URL.key) is None:
            problems.error(f"{where} lacks {URL.key!r}", node, f"add `{URL.key}:`")
        raise Refused
    return _parts(key, kind, "" if owned is not None or address is None else address, owned, values)


def _check_looked_at(kind: EngineKind, values: Values, problems: Problems, where: str) -> None:
    """Keys that mean something only of what is looked at, and those that mean nothing there."""
    if kind.is_looked_at:
        for field in (MEMORY_LIMIT, OPTIONS, LOAD_TIMEOUT):
            if field in values:
                what = f"{field.key!r} of {where} means nothing: gpurec only looks at an engine of kind {kind}"
                problems.error(what, values.nodes[field.key], "remove it; `vram` is what it may have of each of its cards")
    elif SHARE in values:
        what = f"'vram' of {where} is for what gpurec only looks at (kind openai or service)"
        problems.error(what, values.nodes[SHARE.key], "write `memory_limit:` to bound what is placed there")
    if HEALTH in values and kind is not EngineKind.SERVICE:
        what = f"'health' of {where} is for a service; gpurec knows where an engine of kind {kind} tells it"
        problems.error(what, values.nodes[HEALTH.key], "remove it")


def _parts(key: ScalarNode, kind: EngineKind, address: str | ScalarNode, owned: OwnedEngine | None, values: Values) -> EngineParts:
    timeout, load_timeout = values.get(TIMEOUT), values.get(LOAD_TIMEOUT)
    env = owned.env if owned is not None else values.get(VARIABLES) or EMPTY
    return EngineParts(
        name=key.text,
        kind=kind,
        url=address,
        gpus=values.get(GPUS),
        gpus_node=values.nodes.get(GPUS.key),
        memory_limit=values.get(MEMORY_LIMIT),
        max_concurrent_requests=values.get(REQUESTS),
        options=values.get(OPTIONS) or EMPTY,
        env={name: value for name, value in env.items() if isinstance(value, str)} or EMPTY,
        bearer=values.get(AUTH_FIELD),
        tls=values.get(TLS_FIELD) or Tls(),
        timeout=5.0 if timeout is None else timeout,
        load_timeout=900.0 if load_timeout is None else load_timeout,
        owned=owned,
        health=values.get(HEALTH),
        share=values.get(SHARE),
        key=key,
    )


engines = Form(_read, {"type": "object", "additionalProperties": ENGINE.schema()})
