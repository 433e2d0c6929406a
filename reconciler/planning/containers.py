"""Containers as resources of a plan: their fields, their form in a document, what an applied one was. For every kind that runs in one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from reconciler.fleet import (
    HOST_NETWORK,
    NO_LEADS,
    CardCount,
    CardSpec,
    ContainerFacts,
    ContainerSpec,
    ContainerState,
    DockerSpec,
    Fields,
    MountKind,
    NodeContainers,
    NodeSpec,
    Owner,
    PullPolicy,
    ResourceFacts,
    Scalar,
    found_fields,
    mismatches,
    wanted_fields,
)
from reconciler.fleet.container_fields import FIELDS
from reconciler.planning.containers_guard import container_refusals
from reconciler.planning.plan import Action, Json, Refusal
from reconciler.planning.resource import FieldRule, ResourceChange, Wanted
from reconciler.value_class import value_class

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

NAME, COPIES, SPEC, HEALTHY = "name", "copies", "spec", "healthy"
EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104
CONTAINER_RULES: Sequence[FieldRule] = (
    *(FieldRule(row.name) for row in FIELDS if row.name != SPEC),
    FieldRule(NAME),
    FieldRule(COPIES),
    FieldRule(HEALTHY, waits=True),
    FieldRule(SPEC),
)
"""The fields of a container in a plan: what was declared, that it has its own name, that there is no second one of it (what a run left that
was cut short), and that what is in it answers."""


_MADE_ANEW = frozenset(row.name for row in FIELDS if not row.restarts and row.name != SPEC)
"""Fields that only a new container has otherwise."""


def container_fields(spec: ContainerSpec) -> Mapping[str, Scalar]:
    """The fields of a container as it is wanted."""
    return {**wanted_fields(spec), NAME: spec.name, COPIES: 1, HEALTHY: True}


@value_class
class WantedContainer(Wanted):
    """A resource that runs in a container. `pull`: when its image is fetched. `allow` is what the policy lets it have of its node, whose
    daemon is reached by `docker`. `undecided` is what of its place the plan leaves to others, for the reader; empty where that is nothing.
    `both_fit`: the cards that it shares with the one that it replaces have room for both, and are given to both (`shares_cards`)."""

    container: ContainerSpec | None = None
    pull: PullPolicy = PullPolicy.MISSING
    allow: tuple[str, ...] = ()
    docker: DockerSpec | None = None
    undecided: str = ""
    both_fit: bool = False

    def seen(self, found: ResourceFacts) -> ResourceFacts:
        return seen_as(self.container, found, self.address, self.fields)

    def refusals(self, found: ResourceFacts) -> Sequence[Refusal]:
        leads = found.there.leads if found.there is not None else NO_LEADS
        return container_refusals(self.container, self.allow, self.docker, leads) if self.container is not None else ()


W = TypeVar("W", bound=WantedContainer)


def seen_as(spec: ContainerSpec | None, found: ResourceFacts, address: str, wanted: Fields | None = None) -> ResourceFacts:
    """A container is looked at before it is known how it is to be: its fields are read here. `wanted` are those of `spec`, where they are
    known already."""
    if spec is None or found.there is None:
        return found
    told = container_found(spec, found.there, address, _truth(found.fields.get(HEALTHY)), wanted)
    reason = found.reason if told.exists is False and told.reason is None else told.reason
    return replace(told, as_applied=found.as_applied, reason=reason)


def _truth(value: Scalar | None) -> bool | None:
    return value if isinstance(value, bool) else None


def container_found(
    spec: ContainerSpec | None, there: NodeContainers, address: str, healthy: bool | None, wanted: Fields | None = None
) -> ResourceFacts:
    """What is there of the container with this address, seen as `spec` is wanted; without one only that it is there. `healthy`: whether it
    answers; None: nobody knows, or nobody asks. `wanted` are the fields of `spec`, where they are known already."""
    if there.containers is None:
        return ResourceFacts(None, {}, there.reason or "its daemon could not be asked", there=there)
    ours = there.of(address)
    if not ours:
        taken = there.in_the_way(spec) if spec is not None else ()
        return ResourceFacts(False, {}, in_the_way(spec, taken[0]) if spec is not None and taken else None, there=there)
    one = current(ours, spec)
    fields = (
        _fields(spec, wanted, one, len(ours), healthy) if spec is not None else {NAME: None if one.adopted else one.name, HEALTHY: healthy}
    )
    return ResourceFacts(True, fields, there=there)


def _fields(spec: ContainerSpec, wanted: Fields | None, one: ContainerFacts, copies: int, healthy: bool | None) -> Fields:
    """The hash of the wanted container is looked at only where no field tells what is another: else it is said twice."""
    found: dict[str, Scalar | None] = dict(found_fields(spec, one))
    wanted = wanted_fields(spec) if wanted is None else wanted
    if any(name in _MADE_ANEW and value != wanted.get(name) for name, value in found.items()):
        found.pop(SPEC, None)
    name = spec.name if one.adopted else one.name
    return {**found, NAME: name, COPIES: copies, HEALTHY: healthy if one.state is ContainerState.RUNNING else None}


def current(ours: Sequence[ContainerFacts], spec: ContainerSpec | None) -> ContainerFacts:
    """Of several containers of one address, which a replacement that was cut short leaves, the one to go on with: what was made as it is
    wanted, else what has the name, else the first by name."""
    if len(ours) == 1:
        return ours[0]
    return min(ours, key=lambda one: (spec is None or one.spec != spec.hash, spec is None or one.name != spec.name, one.name, one.id))


def in_the_way(spec: ContainerSpec, other: ContainerFacts) -> str:
    """Who holds the name or a port that a container needs, and what to do."""
    if other.name == spec.name:
        return f"its name, {spec.name}, is that of a container of {other.whose}: remove that one, or name this one otherwise"
    wanted = {(port.host, port.protocol) for port in spec.published}
    port = next((port.host for port in other.ports if (port.host, port.protocol) in wanted), None)
    whose = "another of this fleet" if other.owner is Owner.OURS else other.whose
    return f"its port, {port}, is published by container {other.name} of {whose}: remove that one, or write another `port:`"


def why_stopped_first(old: ContainerFacts, spec: ContainerSpec, both_fit: bool) -> str | None:
    """Why a container must end before the one that takes its place starts, as a clause; None where both may run at once. `both_fit`: the
    cards that they share have room for both."""
    if HOST_NETWORK in spec.networks or old.network_mode == HOST_NETWORK:
        return "one of them has the network of its host"
    if old.mounts is None:
        return "it is not known what the old one has"
    ports = {(port.host, port.protocol) for port in old.ports}
    if port := next((one.host for one in spec.published if (one.host, one.protocol) in ports), None):
        return f"both publish port {port}"
    written = {mount.source for mount in old.mounts if not mount.read_only and mount.kind is not MountKind.TMPFS}
    if source := next((one.source for one in spec.mounts if one.kind is not MountKind.TMPFS and one.source in written), None):
        return f"both have {source}, which the old one writes to"
    if spec.devices and old.devices:
        return f"both have {spec.devices[0]}, and nobody can tell whether its cards have room for both"
    if old.cards is None and spec.cards:
        return "it is not known which cards the old one has"
    unnamed = [card for card in old.cards or () if isinstance(card, CardCount)]
    if unnamed and spec.cards:
        return f"the old one has {unnamed[0]}{'' if unnamed[0].resource else ' of the cards'}"
    if (shared := {*spec.cards} & {*(old.cards or ())}) and not both_fit:
        return f"both have card {min(shared)}, which is not known to have room for both"
    return None


def told_order(change: ResourceChange[W]) -> str:
    """Which of two containers starts or ends first in a replacement, and why, what is left to others, and what nobody tells; a line each,
    for the reader of a plan."""
    wanted = change.wanted
    if wanted is None or change.action not in (Action.CREATE, Action.UPDATE):
        return ""
    untold = untold_links(wanted.container, wanted.docker) if wanted.container is not None else ""
    return "\n".join(line for line in (untold, wanted.undecided, _order(change, wanted)) if line)


def starts_beside(change: ResourceChange[W]) -> bool:
    """Whether a container runs before the one that it replaces ends."""
    both = _replaced(change)
    return both is not None and change.wanted is not None and why_stopped_first(*both, change.wanted.both_fit) is None


def _order(change: ResourceChange[W], wanted: WantedContainer) -> str:
    both = _replaced(change)
    if both is None:
        return ""
    why = why_stopped_first(*both, wanted.both_fit)
    return f"its old container ends first: {why}" if why is not None else "its new container starts before the old one ends"


def _replaced(change: ResourceChange[W]) -> tuple[ContainerFacts, ContainerSpec] | None:
    """The running container that another one takes the place of, and how that one is to be; None where none does."""
    found, spec = change.found, change.wanted.container if change.wanted is not None else None
    ours = found.there.of(change.address) if found.there is not None else ()
    if change.action is not Action.UPDATE or spec is None or not ours:
        return None
    old = current(ours, spec)
    if old.state is not ContainerState.RUNNING or all(wrong.restarts for wrong in mismatches(spec, old)):
        return None
    return old, spec


def shares_cards(spec: ContainerSpec, node: NodeSpec | None) -> bool:
    """Whether its cards are given to another container at once, where they have room: a cluster gives one to one pod only, but for its
    shares."""
    if node is None or node.docker is None or node.docker.names_cards:
        return True
    return all(card.shares > 1 for card in _cards_of(spec, node))


def _cards_of(spec: ContainerSpec, node: NodeSpec) -> Sequence[CardSpec]:
    return [card for card in node.gpus or () if {str(card.index), card.uuid} & {*spec.cards}]


def left_to_others(spec: ContainerSpec, node: NodeSpec | None) -> str:
    """What of a container's place a plan does not decide, for its reader: in a cluster, which of its node's cards it gets."""
    if node is None or node.docker is None or node.docker.names_cards or not spec.cards:
        return ""
    cards = _cards_of(spec, node)
    kinds = Counter(card.resource or "nvidia.com/gpu" for card in cards) or Counter({"nvidia.com/gpu": len(spec.cards)})
    asked = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    shares = max((card.shares for card in cards), default=1)
    of_each = f"; each is one of {shares} shares of a card, whose memory nobody divides" if shares > 1 else ""
    return f"it asks the cluster for {asked} of {node.name}: which of its cards that is, the cluster decides{of_each}"


def untold_links(spec: ContainerSpec, docker: DockerSpec | None) -> str:
    """What its mounts may be besides what they say, where the way to its node follows no links: for the reader, who has to look there."""
    if docker is None or not (docker.swarm or docker.cluster is not None or docker.url.startswith("tcp:")):
        return ""
    sources = sorted({mount.source for mount in spec.mounts if mount.kind is MountKind.BIND})
    way = "a swarm" if docker.swarm else "a cluster" if docker.cluster is not None else "tcp://"
    return f"! whether {', '.join(sources)} of its host is a link to elsewhere is not known by way of {way}" if sources else ""


def shown_risks(spec: ContainerSpec) -> Sequence[str]:
    """What of a container reaches beyond it, for the reader of a plan."""
    lines = ["! it has the network of its host"] if HOST_NETWORK in spec.networks else []
    everywhere = [port for port in spec.published if port.address in EVERYWHERE]
    lines += [f"! its port {port.host} answers at every address of its host" for port in everywhere]
    binds = [mount for mount in spec.mounts if mount.kind is MountKind.BIND]
    return lines + [f"! it {'reads' if mount.read_only else 'writes'} {mount.source} of its host" for mount in binds]


def container_json(spec: ContainerSpec) -> Json:
    """A container as a document has it; secrets by reference."""
    return as_json(spec)


def written_form(spec: ContainerSpec) -> str:
    """A container as the state keeps it."""
    return json.dumps(container_json(spec), sort_keys=True, separators=(",", ":"))


def as_json(value: object) -> Json:
    """A value of dataclasses as a document has it."""
    if isinstance(value, Enum):
        return str(value.value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (tuple, list)):
        return [as_json(held) for held in value]
    if isinstance(value, Mapping):
        return {str(key): as_json(held) for key, held in sorted(value.items())}
    assert is_dataclass(value)
    assert not isinstance(value, type)
    return {name: as_json(getattr(value, name)) for name in _field_names(type(value))}


@lru_cache
def _field_names(of: type[DataclassInstance]) -> tuple[str, ...]:
    return tuple(one.name for one in fields(of))
