"""What API servers of Kubernetes answer: of Deployments that are containers to gpurec, and of nodes that become an inventory."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import httpcore
import httpx
from drawing import Choices, as_json, changed
from oracle import Surface
from served import Network, answered, loop

from reconciler.containers.cluster import Cluster
from reconciler.containers.kubernetes import KubernetesHost
from reconciler.containers.kubernetes_answers import cannot_start
from reconciler.containers.kubernetes_making import ASKED_NOTE, ClusterNode, deployment_document, labels_of
from reconciler.containers.sent_secrets import SentSecrets
from reconciler.containers.wire import Wire
from reconciler.engines.keys import Keys
from reconciler.fleet import (
    CardSpec,
    ClusterSpec,
    ContainerSpec,
    Healthcheck,
    Mount,
    MountKind,
    NodeSpec,
    PublishedPort,
    SecretRef,
    found_fields,
    looked_for,
    mismatches,
)
from reconciler.hosts import Ran
from reconciler.kubernetes import ClusterAccess, access, inventory_of

T = TypeVar("T")
NODE = NodeSpec("node", "127.0.0.1", gpus=(CardSpec(0), CardSpec(1)))
SPEC = ContainerSpec(
    "lab-box", "local/box:1", "lab", "agent.box@node", env={"A": "1", "KEY": SecretRef("env", "KEY")}, command=("serve", "$HOME"),
    ports=(PublishedPort(80, 8080),), mounts=(Mount("/models", "/models", True, MountKind.BIND),), cards=("0",), cpus=0.5, memory=2**30,
    shm_size=2**26, groups=("44",), healthcheck=Healthcheck(("CMD", "true"), 5.0, 3.0, retries=3),
)  # fmt: skip
OTHER = ContainerSpec("lab-web", "local/web:1", "lab", "agent.web@node")
PLACED = ClusterNode("node", "node", {"0": "nvidia.com/gpu", "1": "nvidia.com/gpu"})
_DEPLOYMENTS = "/apis/apps/v1/namespaces/gpurec/deployments"
_OF_NAMESPACE = "/api/v1/namespaces/gpurec"


def _live(document: dict[str, Any], uid: str, **more: object) -> dict[str, Any]:
    """A document as a server gives it back."""
    made = json.loads(json.dumps(document))
    made["metadata"] |= {"uid": uid, "generation": 2, "creationTimestamp": "2026-01-01T00:00:00Z", **more}
    return dict(made)


MANAGED = [
    {"manager": "gpurec", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
    {
        "manager": "kubectl-edit", "operation": "Update",
        "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"main"}': {".": {}, "f:image": {}}}}}}},
    },
]  # fmt: skip
DEPLOYMENT = _live(deployment_document("lab-box-node", "lab-box", SPEC, PLACED, ()), "uid-1", managedFields=MANAGED)
DEPLOYMENT["spec"]["replicas"] = 1
DEPLOYMENT["spec"]["template"]["spec"]["containers"][0]["env"].append(
    {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "held", "key": "KEY"}}}
)
DEPLOYMENT["status"] = {"conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "no"}]}
STRANGER = {
    "metadata": {"name": "lab-web-node", "uid": "uid-2", "annotations": {"meta.helm.sh/release-name": "web"}},
    "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "web", "image": "local/web:1"}]}}},
}
POD = {
    "metadata": {
        "name": "lab-box-node-1", "uid": "uid-3", "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": DEPLOYMENT["spec"]["template"]["metadata"]["labels"],
    },
    "status": {
        "phase": "Pending", "reason": "Evicted", "message": "low on memory",
        "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "1 Insufficient nvidia.com/gpu."},
            {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:09Z"},
        ],
        "containerStatuses": [{
            "name": "main", "ready": False, "restartCount": 3,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}, "running": {"startedAt": "2026-01-01T00:00:01Z"}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "killed"}},
        }],
    },
}  # fmt: skip
CLUSTER_NODE = {
    "metadata": {
        "name": "node", "uid": "uid-4",
        "labels": {
            "kubernetes.io/hostname": "node", "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB-SHARED", "nvidia.com/gpu.memory": "40960",
            "nvidia.com/gpu.replicas": "2", "nvidia.com/gpu.compute.major": "8", "nvidia.com/gpu.compute.minor": "0",
            "nvidia.com/mig-1g.5gb.memory": "4864", "amd.com/gpu.vram": "64G", "amd.com/gpu.product-name": "MI300X",
        },
    },
    "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": "node"}],
        "capacity": {"nvidia.com/gpu": "4", "nvidia.com/mig-1g.5gb": "2", "amd.com/gpu": "1"}, "allocatable": {"memory": "65536000Ki"},
    },
}  # fmt: skip
EVENT = {"type": "Warning", "reason": "FailedMount", "message": "no such volume", "lastTimestamp": "2026-01-01T00:00:00Z"}
SERVICE = {"metadata": {"name": "lab-box-node", "uid": "uid-5", "labels": labels_of("lab", SPEC.address, "node")}, "spec": {}}


def _list(*items: object) -> dict[str, object]:
    return {"kind": "List", "metadata": {"continue": ""}, "items": [*items]}


ANSWERS: dict[str, object] = {
    "/version": {"gitVersion": "v1.36.3"},
    "/api/v1/nodes/node": CLUSTER_NODE,
    _DEPLOYMENTS: _list(DEPLOYMENT),
    f"{_DEPLOYMENTS}/lab-box-node": DEPLOYMENT,
    f"{_DEPLOYMENTS}/lab-web-node": STRANGER,
    f"{_OF_NAMESPACE}/pods": _list(POD),
    f"{_OF_NAMESPACE}/services": _list(SERVICE),
    f"{_OF_NAMESPACE}/secrets/held": {"metadata": {"name": "held", "uid": "uid-6"}, "data": {"KEY": "eHh4eA=="}},
    f"{_OF_NAMESPACE}/events": _list(EVENT),
}
SPOILT = _DEPLOYMENTS
"""Whose answer holds a text that is JSON itself: the annotation of what was asked for."""


def talk(answers: Callable[[str], bytes], ask: Callable[[KubernetesHost], Coroutine[Any, Any, T]]) -> T:
    async def whole() -> T:
        transport = httpx.AsyncHTTPTransport(verify=False)  # loading authorities takes longer than an input
        transport._pool = httpcore.AsyncConnectionPool(network_backend=Network(answers))
        keys = Keys()
        cluster = Cluster(ClusterSpec("lab", "gpurec"), keys, {})
        cluster.users = 1
        async with httpx.AsyncClient(transport=transport, base_url="http://k") as client:
            cluster._wire = Wire(client, "lab (http://k)", keys)
            cluster._access = ClusterAccess("http://k", "http://k", None, None)
            return await ask(KubernetesHost(cluster, NODE, SentSecrets(keys, {"KEY": "x" * 20})))

    return loop().run_until_complete(whole())


async def look(host: KubernetesHost) -> object:
    wanted = looked_for("lab", (SPEC, OTHER))
    found = await host._observed(wanted)  # below the net that makes a reason of whatever is raised
    told: list[object] = [found, *(found.in_the_way(one) for one in (SPEC, OTHER))]
    told += [(mismatches(SPEC, one), found_fields(SPEC, one)) for one in found.of(SPEC.address)]
    for one in await host._deployments(""):
        pods = await host._pods(one)
        told += [cannot_start(one, pod) for pod in (None, *pods)]
        told += [await host.inspect(one.id, wanted.env[SPEC.address], "lab"), await host.logs(one.id)]
        told += [await host._warnings(pod.metadata.uid) for pod in pods]
    return told


def _answer(asked: str, parts: dict[str, bytes]) -> bytes:
    path, _, query = asked.partition(" ")[2].partition("?")
    if "continue=" in query:  # a list that goes on for ever ends after 200 pages; one more is enough here
        return answered(as_json(_list()))
    if path.endswith("/log"):
        return answered(b"line 1\nline 2\n")
    return answered(parts[path]) if path in parts else answered(b'{"message": "not found"}', 404)


def take_look(data: bytes) -> object:
    """One document changed by value, what its annotation holds too, or made of bytes."""
    choices = Choices(data)
    parts = {path: as_json(document) for path, document in ANSWERS.items()}
    path = choices.of([*ANSWERS])
    document = copy.deepcopy(ANSWERS[path])
    match choices.below(4):
        case 0:
            parts[path] = choices.rest()
        case 1:
            listed: Any = copy.deepcopy(ANSWERS[SPOILT])
            notes = listed["items"][0]["metadata"]["annotations"]
            notes[ASKED_NOTE] = as_json(changed(json.loads(notes[ASKED_NOTE]), choices)).decode()
            parts[SPOILT] = as_json(listed)
        case _:
            parts[path] = as_json(changed(document, choices))
    return talk(lambda asked: _answer(asked, parts), look)


def take_http(data: bytes) -> object:
    """Bytes where HTTP is expected."""
    return talk(lambda asked: data, look)


def take_nodes(data: bytes) -> object:
    """What nodes say, as the inventory that is made of it."""
    found = changed([CLUSTER_NODE, {"metadata": {"name": "bare"}}], Choices(data))
    return inventory_of(one for one in found if isinstance(one, dict)) if isinstance(found, list) else None


def take_kubeconfig(data: bytes) -> object:
    """A kubeconfig, and what the program prints that it names for credentials: none is run."""
    text, _, printed = data.partition(b"\0")

    async def run(*_: object, **__: object) -> Ran:
        return Ran(0, printed, b"")

    with tempfile.TemporaryDirectory(prefix="gpurec-fuzz-") as folder, patch.object(access, "run_bounded", run):
        path = Path(folder, "config")
        path.write_bytes(text)
        found = loop().run_until_complete(access.access_of("", {"KUBECONFIG": str(path)}))
    return found.server, found.token, found.namespace


KUBECONFIG = b"""apiVersion: v1
kind: Config
current-context: lab
contexts: [{name: lab, context: {cluster: lab, user: me, namespace: ml}}]
clusters: [{name: lab, cluster: {server: "https://10.0.0.1:6443"}}]
users:
- name: me
  user: {%s}
"""
USERS = (
    b"token: abc", b"client-certificate-data: QQ==, client-key-data: QQ==", b"tokenFile: token",
    b"exec: {apiVersion: client.authentication.k8s.io/v1, command: x, args: [a, 1], env: [{name: A, value: b}]}",
)  # fmt: skip


def kubeconfig_seeds() -> list[bytes]:
    printed = b'\0{"status": {"token": "abc", "clientCertificateData": "x"}}'
    large = KUBECONFIG.replace(b"name: me", b"name: 0x" + b"f" * 8000) % USERS[0]
    bomb = b"a: &a [1]\n" + b"".join(b"%c: &%c [%s]\n" % (one + 1, one + 1, b", ".join([b"*%c" % one] * 9)) for one in range(97, 117))
    return [*(KUBECONFIG % one + printed for one in USERS), large, bomb + b"current-context: *u\ncontexts: [{name: *u, context: {}}]\n"]


def look_seeds() -> list[bytes]:
    return [
        bytes([path, way, 1, *[place, 7, value] * 3])
        for path in range(len(ANSWERS))
        for way in range(4)
        for place, value in ((3, 9), (40, 2), (90, 12))
    ]


SURFACES = (
    Surface("kubeconfig", take_kubeconfig, kubeconfig_seeds),
    Surface("kubernetes-look", take_look, look_seeds),
    Surface("kubernetes-http", take_http, lambda: [b"", b"HTTP/1.1 200 X\r\n\r\n", *(answered(as_json(one)) for one in ANSWERS.values())]),
    Surface(
        "kubernetes-nodes", take_nodes, lambda: [bytes([1, place, 7, value] * 2) for place in range(0, 40, 3) for value in range(0, 60, 9)]
    ),
)
