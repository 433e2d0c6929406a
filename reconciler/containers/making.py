"""A container as it is wanted, as the request that makes it, and its files as an archive. Pure: secrets come in as they were read."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence

from reconciler.containers.answers import CDI_NVIDIA
from reconciler.fleet import ContainerSpec, DaemonFacts, Healthcheck, Mount, MountKind, PublishedPort

NO_CARD = ("NVIDIA_VISIBLE_DEVICES", "void")
"""Keeps an image that asks for all cards from getting them where NVIDIA's runtime is the daemon's default."""
_START_INTERVAL_SINCE = (1, 44)
_NANOS = 1_000_000_000
Body = dict[str, object]


def create_body(spec: ContainerSpec, env: Mapping[str, str], image_command: Sequence[str], daemon: DaemonFacts) -> Body:
    """The body of `POST /containers/create`. `env` is that of `spec` with its secrets read, `image_command` the image's own, to which
    `args` are appended where the spec has no command."""
    body: Body = {
        "Image": spec.image,
        "Labels": dict(spec.all_labels),
        "Env": [f"{name}={value}" for name, value in sorted({**_no_card(spec), **env}.items())],
        "ExposedPorts": {f"{one.container}/{one.protocol}": {} for one in spec.published},
        "HostConfig": _host_config(spec, daemon),
    }
    if spec.command is not None or spec.args:
        body["Cmd"] = list(spec.whole_command(tuple(image_command)))
    if spec.entrypoint is not None:
        body["Entrypoint"] = list(spec.entrypoint)
    if spec.healthcheck is not None:
        body["Healthcheck"] = _healthcheck(spec.healthcheck, daemon)
    if spec.stop_timeout is not None:
        body["StopTimeout"] = round(spec.stop_timeout)
    return body


def _no_card(spec: ContainerSpec) -> Mapping[str, str]:
    return {} if spec.cards else dict([NO_CARD])


def _host_config(spec: ContainerSpec, daemon: DaemonFacts) -> Body:
    name, _, tries = spec.restart.partition(":")
    host: Body = {
        "PortBindings": _bindings(spec.published),
        "RestartPolicy": {"Name": name, "MaximumRetryCount": int(tries or 0)},
        "Binds": [str(one) for one in spec.mounts if one.kind is not MountKind.TMPFS],
        "Tmpfs": {one.target: _tmpfs(one) for one in spec.mounts if one.kind is MountKind.TMPFS},
        "Memory": spec.memory or 0,
        "NanoCpus": round((spec.cpus or 0.0) * _NANOS),
        "DeviceRequests": _device_requests(spec, daemon),
        "Devices": [{"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rwm"} for path in spec.devices],
        "GroupAdd": list(spec.groups),
    }
    if spec.privileged:
        host["Privileged"] = True
    if spec.networks:
        host["NetworkMode"] = spec.networks[0]
    if spec.shm_size is not None:
        host["ShmSize"] = spec.shm_size
    return host


def _tmpfs(mount: Mount) -> str:
    return "ro" if mount.read_only else ""


def _bindings(ports: Sequence[PublishedPort]) -> Mapping[str, Sequence[Mapping[str, str]]]:
    found: dict[str, list[Mapping[str, str]]] = {}
    for one in ports:
        found.setdefault(f"{one.container}/{one.protocol}", []).append({"HostIp": one.address, "HostPort": str(one.host)})
    return found


def _device_requests(spec: ContainerSpec, daemon: DaemonFacts) -> Sequence[Body]:
    """By name through CDI where the daemon lists every card so, else by NVIDIA's own way; never by a count, which is always the first N."""
    if not spec.cards:
        return []
    names = [f"{CDI_NVIDIA}{card}" for card in spec.cards]
    if daemon.cdi_devices is not None and set(names) <= set(daemon.cdi_devices):
        return [{"Driver": "cdi", "DeviceIDs": names}]
    return [{"Driver": "nvidia", "DeviceIDs": list(spec.cards), "Capabilities": [["gpu"]]}]


def _healthcheck(check: Healthcheck, daemon: DaemonFacts) -> Body:
    times = {"Interval": check.interval, "Timeout": check.timeout, "StartPeriod": check.start_period}
    if version_of(daemon.api) >= _START_INTERVAL_SINCE:
        times["StartInterval"] = check.start_interval
    body: Body = {"Test": list(check.test)}
    body |= {name: round(seconds * _NANOS) for name, seconds in times.items() if seconds is not None}
    return body | ({"Retries": check.retries} if check.retries is not None else {})


def version_of(api: str) -> tuple[int, int]:
    """`1.41` as numbers; (0, 0) for what is none."""
    major, dot, minor = api.partition(".")
    return (int(major), int(minor)) if dot and major.isdecimal() and minor.isdecimal() and len(api) < 10 else (0, 0)


def archive(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    """Files (absolute path to content and mode) as a tar to be unpacked at `/`. Folders are not in it: the daemon makes those that are
    missing, and leaves the others as they are."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, (content, mode) in sorted(files.items()):
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return made.getvalue()
