"""`container:` of an agent or a service."""

from __future__ import annotations

import re
from collections.abc import Mapping

from reconciler.fleet import (
    HOST_NETWORK,
    NO_NETWORK,
    ContainerFile,
    ContainerSpec,
    Healthcheck,
    PublishedPort,
    PullPolicy,
    SecretRef,
    parse_published,
)
from reconciler.workspace.containers import (
    COMMAND,
    CPUS,
    ENTRYPOINT,
    IMAGE,
    MEMORY,
    NETWORKS,
    PULL,
    RESTART,
    SHM_SIZE,
    STOP_TIMEOUT,
    VARIABLES,
    VOLUMES,
    parsed,
)
from reconciler.workspace.forms import Form, duration, flag, integer, list_of, map_of, secret, text
from reconciler.workspace.problems import Problems, Refused
from reconciler.workspace.table import Field, Table
from reconciler.workspace.tree import ListNode, Node, ScalarNode, what_is

SECRETS_FOLDER = "/run/secrets"
_SECRET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_PORT_HINT = "write PORT, HOST:CONTAINER or ADDRESS:HOST:CONTAINER"
_port_text = parsed(parse_published, _PORT_HINT)


def _port(node: Node, problems: Problems, name: str) -> PublishedPort:
    """A bare number is a port that has the same number on the node."""
    if isinstance(node, ScalarNode) and isinstance(node.value, int) and not isinstance(node.value, bool) and node.tag is None:
        node = ScalarNode(node.file, node.line, node.column, node.text, node.text)
    return _port_text.read(node, problems, name)


def _test(node: Node, problems: Problems, name: str) -> tuple[str, ...]:
    """A text is a line for the image's shell; a list begins with CMD, CMD-SHELL or NONE, as Docker has it."""
    if not isinstance(node, ListNode):
        return ("CMD-SHELL", text.read(node, problems, name))
    found = list_of(text).read(node, problems, name)
    if not found or found[0] not in ("CMD", "CMD-SHELL", "NONE"):
        raise problems.refuse(f"{name} must begin with CMD, CMD-SHELL or NONE", node, "write [CMD, PROGRAM, ARGUMENT], or one line of text")
    return found


TEST = Field(
    "test",
    Form(_test, {"anyOf": [{"type": "string"}, list_of(text).schema]}),
    says="The command that says whether it is healthy.",
    meant="command cmd",
)
INTERVAL, TIMEOUT = (
    Field("interval", duration, says="How often it is asked."),
    Field("timeout", duration, says="How long one answer may take."),
)
START_PERIOD, START_INTERVAL = (
    Field("start_period", duration, says="For so long after its start failures do not count."),
    Field("start_interval", duration, says="How often it is asked during that time."),
)
RETRIES = Field("retries", integer(1, 1000), says="After so many failures in a row it is unhealthy.")
DISABLE = Field("disable", flag, says="Whether the image's own check is switched off.")
HEALTHCHECK = Table("healthcheck", (TEST, INTERVAL, TIMEOUT, START_PERIOD, START_INTERVAL, RETRIES, DISABLE))


def _healthcheck(node: Node, problems: Problems, name: str) -> Healthcheck:
    values = HEALTHCHECK.read(node, problems, name)
    if values.get(DISABLE):
        return Healthcheck(("NONE",))
    test = values.get(TEST)
    if test is None:
        raise problems.refuse(f"{name} lacks 'test'", node, "add `test:`, the command that says whether it is healthy, or `disable: true`")
    return Healthcheck(
        test,
        values.get(INTERVAL),
        values.get(TIMEOUT),
        values.get(START_PERIOD),
        values.get(START_INTERVAL),
        values.get(RETRIES),
    )


_references = map_of(secret)


def _secrets(node: Node, problems: Problems, name: str) -> Mapping[str, SecretRef]:
    if isinstance(node, ListNode):
        hint = f"write `NAME: env:VARIABLE` or `NAME: file:PATH` lines; each becomes {SECRETS_FOLDER}/NAME"
        raise problems.refuse(f"{name} must be a mapping, this is {what_is(node)}", node, hint)
    found = _references.read(node, problems, name)
    for word in found:
        if _SECRET.fullmatch(word) is None:
            problems.error(f"{name}: {word!r} is no name of a file", node, "write letters, digits, `_`, `.` and `-`")
    return found


PORTS: Field[tuple[PublishedPort, ...]] = Field(
    "ports",
    list_of(Form(_port, {"type": ["integer", "string"]})),
    says="What is published: PORT, HOST:CONTAINER or ADDRESS:HOST:CONTAINER; without an address on loopback.",
    meant="publish expose port",
)
HEALTHCHECK_FIELD = Field(
    "healthcheck",
    Form(_healthcheck, HEALTHCHECK.schema()),
    says="How the daemon sees whether it is healthy; the default is the image's own check.",
    meant="health",
)
SECRETS = Field(
    "secrets",
    Form(_secrets, _references.schema),
    says="Secrets by name, as env:NAME or file:PATH; each becomes the file /run/secrets/NAME.",
    meant="secret",
)
CONTAINER = Table(
    "container",
    (
        IMAGE, COMMAND, ENTRYPOINT, VARIABLES, PORTS, VOLUMES, NETWORKS, RESTART, SHM_SIZE, CPUS, MEMORY, HEALTHCHECK_FIELD, SECRETS,
        STOP_TIMEOUT, PULL,
    ),
)  # fmt: skip


def _container(node: Node, problems: Problems, name: str) -> tuple[ContainerSpec, PullPolicy]:
    """What each container of an agent has in common, and when its image is fetched. Ports without an address are published on loopback."""
    values = CONTAINER.read(node, problems, name)
    image, networks = values.get(IMAGE), values.get(NETWORKS) or ()
    ports = values.get(PORTS) or ()
    for alone in (HOST_NETWORK, NO_NETWORK):
        if alone in networks and len(networks) > 1:
            problems.error(f"{name} has the network {alone!r} and others", values.nodes[NETWORKS.key], f"keep {alone!r} alone")
        elif networks == (alone,) and ports:
            problems.error(f"{name} publishes ports, and has the network {alone!r}", values.nodes[PORTS.key], "remove one of the two")
    published = [(port.address, port.host, port.protocol) for port in ports]
    for address, number, protocol in sorted({one for one in published if published.count(one) > 1}):
        at = values.nodes[PORTS.key]
        problems.error(f"{name} publishes {address}:{number}/{protocol} of the node twice", at, "keep one of the two")
    for variable in values.get(VARIABLES) or {}:
        if variable.startswith("GPUREC_"):
            problems.error(f"{name}: {variable!r} is set by gpurec itself", values.nodes[VARIABLES.key], "take another name")
    if image is None:
        raise Refused
    secrets = values.get(SECRETS) or {}
    spec = ContainerSpec(
        "",
        image,
        "",
        "",
        command=values.get(COMMAND),
        entrypoint=values.get(ENTRYPOINT),
        env=values.get(VARIABLES) or {},
        ports=ports,
        mounts=values.get(VOLUMES) or (),
        networks=networks,
        restart=values.get(RESTART) or "unless-stopped",
        shm_size=values.get(SHM_SIZE),
        cpus=values.get(CPUS),
        memory=values.get(MEMORY),
        healthcheck=values.get(HEALTHCHECK_FIELD),
        files=tuple(ContainerFile(f"{SECRETS_FOLDER}/{one}", ref, 0o400) for one, ref in sorted(secrets.items())),
        stop_timeout=values.get(STOP_TIMEOUT),
    )
    return spec, values.get(PULL) or PullPolicy.MISSING


container = Form(_container, CONTAINER.schema())
