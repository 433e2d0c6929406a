"""A container as it is wanted, as the objects of a cluster that stand for it: a Deployment, and what it is made of. Pure: secrets come in
as they were read.

Kubernetes API: `apps/v1` Deployment, `v1` ConfigMap, Secret and Service. A label's value has 63 characters of few kinds, so what gpurec
must find again is in annotations, and labels only select.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.containers.making import NO_CARD
from reconciler.fleet import FLEET_LABEL, HOST_NETWORK, ContainerSpec, Healthcheck, Mount, MountKind, SecretRef
from reconciler.fleet.inventory import NodeSpec
from reconciler.value_class import value_class

NODE_LABEL, ID_LABEL, WORKLOAD_LABEL = "gpurec.node", "gpurec.id", "gpurec.workload"
"""The node that a workload is for; what all objects of one address have in common; what only the pods of one Deployment have."""
NAME_NOTE, SERVICE_NOTE, ASKED_NOTE = "gpurec.name", "gpurec.service", "gpurec.asked"
"""What gpurec calls a workload (a Deployment cannot be renamed), the Service that leads to it, and what of its specification a cluster
has no other place for."""
HOSTNAME = "kubernetes.io/hostname"
CONTAINER = "main"
NVIDIA = "nvidia.com/gpu"
SHM = "/dev/shm"  # noqa: S108 (where a container has its shared memory, by which shm_size is meant)
ALWAYS = frozenset({"always", "unless-stopped"})
_MOST_NAME = 63
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_NUMBER = re.compile(r"[0-9]{1,10}")
Document = dict[str, Any]


@value_class
class ClusterNode:
    """A node of the cluster: its name, the value of its label `kubernetes.io/hostname`, and what the cluster counts each declared card
    as, by the names of the card."""

    name: str
    hostname: str
    resources: Mapping[str, str]

    def resource(self, card: str) -> str:
        return self.resources.get(card, NVIDIA)


@value_class
class Stored:
    """A ConfigMap or Secret, which never changes: what is in it has a name of its own."""

    kind: str
    name: str
    body: Document

    @property
    def path(self) -> str:
        return f"{self.kind.lower()}s"


def resources_of(node: NodeSpec) -> Mapping[str, str]:
    """What a cluster counts each declared card of a node as, by its index and by its UUID."""
    found: dict[str, str] = {}
    for card in node.gpus or ():
        for mark in (str(card.index), card.uuid):
            if mark is not None:
                found[mark] = card.resource or NVIDIA
    return found


def object_name(name: str, hostname: str) -> str:
    """What the Deployment and the Service of a container are called: all nodes share one namespace, so the node is in it. What had to be
    cut or written otherwise has a hash behind it."""
    wanted = f"{name}-{hostname}"
    plain = re.sub(r"[^a-z0-9-]+", "-", wanted.lower()).strip("-")
    plain = plain if plain[:1].isalpha() else f"x-{plain}"
    if plain == wanted and len(plain) <= _MOST_NAME - 9:
        return plain
    return f"{plain[: _MOST_NAME - 18].rstrip('-')}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"


def label_value(text: str) -> str:
    """A text as the value of a label: itself where it can be one."""
    return text if _LABEL.fullmatch(text) else f"x-{hashlib.sha256(text.encode()).hexdigest()[:40]}"


def labels_of(fleet: str, address: str, hostname: str) -> Mapping[str, str]:
    """What all objects of one address bear."""
    name = hashlib.sha256(f"{fleet}\0{address}".encode()).hexdigest()[:40]
    managed = {"app.kubernetes.io/managed-by": "gpurec"}
    return {**managed, FLEET_LABEL: label_value(fleet), NODE_LABEL: label_value(hostname), ID_LABEL: name}


def escaped(text: str) -> str:
    """A text in which the kubelet expands nothing: `$(NAME)` in variables, commands, arguments and the commands of probes (kubernetes,
    `expansion.Expand`)."""
    return text.replace("$", "$$")


def unescaped(text: str) -> str:
    """What the kubelet makes of a text without references."""
    return text.replace("$$", "$")


def refusal_of(spec: ContainerSpec) -> tuple[str, str] | None:
    """What of a container no Deployment can be, with what to do instead; None where there is nothing."""
    if spec.restart not in ALWAYS:
        return f"a Deployment starts its pod again whenever it ends: it has no `restart: {spec.restart}`", "write restart: always"
    if spec.devices:
        what = f"a cluster gives no device files ({', '.join(spec.devices)}) to pods"
        return what, "of AMD's cards in a cluster gpurec only knows the inventory: let somebody else start that engine (runtime: external)"
    if other := [name for name in spec.networks if name != HOST_NETWORK]:
        return f"a cluster has one network for its pods, and none called {other[0]}", "take `networks` out, or write networks: [host]"
    ports = Counter((one.container, one.protocol) for one in spec.published)
    if twice := [port for (port, _), count in ports.items() if count > 1]:
        return f"a pod publishes its port {twice[0]} at one port of its node, not at {ports.most_common(1)[0][1]}", "keep one of them"
    if named := [group for group in spec.groups if not _NUMBER.fullmatch(group)]:
        return f"a pod's further groups are numbers, not {named[0]!r}", "write the number: getent group NAME on the node"
    return None


def stored_objects(
    spec: ContainerSpec,
    env: Mapping[str, str],
    files: Mapping[str, tuple[bytes, int]],
    login: Mapping[str, str] | None,
    hostname: str,
    salt: str,
) -> tuple[Stored, ...]:
    """The ConfigMap of the files of a container, the Secret of what it has by reference, and that of its registry's login (`server`,
    `user`, `password`); each only where there is something in it. `salt` is random: who may read a Deployment and no Secret would else
    learn from the name of one whether a guess of what is in it is right."""
    secret = {f"env.{name}": env[name].encode() for name, value in spec.env.items() if isinstance(value, SecretRef)}
    plain: dict[str, bytes] = {}
    for number, one in enumerate(spec.files):
        (secret if isinstance(one.content, SecretRef) else plain)[f"file.{number}"] = files[one.path][0]
    found = []
    if plain:
        found.append(_stored(spec, hostname, "ConfigMap", "", {"data": {key: value.decode() for key, value in plain.items()}}))
    if secret:
        data = {key: base64.b64encode(value).decode() for key, value in secret.items()}
        found.append(_stored(spec, hostname, "Secret", "Opaque", {"data": data}, salt))
    if login is not None:
        config = {"auths": {login["server"]: {"username": login["user"], "password": login["password"]}}}
        data = {".dockerconfigjson": base64.b64encode(json.dumps(config).encode()).decode()}
        found.append(_stored(spec, hostname, "Secret", "kubernetes.io/dockerconfigjson", {"data": data}, salt))
    return tuple(found)


def _stored(spec: ContainerSpec, hostname: str, kind: str, of_type: str, data: Document, salt: str = "") -> Stored:
    told = json.dumps([spec.fleet, spec.address, kind, of_type, data, salt], sort_keys=True)
    name = f"gpurec-{hashlib.sha256(told.encode()).hexdigest()[:40]}"
    body: Document = {"apiVersion": "v1", "kind": kind, "metadata": _metadata(name, spec, hostname), "immutable": True, **data}
    return Stored(kind, name, body | ({"type": of_type} if of_type else {}))


def _metadata(name: str, spec: ContainerSpec, hostname: str) -> Document:
    return {"name": name, "labels": dict(labels_of(spec.fleet, spec.address, hostname)), "annotations": dict(spec.all_labels)}


def service_document(name: str, spec: ContainerSpec, hostname: str) -> Document:
    """The Service by which other pods reach what a container publishes, whichever of its Deployments runs."""
    labels = labels_of(spec.fleet, spec.address, hostname)
    ports = [
        {"name": f"{one.protocol}-{one.host}", "port": one.host, "targetPort": one.container, "protocol": one.protocol.upper()}
        for one in spec.published
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(name, spec, hostname),
        "spec": {"selector": {ID_LABEL: labels[ID_LABEL]}, "ports": ports},
    }


def deployment_document(
    name: str, called: str, spec: ContainerSpec, node: ClusterNode, stored: Sequence[Stored], *, pull_always: bool = False
) -> Document:
    """The Deployment of a container, without a pod yet. `called` is what gpurec calls it for now."""
    labels = labels_of(spec.fleet, spec.address, node.hostname)
    pod = {**labels, WORKLOAD_LABEL: name}
    metadata = _metadata(name, spec, node.hostname)
    metadata["annotations"] |= {NAME_NOTE: called, ASKED_NOTE: asked_of(spec)}
    if spec.published:
        metadata["annotations"][SERVICE_NOTE] = object_name(spec.name, node.hostname)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 0,
            "revisionHistoryLimit": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {WORKLOAD_LABEL: name}},
            "template": {"metadata": {"labels": pod}, "spec": _pod(spec, node, stored, pull_always)},
        },
    }


def asked_of(spec: ContainerSpec) -> str:
    """What is asked of a container and told otherwise by a cluster, as a text of its annotation: which cards, not how many."""
    check = spec.healthcheck
    health = (
        {"test": check.test, "times": [check.interval, check.timeout, check.start_period, check.start_interval], "retries": check.retries}
        if check is not None
        else None
    )
    return json.dumps({"restart": spec.restart, "cards": list(spec.cards), "health": health}, sort_keys=True)


def _pod(spec: ContainerSpec, node: ClusterNode, stored: Sequence[Stored], pull_always: bool) -> Document:
    volumes, mounts = _volumes(spec, stored)
    secret = next((one.name for one in stored if one.body.get("type") == "Opaque"), "")
    login = [one.name for one in stored if one.body.get("type") == "kubernetes.io/dockerconfigjson"]
    container: Document = {
        "name": CONTAINER,
        "image": spec.image,
        "imagePullPolicy": "Always" if pull_always else "IfNotPresent",
        "env": _env(spec, secret),
        "ports": [_port(one.container, one.host, one.address, one.protocol) for one in spec.published],
        "volumeMounts": mounts,
        "resources": {"limits": limits_of(spec, node)},
    }
    if spec.entrypoint is not None:
        container["command"] = [escaped(word) for word in spec.entrypoint]
    if words := spec.whole_command(()):
        container["args"] = [escaped(word) for word in words]
    if spec.privileged:
        container["securityContext"] = {"privileged": True}
    if (probe := probe_of(spec.healthcheck)) is not None:
        container["readinessProbe"] = probe
    pod: Document = {
        "nodeSelector": {HOSTNAME: node.hostname},
        "tolerations": [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in sorted({NVIDIA, *_cards(spec, node)})],
        "automountServiceAccountToken": False,  # a workload is given nothing of the cluster's
        "enableServiceLinks": False,  # a Service called `ollama` would set OLLAMA_PORT
        "containers": [container],
        "volumes": volumes,
    }
    if spec.on_host_network:
        pod |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
    if spec.groups:
        pod["securityContext"] = {"supplementalGroups": [int(one) for one in spec.groups]}
    if spec.stop_timeout is not None:
        pod["terminationGracePeriodSeconds"] = math.ceil(spec.stop_timeout)
    if login:
        pod["imagePullSecrets"] = [{"name": name} for name in login]
    return pod


def _cards(spec: ContainerSpec, node: ClusterNode) -> Mapping[str, int]:
    """How many cards it gets, by what the cluster counts them as."""
    return Counter(node.resource(card) for card in spec.cards)


def limits_of(spec: ContainerSpec, node: ClusterNode) -> Document:
    """Cards are limits: a request for one without a limit is refused by the API server."""
    found: Document = {resource: str(count) for resource, count in sorted(_cards(spec, node).items())}
    if spec.cpus:
        found["cpu"] = f"{round(spec.cpus * 1000)}m"
    if spec.memory:
        found["memory"] = str(spec.memory)
    return found


def _env(spec: ContainerSpec, secret: str) -> list[Document]:
    found: list[Document] = [] if spec.cards or NO_CARD[0] in spec.env else [{"name": NO_CARD[0], "value": NO_CARD[1]}]
    for name, value in sorted(spec.env.items()):
        if isinstance(value, SecretRef):
            found.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": f"env.{name}"}}})
        else:
            found.append({"name": name, "value": escaped(value)})
    return found


def _port(container: int, host: int, address: str, protocol: str) -> Document:
    port: Document = {"containerPort": container, "hostPort": host, "protocol": protocol.upper()}
    return port if address in ("", "0.0.0.0", "::") else {**port, "hostIP": address}  # noqa: S104


def probe_of(check: Healthcheck | None) -> Document | None:
    """Whether it is ready: its own health check, in whole seconds. What does not pass is not started again, as Docker has it."""
    if check is None or check.test[:1] == ("NONE",):
        return None
    words = [*(("sh", "-c") if check.test[0] == "CMD-SHELL" else ()), *check.test[1:]]
    return {
        "exec": {"command": [escaped(word) for word in words]},
        "periodSeconds": max(1, math.ceil(check.interval or 30.0)),
        "timeoutSeconds": max(1, math.ceil(check.timeout or 30.0)),
        "failureThreshold": check.retries or 3,
    }


def _volumes(spec: ContainerSpec, stored: Sequence[Stored]) -> tuple[list[Document], list[Document]]:
    volumes: list[Document] = []
    mounts: list[Document] = []
    for number, mount in enumerate(spec.mounts):
        name = f"mount-{number}"
        volumes.append({"name": name, **_volume(mount)})
        mounts.append({"name": name, "mountPath": mount.target} | ({"readOnly": True} if mount.read_only else {}))
    if spec.shm_size is not None:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": str(spec.shm_size)}})
        mounts.append({"name": "shm", "mountPath": SHM})
    for kind, word, source in (("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")):
        held = next((one for one in stored if one.kind == kind and one.body.get("type") in (None, "Opaque")), None)
        keys = {f"file.{number}": one for number, one in enumerate(spec.files) if isinstance(one.content, SecretRef) == (kind == "Secret")}
        if held is None or not keys:
            continue
        items = [{"key": key, "path": key, "mode": one.mode} for key, one in keys.items()]
        volumes.append({"name": word.lower(), word: {source: held.name, "items": items}})
        mounts += [{"name": word.lower(), "mountPath": one.path, "subPath": key, "readOnly": True} for key, one in keys.items()]
    return volumes, mounts


def _volume(mount: Mount) -> Document:
    if mount.kind is MountKind.TMPFS:
        return {"emptyDir": {"medium": "Memory"}}
    if mount.kind is MountKind.BIND:
        return {"hostPath": {"path": mount.source}}
    return {"persistentVolumeClaim": {"claimName": mount.source}}
