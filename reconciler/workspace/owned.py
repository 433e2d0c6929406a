"""How gpurec starts an engine: `runtime: container` or `systemd`, with the keys that only then mean something."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from reconciler.fleet import (
    HOST_NETWORK,
    NO_NETWORK,
    EngineContainer,
    EngineKind,
    EngineUnit,
    OwnedEngine,
    PullPolicy,
    Runtime,
    UnitScope,
)
from reconciler.workspace.containers import (
    ADOPT,
    COMMAND,
    CPUS,
    ENTRYPOINT,
    GROUPS,
    IMAGE,
    MEMORY,
    NETWORKS,
    PRIVILEGED,
    PUBLISH,
    PULL,
    RESTART,
    SHM_SIZE,
    STOP_TIMEOUT,
    VARIABLES,
    VOLUMES,
)
from reconciler.workspace.forms import Form, choice, integer, list_of, text
from reconciler.workspace.problems import Problems, Refused, nearest
from reconciler.workspace.table import Field, Table, Values
from reconciler.workspace.tree import Node, ScalarNode
from reconciler.workspace.variables_of_engines import KNOWN, unknown_variable

USUAL_PORTS = {EngineKind.OLLAMA: 11434, EngineKind.LLAMACPP: 8080, EngineKind.VLLM: 8000, EngineKind.LLAMASWAP: 8080}
"""Where each kind listens if nobody says otherwise, by its own documentation."""
MOST_INSTANCES = 16
_UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@-]{0,199}")


def _instances(node: Node, problems: Problems, name: str) -> int | Literal["auto"]:
    if isinstance(node, ScalarNode) and node.text == "auto" and node.tag is None:
        return "auto"
    if isinstance(node, ScalarNode) and isinstance(node.value, str):
        raise problems.refuse(f"{name} must be auto or a number, this is {node.text!r}", node, "write auto, or how many on each card")
    return integer(1, MOST_INSTANCES).read(node, problems, name)


def _unit(node: Node, problems: Problems, name: str) -> str:
    found = text.read(node, problems, name).removesuffix(".service")
    if _UNIT.fullmatch(found) is None:
        raise problems.refuse(f"{name} is {found!r}, which is no name of a unit", node, "write it as `gpurec-ollama`")
    return found


def _exec(node: Node, problems: Problems, name: str) -> tuple[str, ...]:
    found = list_of(text).read(node, problems, name)
    if not found or not found[0].startswith("/"):
        raise problems.refuse(f"{name} must begin with the whole path of a program", node, "write [/usr/bin/llama-server]")
    return found


CONTAINER = Table(
    "container",
    (
        IMAGE,
        COMMAND,
        ENTRYPOINT,
        VARIABLES,
        VOLUMES,
        NETWORKS,
        RESTART,
        SHM_SIZE,
        PULL,
        CPUS,
        MEMORY,
        STOP_TIMEOUT,
        PRIVILEGED,
        PUBLISH,
        ADOPT,
        GROUPS,
    ),
)
UNIT = Field("unit", Form(_unit, {"type": "string"}), says="Name of the unit, without `.service`.", required=True)
SCOPE = Field("scope", choice(UnitScope), says="Whether it is a unit of the system (default) or of the user.")
EXEC = Field(
    "exec",
    Form(_exec, {"type": "array", "items": {"type": "string"}, "minItems": 1}),
    says="The program with its first arguments; without it the unit is somebody else's, and is given its variables alone.",
    meant="exec_start command",
)
SYSTEMD = Table("systemd", (UNIT, SCOPE, EXEC))


def _container(node: Node, problems: Problems, name: str) -> Values:
    return CONTAINER.read(node, problems, name)


def _systemd(node: Node, problems: Problems, name: str) -> EngineUnit:
    values = SYSTEMD.read(node, problems, name)
    unit = values.get(UNIT)
    if unit is None:
        raise Refused
    return EngineUnit(unit, values.get(SCOPE) or UnitScope.SYSTEM, values.get(EXEC))


CONTAINER_FIELD = Field(
    "container", Form(_container, CONTAINER.schema()), says="The container that gpurec starts it as (`runtime: container`)."
)
SYSTEMD_FIELD = Field("systemd", Form(_systemd, SYSTEMD.schema()), says="The unit that gpurec starts it as (`runtime: systemd`).")
PORT = Field("port", integer(1, 65535), says="Where it listens; of several instances the first one's, the others take the next ones.")
INSTANCES = Field(
    "instances",
    Form(_instances, {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}]}),
    says="How many engines on each card: `auto` by its size, or a number. Unset: one engine over all its cards.",
    meant="count replicas",
)
ARGS = Field("args", list_of(text), says="Further arguments of its command.", meant="arguments flags")
OWNED_FIELDS = (PORT, INSTANCES, ARGS, CONTAINER_FIELD, SYSTEMD_FIELD)
_NEEDS: dict[Runtime, Field[object]] = {Runtime.CONTAINER: CONTAINER_FIELD, Runtime.SYSTEMD: SYSTEMD_FIELD}


def read_owned(runtime: Runtime, kind: EngineKind, values: Values, problems: Problems, where: str) -> OwnedEngine | None:
    """How the engine is started; None for one that somebody else starts. Reports the keys that do not go with its runtime, and refuses one
    that lacks what its runtime needs."""
    for field in OWNED_FIELDS:
        wanted = next((one for one, needed in _NEEDS.items() if needed is field), None)
        if field in values and (runtime is Runtime.EXTERNAL or wanted not in (None, runtime)):
            runtimes = str(wanted) if wanted is not None else "container or systemd"
            problems.error(
                f"{field.key!r} of {where} means nothing with `runtime: {runtime}`",
                values.nodes[field.key],
                f"write `runtime: {runtimes}`, or take it out",
            )
    if runtime is Runtime.EXTERNAL:
        return None
    if kind.is_looked_at:
        what = f"{where} is of kind {kind}, which gpurec only looks at: it cannot have `runtime: {runtime}`"
        hint = "take `runtime` out, or run it under `services:` of the desired state"
        raise problems.refuse(what, values.nodes.get("runtime") or values.node, hint)
    if (url := values.nodes.get("url")) is not None:
        problems.error(
            f"{where} is started by gpurec, so its URL follows from the host's `address` and its `port`", url, "write `port:` instead"
        )
    needed = _NEEDS[runtime]
    if needed.key in values.refused:
        raise Refused
    if needed not in values:
        example = 'container: {image: "ollama/ollama:0.34.0"}' if runtime is Runtime.CONTAINER else "systemd: {unit: NAME, exec: [/PATH]}"
        raise problems.refuse(f"{where} has `runtime: {runtime}` and no {needed.key!r}", values.node, f"add `{example}`")
    env = dict(values.get(VARIABLES) or {})
    start: EngineContainer | EngineUnit | None = values.get(SYSTEMD_FIELD)
    own = values.get(CONTAINER_FIELD)
    if runtime is Runtime.CONTAINER and own is not None:
        start = _as_container(own, problems, where)
        for name, value in (own.get(VARIABLES) or {}).items():
            if env.setdefault(name, value) != value:
                problems.error(f"{where} has {name!r} twice with two values", own.nodes[VARIABLES.key], "keep one of the two")
    check_variables(kind, env, problems, where, values.nodes.get(VARIABLES.key) or values.node)
    if start is None:
        raise Refused
    if isinstance(start, EngineContainer) and start.adopt is not None and INSTANCES in values and own is not None:
        what = f"{where} has several instances and adopts one container"
        problems.error(what, own.nodes[ADOPT.key], "declare each instance as an engine of its own, with its `gpus`")
    return OwnedEngine(start, values.get(PORT) or USUAL_PORTS[kind], values.get(INSTANCES), values.get(ARGS) or (), env)


def _as_container(values: Values, problems: Problems, where: str) -> EngineContainer | None:
    image, networks = values.get(IMAGE), values.get(NETWORKS) or ()
    if NO_NETWORK in networks:
        problems.error(f"{where} has no network, so nobody could ask it", values.nodes[NETWORKS.key], "take `none` out")
    if HOST_NETWORK in networks and len(networks) > 1:
        problems.error(f"{where} has the network of its host and others", values.nodes[NETWORKS.key], "keep `host` alone")
    if image is None:
        return None
    return EngineContainer(
        image,
        values.get(VOLUMES) or (),
        networks,
        values.get(RESTART) or "unless-stopped",
        values.get(SHM_SIZE),
        values.get(PULL) or PullPolicy.MISSING,
        values.get(COMMAND),
        values.get(ENTRYPOINT),
        values.get(CPUS),
        values.get(MEMORY),
        values.get(STOP_TIMEOUT),
        values.get(PRIVILEGED) or False,
        values.get(PUBLISH),
        values.get(ADOPT),
        values.get(GROUPS) or (),
    )


def check_variables(kind: EngineKind, env: Iterable[str], problems: Problems, where: str, at: Node) -> None:
    """Warns of variables that an engine of this kind has never had."""
    for name in sorted(env):
        if unknown_variable(kind, name):
            near = nearest(name, KNOWN[kind][1])
            what = f"{where} is given {name!r}, which {kind} does not know"
            problems.warn(what, at, f"did you mean {near!r}?" if near is not None else None)
