"""What the answers of an API server say of a Deployment, as facts of a container. Pure.

A Deployment of ours has one pod or none. It is looked at as the container that it stands for: what was asked for is in its template, how it
goes in its pods. Who else has set something of it is in `metadata.managedFields` (kubernetes.io, "Server-Side Apply").
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from pydantic import ValidationError

from reconciler.containers.kubernetes_making import (
    ALWAYS,
    ASKED_NOTE,
    CONTAINER,
    HOSTNAME,
    SERVICE_NOTE,
    SHM,
    ClusterNode,
    probe_of,
    unescaped,
)
from reconciler.containers.kubernetes_shapes import (
    ASKED,
    Deployment,
    Metadata,
    Pod,
    Port,
    Probe,
    Volume,
    VolumeMount,
)
from reconciler.containers.kubernetes_strangers import unsaid
from reconciler.engines.foreign_text import clean_name, clean_text
from reconciler.fleet import (
    ADDRESS_LABEL,
    FLEET_LABEL,
    HOST_NETWORK,
    SPEC_LABEL,
    CardCount,
    ContainerFacts,
    ContainerHealth,
    ContainerState,
    Healthcheck,
    Mount,
    MountKind,
    Owner,
    PublishedPort,
)

MANAGER, STATE_MANAGER = "gpurec", "gpurec-state"
"""Our field managers: what was declared, and what a run changes of it (whether it runs, what it is called)."""
_MOST_TOLD = 5
_NO_CARD = re.compile(r"Insufficient [a-z0-9.-]+/[A-Za-z]")
"""What a device plugin counts has a domain in its name, unlike `cpu` and `memory`."""
_NO_IMAGE = frozenset({"ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"})
_NOT_TO_COME = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError", *_NO_IMAGE})
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)(n|u|m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
_MOST_AMOUNT = float(1 << 60)
_SCALE = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15} | {
    f"{letter}i": float(1 << shift) for letter, shift in (("K", 10), ("M", 20), ("G", 30), ("T", 40), ("P", 50))
}


def owner_of(metadata: Metadata, fleet: str) -> tuple[Owner, str]:
    """Whose an object is, and how to say it: by our label, else by who manages its fields."""
    other = (metadata.annotations or {}).get(FLEET_LABEL) or (metadata.labels or {}).get(FLEET_LABEL)
    if other is not None:
        return (Owner.OURS if other == fleet else Owner.OTHER_FLEET), f"fleet {clean_name(other)!r}"
    if release := (metadata.annotations or {}).get("meta.helm.sh/release-name"):
        return Owner.FOREIGN, f"helm release {clean_name(release)!r}"
    who = sorted({clean_name(one.manager) for one in metadata.managed_fields or () if one.manager and one.subresource != "status"})
    return Owner.FOREIGN, f"somebody else (Deployment {clean_name(metadata.name)!r}, made by {', '.join(who) or 'an unknown client'})"


def newest(pods: Collection[Pod]) -> Pod | None:
    """The pod that tells how a Deployment goes: one that has not ended and is not on its way out, else the last."""
    staying = [one for one in pods if one.metadata.deletion_timestamp is None and not one.has_ended]
    return max(staying or pods, key=lambda one: one.metadata.creation_timestamp or "", default=None)


def stranger(one: Deployment, name: str, fleet: str) -> ContainerFacts:
    """All that is kept of a Deployment that is not ours and has the name that `name` needs."""
    owner, whose = owner_of(one.metadata, fleet)
    state = ContainerState.RUNNING if one.spec.replicas else ContainerState.EXITED
    return ContainerFacts(one.id, name, clean_name(one.container.image or ""), state, owner, whose)


def read_deployment(
    one: Deployment,
    pods: Collection[Pod],
    services: Collection[str],
    fleet: str,
    kept: Collection[str],
    secrets: Mapping[str, bool | None],
    node: ClusterNode,
) -> ContainerFacts:
    """A Deployment as the container that it stands for. `pods` are its own, `services` the names of our Services; `kept` are the
    variables to keep by value, `secrets` says of others whether they are as they should be, `node` is the node that it is for."""
    owner, whose = owner_of(one.metadata, fleet)
    pod, container, found = one.spec.template.spec, one.container, newest(pods)
    status = found.container if found is not None else None
    restart, asked_cards, asked_health = _asked(one.notes.get(ASKED_NOTE, ""))
    limits = container.resources.limits if container.resources is not None else None
    env = {variable.name: unescaped(variable.value or "") for variable in container.env or () if variable.value_from is None}
    state, exit_code = _state(one, found)
    volumes = {volume.name: volume for volume in pod.volumes or ()}
    mounts = [(mount, volumes.get(mount.name)) for mount in container.volume_mounts or ()]
    shm = next((volume.empty_dir for mount, volume in mounts if mount.mount_path == SHM and volume is not None), None)
    terminated = status.last_state.terminated if status is not None and status.last_state is not None else None
    return ContainerFacts(
        id=one.id,
        name=one.called,
        image=clean_name(container.image or ""),
        state=state,
        owner=owner,
        whose=whose,
        ports=tuple(_published(port) for port in container.ports or () if port.host_port and not pod.host_network),
        address=_note(one, ADDRESS_LABEL),
        spec=_note(one, SPEC_LABEL),
        health=_health(found, container.readiness_probe),
        exit_code=exit_code,
        oom_killed=terminated.reason == "OOMKilled" if terminated is not None else None,
        error=why_not(found) if found is not None else None,
        restarts=status.restart_count if status is not None else None,
        created_at=clean_name(one.metadata.creation_timestamp) if one.metadata.creation_timestamp else None,
        command=tuple(unescaped(word) for word in container.args or ()),
        entrypoint=tuple(unescaped(word) for word in container.command or ()),
        image_command=(),
        image_entrypoint=(),
        env={name: env[name] for name in sorted(kept) if name in env},
        variables=tuple(sorted(clean_name(variable.name) for variable in container.env or ())) if owner is Owner.FOREIGN else (),
        secrets=secrets,
        mounts=tuple(sorted((told for mount, volume in mounts if (told := _mount(mount, volume)) is not None), key=str)),
        network_mode=HOST_NETWORK if pod.host_network else "default",
        networks=(HOST_NETWORK,) if pod.host_network else (),
        restart=restart if restart in ALWAYS else "always",
        shm_size=round(amount(shm.size_limit) or 0) if shm is not None else None,
        cpus=amount((limits or {}).get("cpu")) or 0.0,
        memory=round(amount((limits or {}).get("memory")) or 0),
        cards=_cards(limits or {}, asked_cards, node),
        devices=(),
        groups=tuple(sorted(str(group) for group in (pod.security_context.supplemental_groups if pod.security_context else None) or ())),
        healthcheck=_healthcheck(container.readiness_probe, asked_health),
        labels=dict(sorted(one.notes.items())),
        privileges=("privileged",) if container.security_context is not None and container.security_context.privileged else (),
        settings=tuple(sorted(_settings(one, services, node, owner is Owner.FOREIGN))),
    )


def _asked(text: str) -> tuple[str, tuple[str, ...], Healthcheck | None]:
    """What the annotation says was asked for; nothing where somebody has spoilt it."""
    try:
        found = ASKED.validate_json(text)
    except ValidationError:
        return "always", (), None
    health = found.health
    check = Healthcheck(health.test, *health.times, health.retries) if health is not None else None
    return found.restart, tuple(clean_name(card) for card in found.cards), check


def amount(text: str | None) -> float | None:
    """A quantity as a number (kubernetes.io, "Quantity"); None for what is none, or more than any machine has."""
    found = _AMOUNT.fullmatch(text or "")
    value = float(found[1]) * _SCALE.get(found[2], 1.0) if found else None
    return value if value is not None and value < _MOST_AMOUNT else None


def _cards(limits: Mapping[str, str], asked: tuple[str, ...], node: ClusterNode) -> tuple[str | CardCount, ...] | None:
    """Those that were asked for, where it has as many of each kind; else how many it has, None where that is no number."""
    wanted = {resource: str(count) for resource, count in Counter(node.resource(card) for card in asked).items()}
    given = {name: count for name, count in limits.items() if "/" in name and count != "0"}
    if given == wanted:
        return asked
    counted = {name: amount(count) for name, count in sorted(given.items())}
    if None in counted.values():
        return None
    return tuple(CardCount(int(count), clean_name(name)) for name, count in counted.items() if count is not None)


def _healthcheck(found: Probe | None, asked: Healthcheck | None) -> Healthcheck | None:
    wanted = probe_of(asked)
    if found is None:
        return asked if wanted is None else None
    command = tuple(found.exec.command or ()) if found.exec is not None else ()
    document = {
        "exec": {"command": list(command)},
        "periodSeconds": found.period_seconds,
        "timeoutSeconds": found.timeout_seconds,
        "failureThreshold": found.failure_threshold,
    }
    if document == wanted:
        return asked
    return Healthcheck(
        ("CMD", *(unescaped(word) for word in command)), found.period_seconds, found.timeout_seconds, None, None, found.failure_threshold
    )


def _published(port: Port) -> PublishedPort:
    address = clean_name(port.host_ip or "0.0.0.0")  # noqa: S104
    return PublishedPort(port.container_port or 0, port.host_port or 0, address, clean_name(port.protocol or "TCP").lower())


def _mount(mount: VolumeMount, volume: Volume | None) -> Mount | None:
    """A mount that the files declared, or somebody else added; None for our own of files and of shared memory."""
    target, read_only = mount.mount_path or "", bool(mount.read_only)
    if volume is None or target == SHM or volume.config_map is not None or volume.secret is not None:
        return None
    if volume.persistent_volume_claim is not None:
        return Mount(volume.persistent_volume_claim.claim_name or "", target, read_only)
    if volume.host_path is not None:
        return Mount(volume.host_path.path or "", target, read_only, MountKind.BIND)
    return Mount("", target, read_only, MountKind.TMPFS)


def _state(one: Deployment, pod: Pod | None) -> tuple[ContainerState | None, int | None]:
    """A Deployment that never had a pod was only created: each change of its number is another generation."""
    if not one.spec.replicas:
        return (ContainerState.EXITED if (one.metadata.generation or 0) > 1 else ContainerState.CREATED), None
    status = pod.container if pod is not None else None
    state = status.state if status is not None else None
    if state is None:
        return ContainerState.PENDING, None
    if state.running is not None:
        return ContainerState.RUNNING, None
    ended = state.terminated or (status.last_state.terminated if status is not None and status.last_state is not None else None)
    if ended is not None:
        return ContainerState.RESTARTING, ended.exit_code
    return ContainerState.PENDING, None


def _health(pod: Pod | None, probe: Probe | None) -> ContainerHealth | None:
    """A pod that was ready and is no more is unhealthy; one that never was is starting. Without a pod it is not known."""
    if probe is None:
        return ContainerHealth.NONE
    if pod is None:
        return None
    ready = pod.condition("Ready")
    if ready is None or pod.container is None:
        return ContainerHealth.STARTING
    if ready.status == "True":
        return ContainerHealth.HEALTHY
    running = pod.container.state.running if pod.container.state is not None else None
    was_ready = running is not None and (ready.last_transition_time or "") > (running.started_at or "~")
    return ContainerHealth.UNHEALTHY if was_ready else ContainerHealth.STARTING


def why_not(pod: Pod) -> str | None:
    """Why a pod does not run, in the words of the cluster."""
    scheduled = pod.condition("PodScheduled")
    if scheduled is not None and scheduled.status == "False" and scheduled.message:
        return clean_text(f"{scheduled.reason or 'Pending'}: {scheduled.message}")
    state = pod.container.state if pod.container is not None else None
    told = (state.waiting or state.terminated) if state is not None else None
    if told is not None and (told.reason or told.message):
        return clean_text(": ".join(word for word in (told.reason, told.message) if word))
    if pod.status.reason or pod.status.message:
        return clean_text(": ".join(word for word in (pod.status.reason, pod.status.message) if word))
    return None


def cannot_start(one: Deployment, pod: Pod | None) -> tuple[str, str, str | None] | None:
    """Why no pod of it will run as things are: a word, a sentence, what to do."""
    if pod is None:
        refused = next((each for each in (one.status.conditions if one.status else None) or () if each.type == "ReplicaFailure"), None)
        if refused is not None and refused.status == "True":
            return "refused", clean_text(f"the cluster makes no pod of it: {refused.message or refused.reason or ''}"), None
        return None
    said = why_not(pod)
    scheduled = pod.condition("PodScheduled")
    if said is not None and scheduled is not None and scheduled.status == "False":
        if "free ports" in said:
            return "port_taken", said, "end what has the port, or declare another"
        if _NO_CARD.search(said):
            return "card_unavailable", said, "kubectl describe node says which pods have its cards"
        return "no_room", said, "kubectl describe node says what it has left, and whether it is ready"
    waiting = pod.container.state.waiting if pod.container is not None and pod.container.state is not None else None
    if said is not None and waiting is not None and waiting.reason in _NOT_TO_COME:
        return ("no_such_image" if waiting.reason in _NO_IMAGE else "start_failed"), said, None
    return ("start_failed", said, None) if said is not None and pod.status.phase == "Failed" else None


def _settings(one: Deployment, services: Collection[str], node: ClusterNode, by_hand: bool) -> Iterator[str]:
    """What the files have no key for: that it may run elsewhere, that nobody finds it, and whatever others have set in it; of one that is
    all made `by_hand`, what the files could not make again."""
    pod = one.spec.template.spec
    if (pod.node_selector or {}) != {HOSTNAME: node.hostname}:
        where = ", ".join(f"{clean_name(key)}={clean_name(value)}" for key, value in sorted((pod.node_selector or {}).items()))
        yield f"node selector {where or 'none'}"
    for container in pod.containers:
        if container.name != CONTAINER and not by_hand:
            yield f"container {clean_name(container.name)}"
    if (one.spec.replicas or 0) > 1:
        yield f"{one.spec.replicas} pods"
    wanted = one.notes.get(SERVICE_NOTE)
    if wanted is not None and wanted not in services:
        yield f"no service {clean_name(wanted)}"
    yield from unsaid(one) if by_hand else changed_by_others(one.metadata)


def changed_by_others(metadata: Metadata) -> Iterator[str]:
    """Who else set what of a specification: `kubectl-edit set template.spec.containers[main].image`. How many pods there are is told as the
    state; a template's annotations are what a restart by hand leaves."""
    for entry in metadata.managed_fields or ():
        if entry.manager in (MANAGER, STATE_MANAGER) or entry.subresource == "status":
            continue
        spec = (entry.fields_v1 or {}).get("f:spec")
        paths = [path for path in _leaves(spec, "", 0) if path != "replicas" and not path.startswith("template.metadata.annotations")]
        if paths:
            more = f" and {len(paths) - _MOST_TOLD} more" if len(paths) > _MOST_TOLD else ""
            yield f"{clean_name(entry.manager or 'somebody')} set {', '.join(clean_name(one) for one in paths[:_MOST_TOLD])}{more}"


def _leaves(fields: object, path: str, depth: int) -> list[str]:
    if not isinstance(fields, dict) or not fields or depth > 30:
        return [path] if path else []
    found: list[str] = []
    for key, value in sorted(fields.items()):
        if key == ".":
            continue
        kind, _, name = key.partition(":")
        if kind == "k":
            try:
                name = f"[{','.join(str(part) for part in json.loads(name).values())}]"
            except (ValueError, AttributeError, RecursionError):
                name = "[?]"
            found += _leaves(value, f"{path}{name}", depth + 1)
        else:
            found += _leaves(value, f"{path}.{name}" if path else name, depth + 1)
    return found or ([path] if path else [])


def _note(one: Deployment, name: str) -> str | None:
    value = one.notes.get(name)
    return clean_name(value) if value is not None else None
