"""A container as it is wanted, as the service of a swarm that stands for it. Pure: secrets come in as they were read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.containers.swarm_answers import CARDS_VARIABLE, CONDITIONS, NAME_LABEL, RESTART_LABEL, SHM, SwarmNode
from reconciler.fleet import ContainerSpec, MountKind

_NANOS = 1_000_000_000
Body = dict[str, object]


def service_body(
    spec: ContainerSpec,
    env: Mapping[str, str],
    command: Sequence[str] | None,
    networks: Sequence[Body],
    node: SwarmNode,
    called: str,
) -> dict[str, Any]:
    """The body of `POST /services/create` but its name: no replica yet, on `node` alone. `env` is that of `spec` with its secrets read,
    `command` what goes before `args`, `networks` its attachments, `called` what gpurec calls it."""
    word, _, tries = spec.restart.partition(":")
    cards = {CARDS_VARIABLE: ",".join(spec.cards) or "void"}
    container: Body = {
        "Image": spec.image,
        "Labels": dict(spec.all_labels),
        "Args": [*(command or ()), *spec.args],
        "Env": [f"{key}={value}" for key, value in sorted({**cards, **env}.items())],
        "Mounts": _mounts(spec),
        "Groups": list(spec.groups),
    }
    if spec.entrypoint is not None:
        container["Command"] = list(spec.entrypoint)
    if spec.stop_timeout is not None:
        container["StopGracePeriod"] = round(spec.stop_timeout * _NANOS)
    if spec.healthcheck is not None:
        check = spec.healthcheck
        times = {"Interval": check.interval, "Timeout": check.timeout, "StartPeriod": check.start_period}
        container["Healthcheck"] = {"Test": list(check.test), "Retries": check.retries or 0} | {
            key: round(seconds * _NANOS) for key, seconds in times.items() if seconds is not None
        }
    change = {"Parallelism": 1, "Order": "stop-first", "FailureAction": "rollback"}
    return {
        "Labels": {**spec.all_labels, NAME_LABEL: called, RESTART_LABEL: spec.restart},
        "TaskTemplate": {
            "ContainerSpec": container,
            "Resources": {
                "Limits": {"NanoCPUs": round((spec.cpus or 0.0) * _NANOS), "MemoryBytes": spec.memory or 0},
                "Reservations": {"GenericResources": _reserved(spec.cards, node)},
            },
            "RestartPolicy": {"Condition": CONDITIONS.get(word, "any"), "MaxAttempts": int(tries or 0)},
            "Placement": {"Constraints": [f"node.id=={node.ID}"]},
            "Networks": networks,
        },
        "Mode": {"Replicated": {"Replicas": 0}},
        "UpdateConfig": change,
        "RollbackConfig": {"Parallelism": 1, "Order": "stop-first", "FailureAction": "pause"},
        "EndpointSpec": {
            "Mode": "dnsrr",
            "Ports": [
                {"Protocol": one.protocol, "TargetPort": one.container, "PublishedPort": one.host, "PublishMode": "host"}
                for one in spec.published
            ],
        },
    }


def _mounts(spec: ContainerSpec) -> list[Body]:
    found: list[Body] = []
    for one in spec.mounts:
        entry: Body = {"Type": str(one.kind), "Target": one.target, "ReadOnly": one.read_only}
        found.append(entry if one.kind is MountKind.TMPFS else {**entry, "Source": one.source})
    if spec.shm_size is not None:
        found.append({"Type": "tmpfs", "Target": SHM, "TmpfsOptions": {"SizeBytes": spec.shm_size}})
    return found


def _reserved(cards: Sequence[str], node: SwarmNode) -> list[Body]:
    """As many as there are cards, of the kind under which the node lists them, so that no other service is sent to them. Swarm knows no
    reservation of a certain card: which it is says the variable of NVIDIA's runtime."""
    kinds = {kind for kind, value in node.named_resources if any(card.startswith(value) or value.startswith(card) for card in cards)}
    return [{"DiscreteResourceSpec": {"Kind": kind, "Value": len(cards)}} for kind in sorted(kinds)] if cards else []


def service_name(name: str) -> str:
    """A name that a service may have: no dot, 63 characters."""
    return name.replace(".", "-").replace("_", "-")[:63].strip("-")


def stored_name(address: str, path: str, content: bytes) -> str:
    told = b"\0".join((address.encode(), path.encode(), content))
    return f"gpurec-{hashlib.sha256(told).hexdigest()[:40]}"
