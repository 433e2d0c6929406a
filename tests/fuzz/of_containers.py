"""What Docker Engines and swarms answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import httpcore
import httpx
from drawing import Choices, as_json, changed
from oracle import Surface
from served import Network, answered, loop

from reconciler.containers.docker import DockerHost
from reconciler.containers.output import last_lines
from reconciler.containers.pulls import PullReader
from reconciler.containers.swarm import SwarmHost
from reconciler.containers.wire import Wire
from reconciler.engines.keys import Keys
from reconciler.fleet import ContainerSpec, NodeSpec, SecretRef, found_fields, looked_for, mismatches

T = TypeVar("T")
SPEC = ContainerSpec("gpurec-box", "local/busybox:1", "lab", "engine.box/a", env={"A": "1", "KEY": SecretRef("env", "KEY")})
LABELS = dict(SPEC.all_labels)
ID, IMAGE_ID = "a" * 64, "sha256:" + "b" * 64
VERSION = {"Version": "28.5.2", "ApiVersion": "1.51", "MinAPIVersion": "1.24"}
INFO = {
    "ServerVersion": "28.5.2", "Runtimes": {"runc": {}}, "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=GPU-1"}],
    "SecurityOptions": ["name=seccomp"], "Swarm": {"NodeID": "n", "LocalNodeState": "active"},
}  # fmt: skip
LISTED = {
    "Id": ID, "Names": ["/gpurec-box"], "Image": "local/busybox:1", "State": "running", "Labels": LABELS,
    "Ports": [{"IP": "127.0.0.1", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}],
}  # fmt: skip
STRANGER = {**LISTED, "Id": "c" * 64, "Labels": {"com.docker.compose.project": "web"}}
INSPECTED = {
    "Id": ID, "Name": "/gpurec-box", "Created": "2026-01-01T00:00:00Z", "Image": IMAGE_ID, "RestartCount": 1,
    "State": {"Status": "running", "ExitCode": 0, "Error": "", "OOMKilled": False, "Pid": 7, "Health": {"Status": "healthy"}},
    "Config": {
        "Image": "local/busybox:1", "Env": ["A=1", "KEY=x"], "Cmd": ["sleep", "1"], "Entrypoint": None, "Labels": LABELS,
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 10**9, "Retries": 3},
    },
    "HostConfig": {
        "Binds": ["v:/v:ro"], "Tmpfs": {"/t": ""}, "Mounts": [{"Type": "volume", "Source": "w", "Target": "/w"}], "NetworkMode": "default",
        "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]},
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
        "ShmSize": 2**26, "NanoCpus": 10**9, "CpuQuota": 0, "Memory": 2**30, "GroupAdd": ["video"], "Privileged": False, "PidMode": "",
        "DeviceRequests": [{"Driver": "nvidia", "Count": 0, "DeviceIDs": ["GPU-1"]}], "Devices": [{"PathOnHost": "/dev/kfd"}],
    },
    "NetworkSettings": {"Networks": {"bridge": {}}},
}  # fmt: skip
IMAGE = {"Id": IMAGE_ID, "RepoDigests": ["r/a@sha256:" + "d" * 64], "Config": {"Cmd": ["sleep", "1"], "Entrypoint": None}}
SERVICE = {
    "ID": "s", "Version": {"Index": 3}, "CreatedAt": "2026-01-01T00:00:00Z",
    "Spec": {
        "Name": "gpurec-box", "Labels": {**LABELS, "gpurec.name": "gpurec-box", "gpurec.restart": "on-failure:3"},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "local/busybox:1", "Args": ["sleep", "1"], "Env": ["A=1", "KEY=x", "NVIDIA_VISIBLE_DEVICES=GPU-1"],
                "Mounts": [{"Type": "tmpfs", "Target": "/dev/shm", "TmpfsOptions": {"SizeBytes": 7}}], "Groups": ["video"],
            },
            "Resources": {"Limits": {"NanoCPUs": 10**9, "MemoryBytes": 2**30}}, "Networks": [{"Target": "net"}],
            "RestartPolicy": {"Condition": "on-failure", "MaxAttempts": 3},
        },
        "Mode": {"Replicated": {"Replicas": 1}},
        "EndpointSpec": {"Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080}]},
    },
}  # fmt: skip
TASK = {
    "ID": "t", "ServiceID": "s", "NodeID": "n", "CreatedAt": "2026-01-01T00:00:00Z", "DesiredState": "running",
    "Status": {"State": "failed", "Err": "no suitable node", "ContainerStatus": {"ExitCode": 3, "PID": 7}},
}  # fmt: skip
NODE = {
    "ID": "n", "Description": {
        "Hostname": "a", "Resources": {"GenericResources": [{"NamedResourceSpec": {"Kind": "NVIDIA-GPU", "Value": "GPU-1"}}]},
    }, "Status": {"Addr": "127.0.0.1"},
}  # fmt: skip
Answers = Callable[[str], bytes]


class _Way:
    """A daemon that answers from memory."""

    shown = "a (unix:///s)"

    def __init__(self, answers: Answers) -> None:
        transport = httpx.AsyncHTTPTransport(verify=False)  # loading authorities takes longer than an input
        transport._pool = httpcore.AsyncConnectionPool(network_backend=Network(answers))
        self._wire = Wire(httpx.AsyncClient(transport=transport, base_url="http://docker"), self.shown, Keys())

    async def open(self) -> Wire:
        return self._wire

    async def ends_of(self, paths: Sequence[str]) -> Mapping[str, str]:
        return {path: f"{path}/end" for path in paths}

    async def aclose(self) -> None:
        await self._wire.aclose()


def talk(answers: Answers, ask: Callable[[DockerHost], Coroutine[Any, Any, T]]) -> T:
    async def whole() -> T:
        host = DockerHost(_Way(answers), Keys(), environ={"KEY": "x" * 20}, pull_stall=1.0)
        try:
            return await ask(host)
        finally:
            await host.aclose()

    return loop().run_until_complete(whole())


async def look(host: DockerHost | SwarmHost) -> object:
    found = await host._observed(looked_for("lab", (SPEC,)))  # below the net that makes a reason of whatever is raised
    ours = found.of(SPEC.address)
    return found, found.in_the_way(SPEC), [(mismatches(SPEC, one), found_fields(SPEC, one)) for one in ours]


def _of(path: str, parts: Mapping[str, bytes]) -> bytes:
    plain = path.partition(" ")[2].partition("?")[0]
    return next((answered(body) for end, body in parts.items() if plain.endswith(end)), answered(b'{"message": "page not found"}', 404))


DOCKER = {
    "/version": VERSION,
    "/info": INFO,
    "/containers/json": [LISTED, STRANGER],
    f"/containers/{ID}/json": INSPECTED,
    "/images/local/busybox:1/json": IMAGE,
}
SWARM = {
    "/version": VERSION,
    "/info": INFO,
    "/nodes": [NODE],
    "/services": [SERVICE],
    "/tasks": [TASK],
    "/networks": [{"Id": "net", "Name": "overlay"}],
    "/images/local/busybox:1/json": IMAGE,
}


def _changed(documents: Mapping[str, object], data: bytes) -> dict[str, bytes]:
    """All that a daemon answers, one document of it changed by value or made of bytes."""
    choices = Choices(data)
    parts = {path: as_json(document) for path, document in documents.items()}
    name = choices.of([*documents])
    parts[name] = choices.rest() if choices.below(4) == 0 else as_json(changed(json.loads(parts[name]), choices))
    return parts


def take_docker(data: bytes) -> object:
    parts = _changed(DOCKER, data)
    return talk(lambda path: _of(path, parts), look)


def take_swarm(data: bytes) -> object:
    parts = _changed(SWARM, data)
    return talk(lambda path: _of(path, parts), lambda host: look(SwarmHost(host, NodeSpec("a", "127.0.0.1"))))


def take_http(data: bytes) -> object:
    """Bytes where HTTP is expected."""
    return talk(lambda path: data, look)


def take_pull(data: bytes) -> object:
    reader = PullReader("a:1", "a")
    return [(reader.take(line), reader.progress) for line in data.split(b"\n") if line.strip()]


SURFACES = (
    Surface("docker-look", take_docker, lambda: [bytes([first, second]) * 8 for first in range(6) for second in range(0, 256, 29)]),
    Surface("docker-swarm", take_swarm, lambda: [bytes([first, second]) * 8 for first in range(8) for second in range(0, 256, 29)]),
    Surface("docker-http", take_http, lambda: [b"", b"HTTP/1.1 200 X\r\n\r\n", answered(as_json(VERSION)), answered(b"[]")]),
    Surface("docker-pull", take_pull, lambda: _pull_seeds()),
    Surface("docker-log", lambda data: last_lines(data, 20), lambda: [b"\1\0\0\0\0\0\0\3abc", b"plain\n", b"\1\0\0\0\xff\xff\xff\xff"]),
)


def _pull_seeds() -> Iterator[bytes]:
    lines = [{"status": "Downloading", "id": "x", "progressDetail": {"current": one, "total": 9}} for one in range(3)]
    yield b"\n".join(as_json(one) for one in [*lines, {"status": "Pull complete", "id": "x"}])
    yield as_json({"errorDetail": {"message": "no"}, "error": "no"})
