"""The answers of a simulated Docker Engine, as JSON documents (Docker Engine API 1.41; moby api/swagger.yaml)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from reconciler.sim.docker.containers import Container, Json, as_mapping
from reconciler.sim.docker.images import Image, Library

NANOS = 1_000_000_000


def stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def listed(container: Container) -> Json:
    """An entry of `GET /containers/json`."""
    published = container.published if container.status == "running" else []
    return {
        "Id": container.id,
        "Names": [f"/{container.name}"],
        "Image": container.config.get("Image"),
        "ImageID": container.image.id,
        "Command": " ".join(container.argv),
        "Created": int(container.created.timestamp()),
        "State": container.status,
        "Status": container.status,
        "Ports": [
            {"IP": address, "PrivatePort": inner, "PublicPort": outer, "Type": protocol} for address, outer, inner, protocol in published
        ],
        "Labels": dict(container.labels),
        "HostConfig": {"NetworkMode": container.network_mode},
        "NetworkSettings": {"Networks": _networks(container)},
        "Mounts": [],
    }


def inspected(container: Container) -> Json:
    """`GET /containers/{id}/json`."""
    state: Json = {
        "Status": container.status,
        "Running": container.status in ("running", "restarting", "paused"),
        "Paused": container.status == "paused",
        "Restarting": container.status == "restarting",
        "OOMKilled": container.oom_killed,
        "Dead": False,
        "Pid": container.pid,
        "ExitCode": container.exit_code,
        "Error": container.error,
        "StartedAt": container.started,
        "FinishedAt": container.finished,
    }
    if container.health is not None:
        state["Health"] = {"Status": container.health, "FailingStreak": container.failing, "Log": []}
    argv = container.argv
    return {
        "Id": container.id,
        "Created": stamp(container.created),
        "Path": argv[0] if argv else "",
        "Args": argv[1:],
        "State": state,
        "Image": container.image.id,
        "Name": f"/{container.name}",
        "RestartCount": container.restarts,
        "Driver": "overlay2",
        "Platform": "linux",
        "HostConfig": container.host,
        "Config": container.config,
        "NetworkSettings": {"Networks": _networks(container), "Ports": _ports(container)},
        "Mounts": [],
    }


def _networks(container: Container) -> Json:
    return {name: {"IPAddress": ""} for name in container.networks}


def _ports(container: Container) -> Json:
    found: dict[str, list[Mapping[str, str]]] = {}
    for address, outer, inner, protocol in container.published if container.status == "running" else ():
        found.setdefault(f"{inner}/{protocol}", []).append({"HostIp": address, "HostPort": str(outer)})
    return dict(found)


def image(found: Image, library: Library) -> Json:
    """`GET /images/{name}/json`."""
    return {
        "Id": found.id,
        "RepoTags": library.tags_of(found),
        "RepoDigests": library.digests_of(found),
        "Config": {
            "Cmd": list(found.command) or None,
            "Entrypoint": list(found.entrypoint) or None,
            "Env": [f"{key}={value}" for key, value in found.env.items()],
        },
        "Size": sum(found.layers),
        "Os": "linux",
        "Architecture": "amd64",
    }


def event(container: Container, action: str, when: datetime) -> Json:
    return {
        "status": action,
        "id": container.id,
        "from": container.config.get("Image"),
        "Type": "container",
        "Action": action,
        "Actor": {"ID": container.id, "Attributes": {**container.labels, "name": container.name, "image": container.config.get("Image")}},
        "scope": "local",
        "time": int(when.timestamp()),
        "timeNano": int(when.timestamp() * NANOS),
    }


def wanted_by(filters: Mapping[str, object], container: Container) -> bool:
    """Whether a container is among those that the filters of a list name."""
    labels = container.labels
    for word in _texts(filters.get("label")):
        key, equals, value = word.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    for key, has in (("status", container.status), ("id", container.id)):
        if (words := _texts(filters.get(key))) and has not in words:
            return False
    names = _texts(filters.get("name"))
    return not names or any(name.removeprefix("^").removeprefix("/").removesuffix("$") in container.name for name in names)


def hears(filters: Mapping[str, object], told: Json) -> bool:
    """Whether an event is among those that the filters of a stream name."""
    words = _texts(filters.get("event"))
    action = str(told["Action"])
    if words and not any(action == word or action.startswith(f"{word}: ") for word in words):
        return False
    kinds, ids = _texts(filters.get("type")), _texts(filters.get("container"))
    if (kinds and told["Type"] not in kinds) or (ids and told["id"] not in ids):
        return False
    attributes = as_mapping(as_mapping(told["Actor"])["Attributes"])
    return all(
        key in attributes and (not equals or attributes[key] == value)
        for key, equals, value in (word.partition("=") for word in _texts(filters.get("label")))
    )


def _texts(value: object) -> list[str]:
    """Filters come as lists, and of old clients as mappings of words to true."""
    if isinstance(value, dict):
        return [str(key) for key in value]
    return [str(one) for one in value] if isinstance(value, list) else []


def framed(lines: Iterable[tuple[int, str]]) -> bytes:
    """A log as the daemon frames it: the stream's number, three zeros, the length (big-endian), the bytes."""
    found = bytearray()
    for stream, text in lines:
        raw = text.encode() + b"\n"
        found += bytes([stream, 0, 0, 0]) + len(raw).to_bytes(4, "big") + raw
    return bytes(found)
