"""Containers that gpurec owns, as templates see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.fleet import ContainerSpec, SecretRef, parse_resource_address
from reconciler.rendering.shapes import says
from reconciler.value_class import value_class


@value_class
class MountValue:
    """What a container has of its node's disk."""

    kind: str = says("`volume`, `bind` or `tmpfs`")
    source: str = says("name of a volume, or a path of the node; empty for a tmpfs")
    target: str = says("path in the container")
    read_only: bool = says("")


@value_class
class PortValue:
    """A port that the node answers at."""

    address: str = says("of the node")
    host: int = says("port of the node")
    container: int = says("port of the container")
    protocol: str = says("`tcp` or `udp`")


@value_class
class ContainerValue:
    """A container of an engine or an agent, as it will be."""

    node: str = says("its node's name")
    kind: str = says("`engine` or `agent`")
    of: str = says("the name of the engine or agent")
    name: str = says("as its daemon calls it")
    image: str = says("")
    command: tuple[str, ...] | None = says("none: the image's own")
    args: tuple[str, ...] = says("come after the command, the image's own too")
    entrypoint: tuple[str, ...] | None = says("none: the image's own")
    env: Mapping[str, str] = says("variables that are given by value")
    secret_env: Mapping[str, str] = says("variables that are secrets, with where they are: `env:NAME` or `file:PATH`")
    ports: tuple[PortValue, ...] = says("")
    mounts: tuple[MountValue, ...] = says("")
    networks: tuple[str, ...] = says("`host` and `none` are those modes; empty is the daemon's default")
    restart: str = says("as Docker has it")
    cards: tuple[str, ...] = says("UUIDs of its NVIDIA cards")
    devices: tuple[str, ...] = says("device files of its node")
    groups: tuple[str, ...] = says("groups of its node")
    shm_size: int | None = says("bytes")
    memory: int | None = says("bytes")
    cpus: float | None = says("")
    stop_timeout: float | None = says("seconds")


def containers_of(found: Iterable[tuple[str, ContainerSpec]]) -> tuple[ContainerValue, ...]:
    """The containers of each node, sorted by node and name."""
    return tuple(_container(node, one) for node, one in sorted(found, key=lambda pair: (pair[0], pair[1].name)))


def _container(node: str, one: ContainerSpec) -> ContainerValue:
    kind, of, _ = parse_resource_address(one.address)
    env = sorted(one.env.items())
    return ContainerValue(
        node=node,
        kind=kind,
        of=of,
        name=one.name,
        image=one.image,
        command=one.command,
        args=one.args,
        entrypoint=one.entrypoint,
        env={name: value for name, value in env if not isinstance(value, SecretRef)},
        secret_env={name: str(value) for name, value in env if isinstance(value, SecretRef)},
        ports=tuple(PortValue(port.address, port.host, port.container, port.protocol) for port in one.published),
        mounts=tuple(MountValue(mount.kind.value, mount.source, mount.target, mount.read_only) for mount in one.mounts),
        networks=one.networks,
        restart=one.restart,
        cards=one.cards,
        devices=one.devices,
        groups=one.groups,
        shm_size=one.shm_size,
        memory=one.memory,
        cpus=one.cpus,
        stop_timeout=one.stop_timeout,
    )
