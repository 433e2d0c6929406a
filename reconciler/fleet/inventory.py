"""What users declare about their machines: nodes, cards, engines, limits. Validated values, no files and no network here."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import field
from enum import StrEnum
from fractions import Fraction

from reconciler.fleet.names import CardId, EngineId, EngineKind
from reconciler.fleet.owned import EngineContainer, OwnedEngine
from reconciler.fleet.secret_refs import EMPTY, Scalar, SecretRef
from reconciler.fleet.units import MIB
from reconciler.value_class import value_class


class Runtime(StrEnum):
    """Who starts the engine's process: somebody else, or gpurec in one of two ways."""

    EXTERNAL = "external"
    CONTAINER = "container"
    SYSTEMD = "systemd"


@value_class
class Limits:
    """How much of a card may be used, in bytes and in agents that have their model there, and which part of it (0..1) the caches of all
    models together. Unset fields fall through to the next wider
    place: card, node, group, desired, default."""

    max_vram_utilization: Fraction | None = None
    vram_safety_margin: Fraction | None = None
    reserve: int | None = None
    ram_reserve: int | None = None
    max_agents_per_gpu: int | None = None
    kv_cache_fraction: Fraction | None = None

    def over(self, wider: Limits) -> Limits:
        """These limits, with what is unset here taken from `wider`."""
        return Limits(
            self.max_vram_utilization if self.max_vram_utilization is not None else wider.max_vram_utilization,
            self.vram_safety_margin if self.vram_safety_margin is not None else wider.vram_safety_margin,
            self.reserve if self.reserve is not None else wider.reserve,
            self.ram_reserve if self.ram_reserve is not None else wider.ram_reserve,
            self.max_agents_per_gpu if self.max_agents_per_gpu is not None else wider.max_agents_per_gpu,
            self.kv_cache_fraction if self.kv_cache_fraction is not None else wider.kv_cache_fraction,
        )


NO_LIMITS = Limits()
UNIFIED_SHARE = Fraction(3, 4)
"""How much of a node's RAM a card that has none of its own may have, where nobody says (Metal's recommendedMaxWorkingSetSize on larger
machines)."""
DEFAULT_LIMITS = Limits(max_vram_utilization=Fraction(9, 10), reserve=512 * MIB, ram_reserve=0)


@value_class
class Tls:
    """How an engine's certificate is checked: an own authority's file, or (never by default) not at all."""

    ca: str | None = None
    verify: bool = True


@value_class
class EngineSpec:
    """A model server on a node, as declared. `gpus` None means all cards of the node; else indices or UUIDs. `owned` says how gpurec starts
    it; None: somebody else does. `health` is the path that tells whether a service is up, `share` the bytes that what is only looked at may
    have of each of its cards."""

    id: EngineId
    kind: EngineKind
    url: str
    gpus: tuple[CardId, ...] | None = None
    memory_limit: int | None = None
    max_concurrent_requests: int | None = None
    options: Mapping[str, Scalar] = field(default_factory=lambda: EMPTY)
    env: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    bearer: SecretRef | None = None
    tls: Tls = Tls()
    timeout: float = 5.0
    load_timeout: float = 900.0
    owned: OwnedEngine | None = None
    health: str | None = None
    share: int | None = None

    @property
    def runtime(self) -> Runtime:
        """Who starts it."""
        if self.owned is None:
            return Runtime.EXTERNAL
        return Runtime.CONTAINER if isinstance(self.owned.start, EngineContainer) else Runtime.SYSTEMD


@value_class
class CardSpec:
    """A declared card. `vram` in bytes, None when not declared; `foreign` is what other programs are said to use. `unified` is its share of
    the node's RAM (0..1) where it has no memory of its own; `mig` the UUID of the card that it is a slice of. `resource` is what a cluster
    counts it as (None: `nvidia.com/gpu`), `shares` how many pods it gives the card to at once."""

    index: CardId
    uuid: str | None = None
    name: str | None = None
    vram: int | None = None
    compute_capability: tuple[int, int] | None = None
    driver: tuple[int, ...] | None = None
    foreign: int = 0
    limits: Limits = NO_LIMITS
    unified: Fraction | None = None
    mig: str | None = None
    resource: str | None = None
    shares: int = 1


@value_class
class ProbeSpec:
    """How a node's cards are asked for, and how it is reached. `user` and `port` are whom and where ssh asks, `key_file` with which key and
    `ssh_options` with which further arguments; None is what ssh itself takes. `connection` is None where ssh may be tried, `local` for
    this machine, else the name of a way that gpurec does not know. `url`, `bearer` and `tls` are those of an exporter, or of a Prometheus;
    `match` are the labels that tell a node's series there, and `max_age` how old a sample may be, in seconds. `timeout` bounds one look, in
    seconds. `become`: files there are written as root, by `sudo -n`."""

    via: str = "auto"
    user: str | None = None
    port: int | None = None
    timeout: float = 10.0
    url: str | None = None
    bearer: SecretRef | None = None
    tls: Tls = Tls()
    connection: str | None = None
    key_file: str | None = None
    ssh_options: tuple[str, ...] = ()
    become: bool = False
    match: tuple[tuple[str, str], ...] = ()
    max_age: float = 180.0


@value_class
class RegistryLogin:
    """Who pulls from a registry: `registry` is its host, with its port where it has one (`docker.io`, `ghcr.io`, `registry.lan:5000`)."""

    registry: str
    user: str
    password: SecretRef


@value_class
class ClusterSpec:
    """A Kubernetes cluster by the context of a kubeconfig (`""`: its current one), and the namespace for what gpurec makes there (None: the
    one that the context names)."""

    context: str = ""
    namespace: str | None = None

    def __str__(self) -> str:
        return f"kubernetes:{self.context}{f'/{self.namespace}' if self.namespace is not None else ''}"


@value_class
class DockerSpec:
    """Where a node's containers run. A Docker Engine by how it is reached: `unix://PATH`, `tcp://HOST:PORT` with the files of a client
    certificate, `ssh://USER@HOST`; with `swarm` they are made as services. With `cluster` they are Deployments, and `url` only says so."""

    url: str
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    swarm: bool = False
    registries: tuple[RegistryLogin, ...] = ()
    cluster: ClusterSpec | None = None

    @property
    def names_cards(self) -> bool:
        """Whether a container is given the very cards that it is meant to have; a cluster is only told how many."""
        return self.cluster is None


@value_class
class NodeSpec:
    """A host, as declared. `gpus` None means "not known", () means "has none". `limits` are node over group, unset left unset."""

    name: str
    address: str
    engines: tuple[EngineSpec, ...] = ()
    gpus: tuple[CardSpec, ...] | None = None
    ram: int | None = None
    disk: int | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    limits: Limits = NO_LIMITS
    cost: float = 0.0
    probe: ProbeSpec = ProbeSpec()
    docker: DockerSpec | None = None


@value_class
class Fleet:
    """Every node that one state manages, by name, in sorted order."""

    name: str
    nodes: Mapping[str, NodeSpec]

    def only(self, nodes: Set[str]) -> Fleet:
        """The same with no other nodes than these."""
        return Fleet(self.name, {name: node for name, node in self.nodes.items() if name in nodes})
