"""A container as it is wanted, and as one was seen. The words are those of the Docker Engine API, without its shapes.

A container is ours by its labels: whose fleet it is, what its address is, and a hash of what was asked for. The hash alone tells nothing
about what somebody changed by hand under it, so `fleet.container_fields` compares the declared fields as well.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import field, fields, is_dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from reconciler.fleet.secret_refs import EMPTY, SecretRef
from reconciler.value_class import value_class

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ADOPTED = "adopted"
"""The field of the state that says by what a container is a resource's which its labels do not say so of: its id, where somebody else made
it, or its address from before its node was renamed. It holds until the container is replaced."""
FLEET_LABEL, ADDRESS_LABEL, SPEC_LABEL = "gpurec.fleet", "gpurec.address", "gpurec.spec"
HOST_NETWORK, NO_NETWORK = "host", "none"
_NOTHING: Mapping[str, SecretRef] = MappingProxyType({})
Leads: TypeAlias = Mapping[str, tuple[str, ...] | None]
NO_LEADS: Leads = MappingProxyType({})
_NOT_ASKED = frozenset({"adopts", "all_cards"})
"""What says whose a container is, and nothing of how it is to be."""
_UNORDERED = frozenset({"ports", "mounts", "networks", "cards", "devices", "groups", "files"})
_PUBLISHED = re.compile(
    r"(?:(?:(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<four>[0-9.]+)):)?(?P<host>[0-9]{1,5}):)?(?P<container>[0-9]{1,5})(?:/(?P<protocol>tcp|udp))?"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class PullPolicy(StrEnum):
    """When an image is fetched before a container is made of it. A present image is not looked up unless `always`."""

    MISSING = "missing"
    ALWAYS = "always"
    NEVER = "never"


class MountKind(StrEnum):
    VOLUME = "volume"
    BIND = "bind"
    TMPFS = "tmpfs"


@value_class
class Mount:
    """What of the node is seen in the container."""

    source: str  #: A volume's name, or an absolute path of the node; empty: a tmpfs.
    target: str  #: Absolute path in the container.
    read_only: bool = False  #: The container may not write it.
    kind: MountKind = MountKind.VOLUME  #: What is mounted.

    def __str__(self) -> str:
        return f"{self.source or self.kind}:{self.target}{':ro' if self.read_only else ''}"


@value_class
class PublishedPort:
    """A port of the container that the node's `address` answers at."""

    container: int  #: Port in the container.
    host: int  #: Port of the node.
    address: str = "127.0.0.1"  #: Address of the node that answers.
    protocol: str = "tcp"  #: `tcp` or `udp`.

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.host}->{self.container}/{self.protocol}"


@value_class
class Healthcheck:
    """How the daemon finds out whether it is well. An older daemon than Docker 25 (API 1.44) is not told `start_interval`."""

    test: tuple[str, ...]  #: As Docker has it: `["CMD", …]`, `["CMD-SHELL", text]` or `["NONE"]`.
    interval: float | None = None  #: Seconds between two tests; null: the daemon's default.
    timeout: float | None = None  #: Seconds that one test may take; null: the daemon's default.
    start_period: float | None = None  #: Seconds after the start in which a failure does not count; null: the daemon's default.
    start_interval: float | None = None  #: Seconds between two tests in the start period (Docker 25 or newer); null: the daemon's default.
    retries: int | None = None  #: Failures in a row until it is unhealthy; null: the daemon's default.


@value_class
class ContainerFile:
    """A file that is put into the container before it starts. A secret is read only then."""

    path: str  #: Absolute path in the container.
    content: str | SecretRef  #: Its text, or a secret by reference.
    mode: int = 0o644  #: Its permission bits, as a number.


@value_class
class ContainerSpec:
    """A container as it is wanted. The daemon gets `cards` as a CDI device where it lists one, else as a device request."""

    name: str  #: Name of the container.
    image: str  #: Image that it is made of.
    fleet: str  #: Fleet that it belongs to.
    address: str  #: Address of its resource.
    command: tuple[str, ...] | None = None  #: Its command; null: the image's own, but none beside an own entrypoint.
    args: tuple[str, ...] = ()  #: Appended to the command, the image's own one too.
    entrypoint: tuple[str, ...] | None = None  #: Its entrypoint; null: the image's own.
    env: Mapping[str, str | SecretRef] = field(default_factory=lambda: EMPTY)  #: Its environment, by value or by reference.
    ports: tuple[PublishedPort, ...] = ()  #: Its ports that the node answers at.
    mounts: tuple[Mount, ...] = ()  #: What is mounted in it.
    networks: tuple[str, ...] = ()  #: Its networks; `host` and `none` are those modes; empty: the daemon's default.
    restart: str = "unless-stopped"  #: `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:N`.
    shm_size: int | None = None  #: Bytes of /dev/shm; null: the daemon's default.
    cpus: float | None = None  #: How many processors it may use; null: all.
    memory: int | None = None  #: Bytes of memory that it may use; null: all.
    cards: tuple[str, ...] = ()  #: UUIDs of its NVIDIA cards or MIG slices.
    devices: tuple[str, ...] = ()  #: Device files of the node (AMD).
    groups: tuple[str, ...] = ()  #: Groups of the node that may open the devices.
    healthcheck: Healthcheck | None = None  #: Its health check; null: the image's own.
    files: tuple[ContainerFile, ...] = ()  #: Files that are put into it before it starts.
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)  #: Its labels, without those of its owner.
    stop_timeout: float | None = None  #: Seconds until it is killed when it is ended; null: the daemon's default.
    privileged: bool = False  #: It may do all that the node may.
    adopts: str = ""  #: Name or id of a container that somebody else made and that counts as this one; empty: none.
    all_cards: bool = False  #: An adopted one may have been given all cards without naming them.

    @property
    def hash(self) -> str:
        """sha256 of everything that was asked for; secrets by reference. What is left at its default does not count, so that a version
        that knows one field more makes no other hash of the same files."""
        return hashlib.sha256(json.dumps(_document(self), sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def all_labels(self) -> Mapping[str, str]:
        """The labels it is made with: those of its owner and its own."""
        return {**self.labels, FLEET_LABEL: self.fleet, ADDRESS_LABEL: self.address, SPEC_LABEL: self.hash}

    def whole_command(self, of_image: tuple[str, ...]) -> tuple[str, ...]:
        """The command with its arguments, where the image's own is `of_image`."""
        own = self.command if self.command is not None else of_image if self.entrypoint is None else ()
        return (*own, *self.args)

    @property
    def on_host_network(self) -> bool:
        return self.networks == (HOST_NETWORK,)

    @property
    def published(self) -> tuple[PublishedPort, ...]:
        """The ports that the daemon publishes: none where the container has the node's network, or no network at all."""
        return () if self.networks in ((HOST_NETWORK,), (NO_NETWORK,)) else self.ports


@lru_cache
def _defaults(of: type[DataclassInstance]) -> tuple[tuple[str, object], ...]:
    """The fields of a dataclass by name, each with its default."""
    return tuple((one.name, one.default) for one in fields(of))


def _document(value: object) -> object:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, SecretRef):
        return {"secret": str(value)}
    if is_dataclass(value) and not isinstance(value, type):
        found: dict[str, object] = {}
        for name, default in _defaults(type(value)):
            held = getattr(value, name)
            if held is None or held == () or held == {} or held == default or name in _NOT_ASKED:
                continue
            document = _document(held)
            if name in _UNORDERED and isinstance(document, list) and len(document) > 1:
                document = sorted(document, key=lambda entry: json.dumps(entry, sort_keys=True))
            found[name] = document
        return found
    if isinstance(value, Mapping):
        return {key: _document(held) for key, held in value.items()}
    if isinstance(value, tuple):
        return [_document(held) for held in value]
    return value


class ContainerState(StrEnum):
    """The states of Docker Engine, and `pending`: a swarm, or a cluster, is to run it and does not yet."""

    CREATED = "created"
    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


class ContainerHealth(StrEnum):
    """What its own health check says; `none`: it has none."""

    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Owner(StrEnum):
    """Whose a container is, by its labels."""

    OURS = "ours"
    OTHER_FLEET = "other_fleet"
    FOREIGN = "foreign"


@value_class
class CardCount:
    """Cards that a container was given by number and not by name: `count` (None: all that there are) of a cluster's `resource`, or of
    whatever a daemon counts as cards (empty). Which they are was decided by what runs it."""

    count: int | None
    resource: str = ""

    def __str__(self) -> str:
        count = "all" if self.count is None else f"any {self.count}"
        return f"{count} of {self.resource}" if self.resource else count


ALL_CARDS = CardCount(None)


@value_class
class ContainerFacts:
    """A container as it was seen. What is None was not looked at, or not told; of a container that is not ours that is everything below
    `whose`.

    `whose` says who has it, as part of a sentence (`fleet 'lab'`, `compose project 'web'`). `name` is without its slash. `image` is what
    it was made of, as it was written then; `image_id` what that was, `image_now` what it names on this daemon by now (None: it is gone),
    `digests` by what registries know it. `command` and `entrypoint` are those that run, `image_command` and `image_entrypoint` the
    image's own. `env` has only variables that are declared by value, `secrets` of those declared by reference whether they are the same
    (None: the secret could not be read), `variables` the names of all that its image does not set so. `cards` are UUIDs, or
    how many where a count was asked for. `networks` are the names it is attached to, and `network_mode` how it was made. `privileges` are
    the words for what goes beyond an ordinary container, `settings` those for what else the files have no keys for (a user that is not the
    image's, hosts, a read-only root). `adopted` is what its labels do not say and the files or the state do: the id,
    or the address of its label, by which it has `address`; empty for all others.
    """

    id: str
    name: str
    image: str
    state: ContainerState | None
    owner: Owner
    whose: str
    ports: tuple[PublishedPort, ...] = ()
    address: str | None = None
    spec: str | None = None
    image_id: str | None = None
    image_now: str | None = None
    digests: tuple[str, ...] = ()
    health: ContainerHealth | None = None
    exit_code: int | None = None
    oom_killed: bool | None = None
    error: str | None = None
    restarts: int | None = None
    created_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    pid: int | None = None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    image_command: tuple[str, ...] | None = None
    image_entrypoint: tuple[str, ...] | None = None
    env: Mapping[str, str] | None = None
    secrets: Mapping[str, bool | None] = field(default_factory=dict)
    mounts: tuple[Mount, ...] | None = None
    network_mode: str | None = None
    networks: tuple[str, ...] | None = None
    restart: str | None = None
    shm_size: int | None = None
    cpus: float | None = None
    memory: int | None = None
    cards: tuple[str | CardCount, ...] | None = None
    devices: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    healthcheck: Healthcheck | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    privileges: tuple[str, ...] | None = None
    settings: tuple[str, ...] | None = None
    variables: tuple[str, ...] = ()
    adopted: str = ""

    @property
    def condition(self) -> str | None:
        """`running`, or how it is not: `exited (1)`, `unhealthy`, `restarting`, `created`, …"""
        if self.state is ContainerState.RUNNING:
            return "unhealthy" if self.health is ContainerHealth.UNHEALTHY else "running"
        if self.state is ContainerState.EXITED and self.exit_code is not None:
            return f"exited ({'out of memory' if self.oom_killed else self.exit_code})"
        return str(self.state) if self.state is not None else None


@value_class
class WatchedEnv:
    """Which variables of a container are looked at: these by their value, those only for whether they are the secret's."""

    values: frozenset[str] = frozenset()
    secrets: Mapping[str, SecretRef] = field(default_factory=lambda: _NOTHING)


def watched_env(*specs: ContainerSpec) -> WatchedEnv:
    """The variables that any of these declares; one that is a secret in any of them is only compared."""
    secrets = {name: value for spec in specs for name, value in spec.env.items() if isinstance(value, SecretRef)}
    return WatchedEnv(frozenset(name for spec in specs for name in spec.env if name not in secrets), secrets)


@value_class
class ContainersLookedFor:
    """What a look at a daemon is to tell: all containers of `fleet`, with the variables in `env` by the address of their label, and whoever
    has one of `names` or one of `ports` of the node, or with `on_host` the node's own network. `adopted` are containers of others, by name
    or id, and ours by another address, that count as those of the addresses given. `sources` are what mounts name: folders of the node, and
    volumes."""

    fleet: str
    env: Mapping[str, WatchedEnv] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    ports: frozenset[int] = frozenset()
    adopted: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    on_host: bool = False
    sources: frozenset[str] = frozenset()


def looked_for(
    fleet: str, specs: Mapping[str, ContainerSpec] | tuple[ContainerSpec, ...], adopted: Mapping[str, str] | None = None
) -> ContainersLookedFor:
    """What has to be known of a daemon on which these are to be. `adopted`, where it is given, holds instead of what they say of it."""
    wanted = tuple(specs.values()) if isinstance(specs, Mapping) else specs
    return ContainersLookedFor(
        fleet,
        {spec.address: watched_env(spec) for spec in wanted},
        frozenset(spec.name for spec in wanted),
        frozenset(port.host for spec in wanted for port in spec.ports),
        {spec.adopts: spec.address for spec in wanted if spec.adopts} if adopted is None else adopted,
        sources=mounted(wanted),
    )


def mounted(specs: Iterable[ContainerSpec]) -> frozenset[str]:
    """What the mounts of containers name of their node."""
    return frozenset(mount.source for spec in specs for mount in spec.mounts if mount.kind is not MountKind.TMPFS)


@value_class
class DaemonFacts:
    """A daemon that answered. `cdi_devices` are the full names of devices that it lists (None: it is too old to), `swarm_node` its id in
    a swarm."""

    version: str
    api: str
    runtimes: tuple[str, ...] = ()
    cdi_devices: tuple[str, ...] | None = None
    swarm_node: str | None = None
    rootless: bool = False


@value_class
class NodeContainers:
    """What a look at a daemon gave, by name. `containers` None: it is not known what is there, for `reason`; that is never "nothing".
    `leads` are the paths of the node that a source of a mount is besides what it says: the end of its links, what a volume is made over;
    a source that is not in it is what it says. None: who was asked does not tell it."""

    containers: tuple[ContainerFacts, ...] | None
    daemon: DaemonFacts | None = None
    reason: str | None = None
    code: str | None = None
    leads: Leads = field(default_factory=lambda: NO_LEADS)

    def of(self, address: str) -> tuple[ContainerFacts, ...]:
        """Ours with this address: one, or more where a replacement was cut short."""
        return tuple(one for one in self.containers or () if one.owner is Owner.OURS and one.address == address)

    def in_the_way(self, spec: ContainerSpec) -> tuple[ContainerFacts, ...]:
        """Whoever holds the name or a port of `spec` and is not it."""
        wanted = {(port.host, port.protocol) for port in spec.published}
        found = []
        for one in self.containers or ():
            if one.owner is Owner.OURS and one.address == spec.address:
                continue
            if one.name == spec.name or any((port.host, port.protocol) in wanted for port in one.ports):
                found.append(one)
        return tuple(found)


def registry_of(image: str) -> str:
    """The host of the registry that an image is pulled from."""
    return full_image(image).partition("/")[0]


def full_image(reference: str) -> str:
    """What a reference means to a daemon: with its registry, its folder and its tag, or its digest (which makes a tag meaningless)."""
    name, _, digest = reference.partition("@")
    path, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        path, tag = name, ""
    first, slash, rest = path.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        path = f"docker.io/{path}" if slash else f"docker.io/library/{path}"
    elif first == "index.docker.io":
        path = f"docker.io/{rest}"
    return f"{path}@{digest}" if digest else f"{path}:{tag or 'latest'}"


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def parse_mount(text: str) -> Mount:
    """`NAME:/PATH`, `/HOST/PATH:/PATH`, each with `:ro` or `:rw`; `tmpfs:/PATH`. Raises ValueError with what is wrong."""
    if not text.isprintable():
        raise ValueError(f"{text!r} holds a character that nobody sees")
    parts = text.split(":")
    if len(parts) not in (2, 3) or (len(parts) == 3 and parts[2] not in ("ro", "rw")):
        raise ValueError(f"{text!r} is not NAME:/PATH or /HOST/PATH:/PATH, with :ro or :rw after it")
    source, target = (re.sub("^/+", "/", part) for part in parts[:2])  # two slashes are another root to pathlib, and none to the kernel
    if not target.startswith("/") or ".." in PurePosixPath(target).parts or PurePosixPath(target) == PurePosixPath("/"):
        raise ValueError(f"{target!r} is no absolute path in a container")
    read_only = parts[-1] == "ro" and len(parts) == 3
    if source == MountKind.TMPFS:
        return Mount("", target, read_only, MountKind.TMPFS)
    if source.startswith("/"):
        if ".." in PurePosixPath(source).parts:
            raise ValueError(f"{source!r} holds '..'")
        return Mount(str(PurePosixPath(source)), target, read_only, MountKind.BIND)
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", source):
        raise ValueError(f"{source!r} is neither an absolute path nor the name of a volume")
    return Mount(source, target, read_only)


def parse_published(text: str, address: str = "127.0.0.1") -> PublishedPort:
    """`PORT`, `HOST:CONTAINER`, `ADDRESS:HOST:CONTAINER`, each with `/udp`; published on `address` where none is written. Raises ValueError
    with what is wrong."""
    written = _PUBLISHED.fullmatch(text)
    if written is None:
        raise ValueError(f"{text!r} is not PORT, HOST:CONTAINER or ADDRESS:HOST:CONTAINER")
    container, host = int(written["container"]), int(written["host"] or written["container"])
    if not 0 < container < 65536 or not 0 < host < 65536:
        raise ValueError(f"{text!r} has a port that is not from 1 to 65535")
    return PublishedPort(container, host, written["six"] or written["four"] or address, written["protocol"] or "tcp")
