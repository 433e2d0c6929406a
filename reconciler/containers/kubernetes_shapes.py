"""The answers of an API server that are read, as shapes (apps/v1, v1, events): what else they hold is passed over, but for what else
somebody has asked for in the template of a Deployment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from reconciler.containers.answered import Answered, Count, Flag, Lenient, Word, Words
from reconciler.containers.kubernetes_making import CONTAINER, NAME_NOTE
from reconciler.containers.shapes import LabelMap, Number
from reconciler.engines.foreign_text import clean_name

Read = TypeVar("Read")
TEMPLATE_HASH = "pod-template-hash"


class OfCluster(Answered):
    """Base of the shapes, whose fields have Python's names."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class ManagedFields(OfCluster):
    manager: Word = None
    operation: Word = None
    subresource: Word = None
    fields_v1: Annotated[dict[str, Any] | None, Field(alias="fieldsV1"), Lenient()] = None


class OwnerReference(OfCluster):
    kind: Word = None
    name: Word = None
    controller: Flag = None


class Metadata(OfCluster):
    name: str
    uid: str
    labels: LabelMap = None
    annotations: LabelMap = None
    generation: Number = None
    creation_timestamp: Word = None
    deletion_timestamp: Word = None
    owner_references: Annotated[list[OwnerReference] | None, Lenient()] = None
    managed_fields: Annotated[list[ManagedFields] | None, Lenient()] = None


class KeyRef(OfCluster):
    name: Word = None
    key: Word = None


class ValueFrom(OfCluster):
    secret_key_ref: Annotated[KeyRef | None, Lenient()] = None


class Variable(OfCluster):
    name: str
    value: Word = None
    value_from: Annotated[ValueFrom | None, Lenient()] = None


class Port(OfCluster):
    container_port: Number = None
    host_port: Number = None
    host_ip: Annotated[str | None, Field(alias="hostIP"), Lenient()] = None
    protocol: Word = None


class VolumeMount(OfCluster, extra="allow"):
    name: str
    mount_path: Word = None
    read_only: Flag = None


class ExecAction(OfCluster):
    command: Words = None


class Probe(OfCluster):
    exec: Annotated[ExecAction | None, Lenient()] = None
    period_seconds: Number = None
    timeout_seconds: Number = None
    failure_threshold: Number = None


class Resources(OfCluster):
    limits: LabelMap = None
    requests: LabelMap = None


class Security(OfCluster, extra="allow"):
    privileged: Flag = None
    supplemental_groups: Annotated[list[int] | None, Lenient()] = None


class PodContainer(OfCluster, extra="allow"):
    name: str
    image: Word = None
    command: Words = None
    args: Words = None
    env: Annotated[list[Variable] | None, Lenient()] = None
    ports: Annotated[list[Port] | None, Lenient()] = None
    volume_mounts: Annotated[list[VolumeMount] | None, Lenient()] = None
    resources: Annotated[Resources | None, Lenient()] = None
    readiness_probe: Annotated[Probe | None, Lenient()] = None
    security_context: Annotated[Security | None, Lenient()] = None


class Claim(OfCluster):
    claim_name: Word = None


class HostPath(OfCluster):
    path: Word = None


class EmptyDir(OfCluster):
    medium: Word = None
    size_limit: Word = None


class NamedSource(OfCluster):
    name: Word = None
    secret_name: Word = None


class Volume(OfCluster):
    name: str
    persistent_volume_claim: Annotated[Claim | None, Lenient()] = None
    host_path: Annotated[HostPath | None, Lenient()] = None
    empty_dir: Annotated[EmptyDir | None, Lenient()] = None
    config_map: Annotated[NamedSource | None, Lenient()] = None
    secret: Annotated[NamedSource | None, Lenient()] = None


class PodSpec(OfCluster, extra="allow"):
    node_selector: LabelMap = None
    host_network: Flag = None
    containers: Annotated[list[PodContainer], Field(default_factory=list)]
    volumes: Annotated[list[Volume] | None, Lenient()] = None
    security_context: Annotated[Security | None, Lenient()] = None
    image_pull_secrets: Annotated[list[NamedSource] | None, Lenient()] = None


class Template(OfCluster):
    spec: PodSpec


class Condition(OfCluster):
    type: Word = None
    status: Word = None
    reason: Word = None
    message: Word = None
    last_transition_time: Word = None


class Requirement(OfCluster):
    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: Words = None

    @property
    def text(self) -> str:
        """As a query asks it (Kubernetes, labels and selectors, set-based requirement)."""
        among = f"({','.join(self.values or ())})"
        forms = {"In": f"{self.key} in {among}", "NotIn": f"{self.key} notin {among}", "Exists": self.key, "DoesNotExist": f"!{self.key}"}
        return forms[self.operator]


class Selector(OfCluster):
    match_labels: LabelMap = None
    match_expressions: Annotated[list[Requirement], Field(default_factory=list)]


class DeploymentSpec(OfCluster):
    replicas: Count = None
    selector: Annotated[Selector | None, Lenient()] = None
    template: Template


class DeploymentStatus(OfCluster):
    observed_generation: Number = None
    conditions: Annotated[list[Condition] | None, Lenient()] = None


class Deployment(OfCluster):
    metadata: Metadata
    spec: DeploymentSpec
    status: Annotated[DeploymentStatus | None, Lenient()] = None

    @property
    def id(self) -> str:
        return f"{self.metadata.name}/{self.metadata.uid}"

    @property
    def is_observed(self) -> bool:
        """Whether its controller has seen it as it is now."""
        seen = self.status.observed_generation if self.status is not None else None
        return (seen or 0) >= (self.metadata.generation or 0)

    @property
    def notes(self) -> Mapping[str, str]:
        return self.metadata.annotations or {}

    @property
    def called(self) -> str:
        """What gpurec calls it."""
        return clean_name(self.notes.get(NAME_NOTE) or self.metadata.name)

    @property
    def pods(self) -> str:
        """The query by which it finds its pods, and whatever else bears these labels."""
        selector = self.spec.selector
        labels = (selector.match_labels if selector is not None else None) or {}
        more = selector.match_expressions if selector is not None else ()
        return ",".join([*(f"{name}={value}" for name, value in sorted(labels.items())), *(one.text for one in more)])

    def has(self, pod: Pod) -> bool:
        """Whether a pod is its own, and not another Deployment's that bears the same labels: its ReplicaSets have its name and the hash
        of their template (kubernetes.io, "Pod-template-hash label")."""
        set_of_it = f"{self.metadata.name}-{(pod.metadata.labels or {}).get(TEMPLATE_HASH, '')}"
        owners = pod.metadata.owner_references or ()
        return any(one.controller and one.kind == "ReplicaSet" and one.name == set_of_it for one in owners)

    @property
    def stored(self) -> frozenset[str]:
        """The ConfigMaps and Secrets that its pods need."""
        pod = self.spec.template.spec
        found = {one.name for one in pod.image_pull_secrets or ()}
        for volume in pod.volumes or ():
            found |= {volume.config_map.name if volume.config_map else None, volume.secret.secret_name if volume.secret else None}
        for variable in self.container.env or ():
            ref = variable.value_from.secret_key_ref if variable.value_from is not None else None
            found.add(ref.name if ref is not None else None)
        return frozenset(one for one in found if one)

    @property
    def container(self) -> PodContainer:
        """The one that it is about: the only one, or ours."""
        found = self.spec.template.spec.containers
        return next((one for one in found if one.name == CONTAINER or len(found) == 1), PodContainer(name=CONTAINER))


class Waiting(OfCluster):
    reason: Word = None
    message: Word = None


class Running(OfCluster):
    started_at: Word = None


class Terminated(OfCluster):
    exit_code: Number = None
    reason: Word = None
    message: Word = None
    finished_at: Word = None


class ContainerStates(OfCluster):
    waiting: Annotated[Waiting | None, Lenient()] = None
    running: Annotated[Running | None, Lenient()] = None
    terminated: Annotated[Terminated | None, Lenient()] = None


class ContainerStatus(OfCluster):
    name: str
    ready: Flag = None
    restart_count: Count = None
    state: Annotated[ContainerStates | None, Lenient()] = None
    last_state: Annotated[ContainerStates | None, Lenient()] = None

    @property
    def has_run(self) -> bool:
        state = self.state
        return state is not None and bool(state.running or state.terminated or self.restart_count)


class PodStatus(OfCluster):
    phase: Word = None
    reason: Word = None
    message: Word = None
    conditions: Annotated[list[Condition] | None, Lenient()] = None
    container_statuses: Annotated[list[ContainerStatus] | None, Lenient()] = None


class Pod(OfCluster):
    metadata: Metadata
    status: PodStatus = PodStatus()

    @property
    def has_ended(self) -> bool:
        """Whether all that ran in it has ended for good: what was evicted, or refused by its kubelet, is kept for the record."""
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def container(self) -> ContainerStatus | None:
        found = self.status.container_statuses or ()
        return next((one for one in found if one.name == CONTAINER or len(found) == 1), None)

    def condition(self, of_type: str) -> Condition | None:
        return next((one for one in self.status.conditions or () if one.type == of_type), None)


class ServicePort(OfCluster):
    port: Number = None


class ServiceSpec(OfCluster):
    selector: LabelMap = None
    ports: Annotated[list[ServicePort] | None, Lenient()] = None


class Service(OfCluster):
    metadata: Metadata
    spec: ServiceSpec = ServiceSpec()


class Held(OfCluster):
    """A ConfigMap or a Secret."""

    metadata: Metadata
    data: LabelMap = None


class Event(OfCluster):
    type: Word = None
    reason: Word = None
    message: Word = None
    last_timestamp: Word = None


class NodeAddress(OfCluster):
    address: Word = None


class NodeStatus(OfCluster):
    addresses: Annotated[list[NodeAddress] | None, Lenient()] = None


class KubernetesNode(OfCluster):
    metadata: Metadata
    status: Annotated[NodeStatus | None, Lenient()] = None

    @property
    def addresses(self) -> frozenset[str]:
        return frozenset(one.address for one in (self.status.addresses if self.status is not None else None) or () if one.address)


class ServerVersion(OfCluster):
    git_version: Word = None


Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] | None


class AskedHealth(OfCluster):
    """A health check as it was declared. `times` are its interval, timeout, start period and start interval, in seconds."""

    test: Annotated[tuple[str, ...], Field(min_length=1)]
    times: tuple[Seconds, Seconds, Seconds, Seconds]
    retries: Annotated[int, Field(ge=0, le=1_000_000)] | None


class Asked(OfCluster):
    """The text of the annotation that holds what a cluster has no other place for."""

    restart: str
    cards: list[str]
    health: AskedHealth | None


ASKED: TypeAdapter[Asked] = TypeAdapter(Asked)
DEPLOYMENT: TypeAdapter[Deployment] = TypeAdapter(Deployment)
DEPLOYMENTS: TypeAdapter[list[Deployment]] = TypeAdapter(Annotated[list[Deployment], Field(max_length=100_000)])
PODS: TypeAdapter[list[Pod]] = TypeAdapter(Annotated[list[Pod], Field(max_length=100_000)])
SERVICES: TypeAdapter[list[Service]] = TypeAdapter(Annotated[list[Service], Field(max_length=100_000)])
SERVICE: TypeAdapter[Service] = TypeAdapter(Service)
HELD: TypeAdapter[list[Held]] = TypeAdapter(Annotated[list[Held], Field(max_length=100_000)])
HELD_ONE: TypeAdapter[Held] = TypeAdapter(Held)
EVENTS: TypeAdapter[list[Event]] = TypeAdapter(Annotated[list[Event], Field(max_length=100_000)])
NODE: TypeAdapter[KubernetesNode] = TypeAdapter(KubernetesNode)
CLUSTER_NODES: TypeAdapter[list[KubernetesNode]] = TypeAdapter(Annotated[list[KubernetesNode], Field(max_length=100_000)])
SERVER_VERSION: TypeAdapter[ServerVersion] = TypeAdapter(ServerVersion)
