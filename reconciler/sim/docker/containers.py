"""One simulated container: its configuration as it was asked for, its states, its log."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.sim.docker.images import Image
from reconciler.sim.docker.process import Running

NEVER = "0001-01-01T00:00:00Z"
LONGEST_LOG = 10_000
Json = dict[str, object]


@dataclass(slots=True, eq=False)
class Container:
    """`config` and `host` are the parts of the request that made it, with the daemon's defaults in them. One that was stopped by hand is
    not started again by its restart policy. `changed` is set, and made anew, whenever it starts, ends or is removed."""

    id: str
    name: str
    image: Image
    config: Json
    host: Json
    networks: list[str]
    created: datetime
    status: str = "created"
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    restarts: int = 0
    pid: int = 0
    started: str = NEVER
    finished: str = NEVER
    health: str | None = None
    failing: int = 0
    stopped_by_hand: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    log: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=LONGEST_LOG))
    running: Running | None = None
    task: asyncio.Task[None] | None = None
    watch: asyncio.Task[None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def env(self) -> Mapping[str, str]:
        return dict(one.partition("=")[::2] for one in texts(self.config.get("Env")))

    @property
    def labels(self) -> Mapping[str, str]:
        return {key: str(value) for key, value in as_mapping(self.config.get("Labels")).items()}

    @property
    def argv(self) -> list[str]:
        return [*texts(self.config.get("Entrypoint")), *texts(self.config.get("Cmd"))]

    @property
    def network_mode(self) -> str:
        return str(self.host.get("NetworkMode") or "default")

    @property
    def published(self) -> list[tuple[str, int, int, str]]:
        """Address, port of the host, port of the container, protocol. A binding of a port that is not exposed does nothing."""
        if self.network_mode in ("host", "none"):
            return []
        found = []
        exposed = as_mapping(self.config.get("ExposedPorts"))
        for spelled, bound in sorted(as_mapping(self.host.get("PortBindings")).items()):
            port, _, protocol = spelled.partition("/")
            for one in bound if isinstance(bound, list) and spelled in exposed else ():
                entry = as_mapping(one)
                found.append((str(entry.get("HostIp") or "0.0.0.0"), int(str(entry.get("HostPort") or 0)), int(port), protocol or "tcp"))  # noqa: S104
        return found

    @property
    def is_live(self) -> bool:
        return self.status in ("running", "paused", "restarting")


def as_mapping(value: object) -> dict[str, object]:
    return {str(key): one for key, one in value.items()} if isinstance(value, dict) else {}


def texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def default_host_config(asked: Mapping[str, object]) -> Json:
    """What a daemon fills in by itself (moby daemon/create.go, daemon_unix.go)."""
    host: Json = {
        "Binds": None,
        "NetworkMode": "default",
        "PortBindings": {},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "Privileged": False,
        "ShmSize": 67_108_864,
        "IpcMode": "private",
        "PidMode": "",
        "UTSMode": "",
        "UsernsMode": "",
        "CapAdd": None,
        "SecurityOpt": None,
        "GroupAdd": None,
        "Memory": 0,
        "NanoCpus": 0,
        "DeviceRequests": None,
        "Devices": [],
        "LogConfig": {"Type": "json-file", "Config": {}},
    }
    host.update({key: value for key, value in asked.items() if value is not None})
    if not host["NetworkMode"]:
        host["NetworkMode"] = "default"
    if not host["ShmSize"]:
        host["ShmSize"] = 67_108_864
    return host


def merged_config(asked: Mapping[str, object], image: Image) -> Json:
    """What was asked for with what the image says (moby daemon/commit.go `merge`): an own entrypoint takes the image's command away."""
    config: Json = {
        "Env": None,
        "Cmd": None,
        "Entrypoint": None,
        "Labels": {},
        **{key: value for key, value in asked.items() if key != "HostConfig"},
    }
    given = texts(asked.get("Env"))
    names = {one.partition("=")[0] for one in given}
    config["Env"] = [*given, *(f"{key}={value}" for key, value in image.env.items() if key not in names)]
    if not texts(asked.get("Entrypoint")):
        if not texts(asked.get("Cmd")):
            config["Cmd"] = list(image.command) or None
        if asked.get("Entrypoint") is None:
            config["Entrypoint"] = list(image.entrypoint) or None
    config["Labels"] = {key: str(value) for key, value in as_mapping(asked.get("Labels")).items()}
    return config
