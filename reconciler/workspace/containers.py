"""What a container is made with, as the files write it: the pieces that engines and agents share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import TypeVar

from reconciler.fleet import Mount, PullPolicy, Scalar, SecretRef, parse_mount
from reconciler.workspace.forms import Form, any_scalar, choice, duration, flag, list_of, map_of, number, secret, size, text
from reconciler.workspace.problems import Problems
from reconciler.workspace.table import Field
from reconciler.workspace.tree import Node, ScalarNode

T = TypeVar("T")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/.+")
_RESTART = re.compile(r"no|always|unless-stopped|on-failure(:[1-9][0-9]{0,3})?")
_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._:/-]{0,400}(@sha256:[0-9a-f]{64})?")
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_GROUP = re.compile(r"[a-z_][a-z0-9_-]{0,31}|[0-9]{1,9}")
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,127}")


def _matching(pattern: re.Pattern[str], wanted: str, hint: str) -> Form[str]:
    """A text that matches as a whole."""

    def read(node: Node, problems: Problems, name: str) -> str:
        found = text.read(node, problems, name)
        if pattern.fullmatch(found) is None:
            raise problems.refuse(f"{name} is {found!r}, which is no {wanted}", node, hint)
        return found

    return Form(read, {"type": "string", "pattern": f"^({pattern.pattern})$"})


def _group(node: Node, problems: Problems, name: str) -> str:
    found = str(any_scalar.read(node, problems, name))
    if _GROUP.fullmatch(found) is None:
        raise problems.refuse(f"{name} is {found!r}, which is no group", node, "write a name that the image has, or a number of the node")
    return found


def parsed(parse: Callable[[str], T], hint: str) -> Form[T]:
    """A text that `parse` reads; what its ValueError says is told."""

    def read(node: Node, problems: Problems, name: str) -> T:
        found = text.read(node, problems, name)
        try:
            return parse(found)
        except ValueError as error:
            raise problems.refuse(f"{name}: {error}", node, hint) from None

    return Form(read, {"type": "string"})


def _variable(node: Node, problems: Problems, name: str) -> str | SecretRef:
    """A value, or a reference to one: `env:NAME` and `file:/PATH` are always that."""
    if isinstance(node, ScalarNode) and node.tag is None and isinstance(node.value, str) and _REFERENCE.fullmatch(node.value):
        return secret.read(node, problems, name)
    value: Scalar = any_scalar.read(node, problems, name)
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


_variables = map_of(Form(_variable, any_scalar.schema))


def _env(node: Node, problems: Problems, name: str) -> Mapping[str, str | SecretRef]:
    found = _variables.read(node, problems, name)
    for word in found:
        if _VARIABLE.fullmatch(word) is None:
            problems.error(f"{name}: {word!r} is no name of a variable", node, "write it as NAME: value")
    return found


variables: Form[Mapping[str, str | SecretRef]] = Form(_env, _variables.schema)

IMAGE = Field(
    "image",
    _matching(_IMAGE, "image", "write NAME:TAG, HOST/NAME:TAG or NAME@sha256:…"),
    says="The image, as NAME:TAG or NAME@sha256:….",
    required=True,
)
CONTAINER_NAME = Field("name", _matching(_CONTAINER, "name of a container", "write two or more letters, digits, `_`, `.` or `-`"))
COMMAND = Field("command", list_of(text), says="The command; the default is the image's own.", meant="cmd")
ENTRYPOINT = Field("entrypoint", list_of(text), says="The entry point; the default is the image's own.")
VARIABLES = Field(
    "env", variables, says="Variables of its process; env:NAME and file:PATH refer to secrets.", meant="environment envs variables vars"
)
VOLUMES: Field[tuple[Mount, ...]] = Field(
    "volumes",
    list_of(parsed(parse_mount, "write NAME:/PATH or /HOST/PATH:/PATH, with `:ro` after it to only read")),
    says="What is mounted: NAME:/PATH or /HOST/PATH:/PATH, with `:ro` to only read.",
    meant="mounts binds",
)
NETWORKS = Field(
    "networks",
    list_of(_matching(_NETWORK, "name of a network", "write `host`, `none` or a network's name")),
    says="Networks that it is in: `host`, `none`, or names of networks.",
    meant="network",
)
RESTART = Field(
    "restart",
    _matching(_RESTART, "restart policy", "write no, always, unless-stopped, on-failure or on-failure:N"),
    says="When the daemon starts it again: no, always, unless-stopped, on-failure or on-failure:N.",
)
SHM_SIZE = Field("shm_size", size, says="Size of /dev/shm.", mib_keys=("shm_size_mb",), meant="shm")
PULL = Field(
    "pull",
    choice(PullPolicy),
    says="When the image is fetched: where it is missing (default), always or never.",
    meant="pull_policy image_pull_policy",
)
CPUS = Field("cpus", number, says="The most CPUs that it may use.", meant="cpu")
MEMORY = Field("memory", size, says="The most RAM that it may use.", mib_keys=("memory_mb",), meant="mem mem_limit")
STOP_TIMEOUT = Field("stop_timeout", duration, says="How long it may take to end before it is killed.", meant="stop_grace_period")
PRIVILEGED = Field("privileged", flag, says="Whether it is root on its host; refused unless `policy.containers.allow` says so.")
PUBLISH = Field(
    "publish",
    parsed(lambda text: str(ip_address(text)), "write 0.0.0.0, or one address of the host"),
    says="Address at which its port is published; the default is the host's own address.",
)
GROUPS = Field(
    "groups",
    list_of(Form(_group, {"type": ["integer", "string"]})),
    says="Further groups of its process, by name or number.",
    meant="group_add",
)
ADOPT = Field(
    "adopt",
    CONTAINER_NAME.form,
    says="Name of a container (in a cluster: of a Deployment) that runs already and becomes this engine as it is.",
)
