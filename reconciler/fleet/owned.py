"""How gpurec starts an engine that it owns: a container or a systemd unit, as declared. Nothing here says which cards or which model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from reconciler.fleet.containers import Mount, PullPolicy
from reconciler.fleet.secret_refs import SecretRef
from reconciler.value_class import value_class

_EMPTY: Mapping[str, str | SecretRef] = MappingProxyType({})


@value_class
class EngineContainer:
    """The container of an engine. `command` None: the image's own; `networks` () is the daemon's default; `shm_size` and `memory` in
    bytes. `publish` is the address of the node at which its port answers (None: the node's own). `adopt` is the name of a container that
    somebody else made and that is the engine's from now on. `groups`
    are further groups of its process: names that its image has, or numbers."""

    image: str
    volumes: tuple[Mount, ...] = ()
    networks: tuple[str, ...] = ()
    restart: str = "unless-stopped"
    shm_size: int | None = None
    pull: PullPolicy = PullPolicy.MISSING
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    cpus: float | None = None
    memory: int | None = None
    stop_timeout: float | None = None
    privileged: bool = False
    publish: str | None = None
    adopt: str | None = None
    groups: tuple[str, ...] = ()


class UnitScope(StrEnum):
    """Whose systemd runs the unit: the machine's, or that of the user whom gpurec reaches the node as."""

    SYSTEM = "system"
    USER = "user"


@value_class
class EngineUnit:
    """The systemd unit of an engine, without `.service`. `exec` is the program with its first arguments; None: the unit is somebody else's,
    and gets a drop-in of ours."""

    unit: str
    scope: UnitScope = UnitScope.SYSTEM
    exec: tuple[str, ...] | None = None


@value_class
class OwnedEngine:
    """How an engine is started. `port` is where it listens, of the first one where there are several `instances`: so many on each card
    (`auto`: by the card's size), None is one engine over all its cards. `args` are appended to its command, `env` is given by value or by
    reference."""

    start: EngineContainer | EngineUnit
    port: int
    instances: int | Literal["auto"] | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str | SecretRef] = field(default_factory=lambda: _EMPTY)


def host_port(address: str, port: int) -> str:
    """A port of a node as programs are told it: an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def url_of(address: str, port: int) -> str:
    """Where an engine answers that listens on a port of a node."""
    return f"http://{host_port(address, port)}"
