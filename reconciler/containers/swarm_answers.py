"""The answers of a Docker Swarm that are read, as shapes, and what they say of a service as facts of a container. Pure.

A service of ours has one replica or none. It is looked at as the container that it stands for: what was asked for is in its specification,
how it goes in its tasks (Docker Engine API, ServiceSpec and TaskSpec).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated

from pydantic import Field, TypeAdapter

from reconciler.containers.answered import Answered, Bytes, Count, Lenient, Word, Words
from reconciler.containers.answers import owner_of, read_healthcheck, variables, words
from reconciler.containers.shapes import DockerId, HealthcheckAnswer, LabelMap, Nanos, Number
from reconciler.engines.foreign_text import clean_name, clean_text
from reconciler.fleet import (
    ADDRESS_LABEL,
    HOST_NETWORK,
    NO_NETWORK,
    SPEC_LABEL,
    ContainerFacts,
    ContainerState,
    Mount,
    MountKind,
    Owner,
    PublishedPort,
)

NAME_LABEL, RESTART_LABEL = "gpurec.name", "gpurec.restart"
"""What gpurec calls a service (a service itself cannot be renamed), and its restart policy in the words of containers."""
CARDS_VARIABLE = "NVIDIA_VISIBLE_DEVICES"
SHM = "/dev/shm"  # noqa: S108 (where a container has its shared memory, by which shm_size is meant)
_NANOS = 1_000_000_000
_RUNNING = frozenset({"running"})
_COMING = frozenset({"new", "allocated", "pending", "assigned", "accepted", "ready", "preparing", "starting"})
FAILED = frozenset({"failed", "rejected", "orphaned"})
CONDITIONS = {"no": "none", "always": "any", "unless-stopped": "any", "on-failure": "on-failure"}


class TmpfsOptionsAnswer(Answered):
    SizeBytes: Bytes = None


class ServiceMount(Answered):
    Type: Word = None
    Source: Word = None
    Target: Word = None
    ReadOnly: Annotated[bool | None, Lenient()] = None
    TmpfsOptions: Annotated[TmpfsOptionsAnswer | None, Lenient()] = None


class ServiceContainer(Answered):
    Image: Word = None
    Command: Words = None
    Args: Words = None
    Env: Words = None
    Groups: Words = None
    Mounts: Annotated[list[ServiceMount] | None, Lenient()] = None
    Healthcheck: Annotated[HealthcheckAnswer | None, Lenient()] = None
    CapabilityAdd: Words = None
    CapabilityDrop: Words = None
    User: Word = None
    Dir: Word = None
    Hosts: Words = None
    ReadOnly: Annotated[bool | None, Lenient()] = None
    Sysctls: LabelMap = None


class LimitsAnswer(Answered):
    NanoCPUs: Nanos = None
    MemoryBytes: Bytes = None


class ResourcesAnswer(Answered):
    Limits: Annotated[LimitsAnswer | None, Lenient()] = None


class Restart(Answered):
    Condition: Word = None
    MaxAttempts: Count = None


class Attachment(Answered):
    Target: Word = None


class PlacementAnswer(Answered):
    Constraints: Words = None


class TaskTemplateAnswer(Answered):
    ContainerSpec: Annotated[ServiceContainer | None, Lenient()] = None
    Resources: Annotated[ResourcesAnswer | None, Lenient()] = None
    RestartPolicy: Annotated[Restart | None, Lenient()] = None
    Networks: Annotated[list[Attachment] | None, Lenient()] = None
    Placement: Annotated[PlacementAnswer | None, Lenient()] = None


class ReplicatedAnswer(Answered):
    Replicas: Count = None


class ServiceMode(Answered):
    Replicated: Annotated[ReplicatedAnswer | None, Lenient()] = None


class ServicePort(Answered):
    Protocol: Word = None
    TargetPort: Number = None
    PublishedPort: Number = None


class Endpoint(Answered):
    Ports: Annotated[list[ServicePort] | None, Lenient()] = None


class ServiceSpec(Answered):
    Name: str
    Labels: LabelMap = None
    TaskTemplate: TaskTemplateAnswer
    Mode: Annotated[ServiceMode | None, Lenient()] = None
    EndpointSpec: Annotated[Endpoint | None, Lenient()] = None


class VersionAnswer(Answered):
    Index: int


class Service(Answered):
    """`GET /services/{id}`."""

    ID: DockerId
    Version: VersionAnswer
    CreatedAt: Word = None
    Spec: ServiceSpec

    @property
    def replicas(self) -> int:
        mode = self.Spec.Mode
        found = mode.Replicated.Replicas if mode is not None and mode.Replicated is not None else None
        return found or 0


class TaskContainer(Answered):
    ContainerID: Word = None
    PID: Number = None
    ExitCode: Number = None


class TaskStatus(Answered):
    State: str
    Message: Word = None
    Err: Word = None
    Timestamp: Word = None
    ContainerStatus: Annotated[TaskContainer | None, Lenient()] = None


class Task(Answered):
    """An entry of `GET /tasks`."""

    ID: DockerId
    ServiceID: Word = None
    NodeID: Word = None
    CreatedAt: Word = None
    Status: TaskStatus
    DesiredState: Word = None


class Named(Answered):
    Kind: Word = None
    Value: Word = None


class GenericResource(Answered):
    NamedResourceSpec: Annotated[Named | None, Lenient()] = None


class NodeResources(Answered):
    GenericResources: Annotated[list[GenericResource] | None, Lenient()] = None


class NodeDescription(Answered):
    Hostname: Word = None
    Resources: Annotated[NodeResources | None, Lenient()] = None


class NodeStatus(Answered):
    Addr: Word = None


class SwarmNode(Answered):
    """An entry of `GET /nodes`."""

    ID: DockerId
    Description: Annotated[NodeDescription | None, Lenient()] = None
    Status: Annotated[NodeStatus | None, Lenient()] = None

    @property
    def named_resources(self) -> tuple[tuple[str, str], ...]:
        """Kind and value of every resource that has a name, as of a card."""
        resources = self.Description.Resources if self.Description is not None else None
        found = [one.NamedResourceSpec for one in (resources.GenericResources if resources is not None else None) or ()]
        return tuple((one.Kind, one.Value) for one in found if one is not None and one.Kind and one.Value)


class Network(Answered):
    Id: DockerId
    Name: str


class Stored(Answered):
    """A config or a secret."""

    ID: DockerId


SERVICES: TypeAdapter[list[Service]] = TypeAdapter(Annotated[list[Service], Field(max_length=100_000)])
SERVICE: TypeAdapter[Service] = TypeAdapter(Service)
TASKS: TypeAdapter[list[Task]] = TypeAdapter(Annotated[list[Task], Field(max_length=1_000_000)])
NODES: TypeAdapter[list[SwarmNode]] = TypeAdapter(Annotated[list[SwarmNode], Field(max_length=100_000)])
NETWORKS: TypeAdapter[list[Network]] = TypeAdapter(Annotated[list[Network], Field(max_length=100_000)])
NETWORK: TypeAdapter[Network] = TypeAdapter(Network)
STORED: TypeAdapter[list[Stored]] = TypeAdapter(Annotated[list[Stored], Field(max_length=100_000)])


def name_of(service: Service) -> str:
    """What gpurec calls a service: by its label where it is one of ours."""
    return clean_name((service.Spec.Labels or {}).get(NAME_LABEL) or service.Spec.Name)


def newest(tasks: Collection[Task]) -> Task | None:
    """The task that tells how a service goes: the one that is wanted to run, else the last."""
    wanted = [one for one in tasks if one.DesiredState == "running"]
    return max(wanted or tasks, key=lambda one: one.CreatedAt or "", default=None)


def stranger_service(service: Service, fleet: str) -> ContainerFacts:
    """All that is kept of a service that is not ours."""
    owner, whose = owner_of(service.Spec.Labels, fleet)
    if owner is Owner.FOREIGN and whose == "somebody else":
        whose = f"swarm service {clean_name(service.Spec.Name)!r}"
    container = service.Spec.TaskTemplate.ContainerSpec
    state = ContainerState.RUNNING if service.replicas else ContainerState.EXITED
    image = clean_name((container.Image if container is not None else None) or "")
    return ContainerFacts(service.ID, name_of(service), image, state, owner, whose, published(service))


def read_service(
    service: Service,
    tasks: Collection[Task],
    fleet: str,
    kept: Collection[str],
    secrets: Mapping[str, bool | None],
    networks: Mapping[str, str],
    image_command: Sequence[str] | None,
    node: str,
) -> ContainerFacts:
    """A service of ours as the container that it stands for. `networks` are names by id, `image_command` the image's own command (None:
    the image is not here), `node` the id of the node that it is for; for the rest see `answers.read_container`."""
    owner, whose = owner_of(service.Spec.Labels, fleet)
    labels, template = service.Spec.Labels or {}, service.Spec.TaskTemplate
    container = template.ContainerSpec or ServiceContainer()
    env = variables(container.Env)
    task = newest(tasks)
    state, exit_code = _state(service, task)
    given = words(container.Args)
    attached = tuple(sorted(clean_name(networks.get(one.Target or "", one.Target or "?")) for one in template.Networks or ()))
    limits = template.Resources.Limits if template.Resources is not None else None
    mounts = [one for one in container.Mounts or () if one.Target != SHM]
    shm = next((one.TmpfsOptions.SizeBytes for one in container.Mounts or () if one.Target == SHM and one.TmpfsOptions), None)
    status = task.Status if task is not None else None
    return ContainerFacts(
        id=service.ID,
        name=name_of(service),
        image=clean_name((container.Image or "").partition("@")[0] or container.Image or ""),
        state=state,
        owner=owner,
        whose=whose,
        ports=published(service),
        address=_label(labels, ADDRESS_LABEL),
        spec=_label(labels, SPEC_LABEL),
        exit_code=exit_code,
        error=clean_text(status.Err) if status is not None and status.Err else None,
        restarts=sum(one.Status.State in FAILED for one in tasks),
        created_at=clean_name(service.CreatedAt) if service.CreatedAt else None,
        command=given,
        entrypoint=words(container.Command),
        image_command=() if not given else tuple(image_command) if image_command is not None else None,
        image_entrypoint=(),
        env={name: env[name] for name in sorted(kept) if name in env},
        secrets=secrets,
        mounts=tuple(sorted((_mount(one) for one in mounts), key=str)),
        network_mode=attached[0] if attached in ((HOST_NETWORK,), (NO_NETWORK,)) else "default",
        networks=attached,
        restart=_restart(template.RestartPolicy, labels),
        shm_size=shm,
        cpus=(limits.NanoCPUs or 0) / _NANOS if limits is not None else 0.0,
        memory=(limits.MemoryBytes or 0) if limits is not None else 0,
        cards=_cards(env),
        devices=(),
        groups=tuple(sorted(clean_name(one) for one in container.Groups or ())),
        healthcheck=read_healthcheck(container.Healthcheck),
        labels=dict(sorted(labels.items())),
        privileges=tuple(sorted(f"cap_add {clean_name(one)}" for one in container.CapabilityAdd or ())),
        settings=_settings(container, template.Placement, node),
    )


def _settings(container: ServiceContainer, placement: PlacementAnswer | None, node: str) -> tuple[str, ...]:
    """What the files have no keys for, as words: that it may run elsewhere than on its node, too."""
    constraints = (placement.Constraints if placement is not None else None) or ()
    found = [f"constraint {clean_name(one)}" for one in constraints if one.replace(" ", "") != f"node.id=={node}"]
    found += [] if len(found) < len(constraints) else ["no constraint to its node"]
    found += [f"user {clean_name(container.User)}"] if container.User else []
    found += [f"working_dir {clean_name(container.Dir)}"] if container.Dir else []
    found += [f"cap_drop {clean_name(one)}" for one in container.CapabilityDrop or ()]
    found += [f"extra_hosts {clean_name(one)}" for one in container.Hosts or ()]
    found += [f"sysctls {clean_name(name)}={clean_name(value)}" for name, value in (container.Sysctls or {}).items()]
    return tuple(sorted([*found, "read_only"] if container.ReadOnly else found))


def published(service: Service) -> tuple[PublishedPort, ...]:
    """Swarm publishes on every address of a node."""
    endpoint = service.Spec.EndpointSpec
    found = [one for one in (endpoint.Ports if endpoint is not None else None) or () if one.PublishedPort and one.TargetPort]
    return tuple(
        PublishedPort(one.TargetPort or 0, one.PublishedPort or 0, "0.0.0.0", clean_name(one.Protocol or "tcp"))  # noqa: S104
        for one in found
    )


def _state(service: Service, task: Task | None) -> tuple[ContainerState | None, int | None]:
    status = task.Status if task is not None else None
    code = status.ContainerStatus.ExitCode if status is not None and status.ContainerStatus is not None else None
    if not service.replicas:
        return (ContainerState.EXITED, code) if status is not None else (ContainerState.CREATED, None)
    if status is None or status.State in _COMING:
        return ContainerState.PENDING, None
    if status.State in _RUNNING:
        return ContainerState.RUNNING, None
    if status.State in FAILED:
        return ContainerState.RESTARTING, code
    return ContainerState.EXITED, code


def _label(labels: Mapping[str, str], name: str) -> str | None:
    value = labels.get(name)
    return clean_name(value) if value is not None else None


def _mount(one: ServiceMount) -> Mount:
    kind = MountKind(one.Type) if one.Type in set(MountKind) else MountKind.BIND
    return Mount(one.Source or "", one.Target or "", bool(one.ReadOnly), kind)


def _restart(policy: Restart | None, labels: Mapping[str, str]) -> str:
    """In the words of containers: as it was asked for, where the service still has what that means."""
    condition = (policy.Condition if policy is not None else None) or "any"
    most = (policy.MaxAttempts if policy is not None else None) or 0
    asked = labels.get(RESTART_LABEL, "")
    word, _, tries = asked.partition(":")
    if CONDITIONS.get(word) == condition and int(tries if tries.isdecimal() and len(tries) < 9 else 0) == most:
        return asked
    return {"none": "no", "any": "always"}.get(condition, clean_name(condition)) + (f":{most}" if most else "")


def _cards(env: Mapping[str, str]) -> tuple[str, ...]:
    value = env.get(CARDS_VARIABLE, "")
    return tuple(sorted(clean_name(one) for one in value.split(","))) if value not in ("", "void", "none") else ()
