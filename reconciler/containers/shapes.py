"""The answers of a Docker Engine that are read, as shapes (Docker Engine API 1.40 to 1.51): what else they hold is passed over."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter

from reconciler.containers.answered import Answered, Bytes, Count, Flag, Lenient, Word, Words

_MOST_CONTAINERS = 100_000
DockerId = Annotated[str, Field(min_length=1, max_length=256)]
LabelMap = Annotated[dict[str, str] | None, Lenient()]
Nanos = Annotated[int | None, Field(ge=0, lt=1 << 63), Lenient()]
Number = Annotated[int | None, Field(ge=-(1 << 31), lt=1 << 32), Lenient()]


class ListedPort(Answered):
    IP: Word = None
    PrivatePort: Number = None
    PublicPort: Number = None
    Type: Word = None


class ListedHost(Answered):
    NetworkMode: Word = None


class Listed(Answered):
    """An entry of `GET /containers/json`."""

    Id: DockerId
    Names: Words = None
    Image: Word = None
    State: Word = None
    Ports: Annotated[list[ListedPort] | None, Lenient()] = None
    Labels: LabelMap = None
    HostConfig: Annotated[ListedHost | None, Lenient()] = None


class HealthAnswer(Answered):
    Status: Word = None


class StateAnswer(Answered):
    Status: str
    ExitCode: Number = None
    Error: Word = None
    OOMKilled: Flag = None
    Pid: Number = None
    StartedAt: Word = None
    FinishedAt: Word = None
    Health: Annotated[HealthAnswer | None, Lenient()] = None


class HealthcheckAnswer(Answered):
    Test: Words = None
    Interval: Nanos = None
    Timeout: Nanos = None
    StartPeriod: Nanos = None
    StartInterval: Nanos = None
    Retries: Count = None


class ConfigAnswer(Answered):
    Image: Word = None
    Env: Words = None
    Cmd: Words = None
    Entrypoint: Words = None
    Labels: LabelMap = None
    Healthcheck: Annotated[HealthcheckAnswer | None, Lenient()] = None
    User: Word = None
    WorkingDir: Word = None


class BoundPort(Answered):
    HostIp: Word = None
    HostPort: Word = None


class RestartAnswer(Answered):
    Name: Word = None
    MaximumRetryCount: Count = None


class DeviceRequest(Answered):
    Driver: Word = None
    Count: Number = None
    DeviceIDs: Words = None
    Capabilities: Annotated[list[list[str]] | None, Lenient()] = None


class DeviceAnswer(Answered):
    PathOnHost: Word = None


class MountAnswer(Answered):
    Type: Word = None
    Source: Word = None
    Target: Word = None
    ReadOnly: Flag = None


class HostConfigAnswer(Answered):
    Binds: Words = None
    Mounts: Annotated[list[MountAnswer] | None, Lenient()] = None
    Tmpfs: LabelMap = None
    NetworkMode: Word = None
    PortBindings: Annotated[dict[str, list[BoundPort] | None] | None, Lenient()] = None
    RestartPolicy: Annotated[RestartAnswer | None, Lenient()] = None
    ShmSize: Bytes = None
    NanoCpus: Nanos = None
    CpuQuota: Number = None
    CpuPeriod: Number = None
    Memory: Bytes = None
    DeviceRequests: Annotated[list[DeviceRequest] | None, Lenient()] = None
    Devices: Annotated[list[DeviceAnswer] | None, Lenient()] = None
    GroupAdd: Words = None
    Privileged: Flag = None
    PidMode: Word = None
    IpcMode: Word = None
    UTSMode: Word = None
    UsernsMode: Word = None
    CapAdd: Words = None
    CapDrop: Words = None
    SecurityOpt: Words = None
    DeviceCgroupRules: Words = None
    VolumesFrom: Words = None
    ExtraHosts: Words = None
    Links: Words = None
    Dns: Words = None
    DnsSearch: Words = None
    Sysctls: LabelMap = None
    ReadonlyRootfs: Flag = None
    CpusetCpus: Word = None
    CpuShares: Number = None
    PidsLimit: Number = None


class NetworksAnswer(Answered):
    Networks: Annotated[dict[str, object] | None, Lenient()] = None


class Inspected(Answered):
    """`GET /containers/{id}/json`."""

    Id: DockerId
    Name: str
    Created: Word = None
    Image: Word = None
    State: StateAnswer
    RestartCount: Count = None
    Config: ConfigAnswer
    HostConfig: HostConfigAnswer
    NetworkSettings: Annotated[NetworksAnswer | None, Lenient()] = None


class ImageConfig(Answered):
    Env: Words = None
    Cmd: Words = None
    Entrypoint: Words = None
    User: Word = None
    WorkingDir: Word = None
    Labels: LabelMap = None


class ImageAnswer(Answered):
    """`GET /images/{name}/json`."""

    Id: DockerId
    RepoDigests: Words = None
    Config: Annotated[ImageConfig | None, Lenient()] = None


class DiscoveredDevice(Answered):
    Source: Word = None
    ID: Word = None


class SwarmInfo(Answered):
    NodeID: Word = None
    LocalNodeState: Word = None


class Info(Answered):
    """`GET /info`."""

    ServerVersion: Word = None
    Runtimes: Annotated[dict[str, object] | None, Lenient()] = None
    DiscoveredDevices: Annotated[list[DiscoveredDevice] | None, Lenient()] = None
    SecurityOptions: Words = None
    Swarm: Annotated[SwarmInfo | None, Lenient()] = None


class VolumeAnswer(Answered):
    Name: DockerId
    Driver: Word = None
    Options: LabelMap = None


class Volumes(Answered):
    """`GET /volumes`."""

    Volumes: Annotated[list[VolumeAnswer] | None, Field(max_length=_MOST_CONTAINERS)] = None


class Version(Answered):
    """`GET /version`."""

    ApiVersion: Word = None
    MinAPIVersion: Word = None


class Created(Answered):
    Id: DockerId


class CreatedId(Answered):
    """What was made in a swarm."""

    ID: DockerId


LISTED: TypeAdapter[list[Listed]] = TypeAdapter(Annotated[list[Listed], Field(max_length=_MOST_CONTAINERS)])
INSPECTED: TypeAdapter[Inspected] = TypeAdapter(Inspected)
IMAGE: TypeAdapter[ImageAnswer] = TypeAdapter(ImageAnswer)
INFO: TypeAdapter[Info] = TypeAdapter(Info)
VERSION: TypeAdapter[Version] = TypeAdapter(Version)
VOLUMES: TypeAdapter[Volumes] = TypeAdapter(Volumes)
CREATED: TypeAdapter[Created] = TypeAdapter(Created)
CREATED_ID: TypeAdapter[CreatedId] = TypeAdapter(CreatedId)
