"""A real API server over a real etcd: by itself, with nodes made as their kubelets would, or with all that makes pods of Deployments, where
kwok says of each pod what a kubelet would."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

import httpx
from certificates import Authority
from processes import LOOPBACK, Process, free_port
from provision import located
from waiting import wait_until

ADMIN, READER, STRANGER = "admin-token", "reader-token", "stranger-token"
_ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "gpurec-reads-nodes"},
    "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}],
}
_BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "gpurec-reads-nodes"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "gpurec-reads-nodes"},
    "subjects": [{"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"} for name in ("reader", "ann")],
}


class ApiServer:
    """`cluster` is its entry in a kubeconfig. READER may list nodes, as may whoever has the certificate of `ann`; STRANGER may nothing."""

    def __init__(self) -> None:
        programs = located().kubernetes
        for name in ("etcd", "kube-apiserver"):
            if not (programs / name).exists():
                raise FileNotFoundError(f"{programs / name} is missing; run `python tests/real/provision.py --extra` first")
        self._folder = tempfile.TemporaryDirectory(prefix="gpurec-kubernetes-")
        self.home = Path(self._folder.name)
        self.authority = Authority(self.home)
        self.ann = self.authority.issue("ann")
        self._etcd = self._start_etcd(programs / "etcd")
        self._server = self._start_server(programs / "kube-apiserver")
        self._admin = httpx.Client(base_url=self.url, verify=False, headers={"Authorization": f"Bearer {ADMIN}"}, trust_env=False)
        try:
            wait_until(self._is_ready, 120, "the API server is ready")
            for path, body in (("clusterroles", _ROLE), ("clusterrolebindings", _BINDING)):
                self._send("POST", f"/apis/rbac.authorization.k8s.io/v1/{path}", body)
        except BaseException:
            print(self._server.tail(), self._etcd.tail())
            self.stop()
            raise

    def _start_etcd(self, program: Path) -> Process:
        self.etcd_url, peer = f"http://{LOOPBACK}:{free_port()}", f"http://{LOOPBACK}:{free_port()}"
        client = ("--listen-client-urls", self.etcd_url, "--advertise-client-urls", self.etcd_url)
        peers = ("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}")
        return Process("etcd", [program, "--data-dir", self.home / "etcd", *client, *peers, "--unsafe-no-fsync"], self.home)

    def _start_server(self, program: Path) -> Process:
        port = free_port()
        self.url = f"https://{LOOPBACK}:{port}"
        pair, account = self.authority.issue("apiserver", f"IP:{LOOPBACK}"), self.authority.issue("account")
        tokens = self.home / "tokens.csv"
        tokens.write_text(f"{ADMIN},admin,1,system:masters\n{READER},reader,2\n{STRANGER},stranger,3\n")
        options = {
            "etcd-servers": self.etcd_url,
            "bind-address": LOOPBACK,
            "advertise-address": LOOPBACK,
            "secure-port": port,
            "cert-dir": self.home / "certificates",
            "tls-cert-file": pair.certificate,
            "tls-private-key-file": pair.key,
            "client-ca-file": self.authority.ca,
            "service-account-key-file": account.certificate,
            "service-account-signing-key-file": account.key,
            "service-account-issuer": "https://tests",
            "token-auth-file": tokens,
            "authorization-mode": "RBAC",
            "service-cluster-ip-range": "10.0.0.0/24",
            "disable-admission-plugins": "ServiceAccount",
        }
        return Process("kube-apiserver", [program, *(f"--{name}={value}" for name, value in options.items())], self.home)

    @property
    def cluster(self) -> dict[str, Any]:
        return {"server": self.url, "certificate-authority-data": base64.b64encode(self.authority.ca.read_bytes()).decode()}

    def add(self, node: dict[str, Any]) -> None:
        """Makes a node and reports its status, as its kubelet does."""
        name = node["metadata"]["name"]
        self._send("POST", "/api/v1/nodes", node)
        self._send("PATCH", f"/api/v1/nodes/{name}/status", {"status": node["status"]})

    def kubeconfig(self, path: Path, token: str, namespace: str = "default") -> Path:
        """A kubeconfig with the context `lab`."""
        parts = {"clusters": ("cluster", self.cluster), "users": ("user", {"token": token})}
        config: dict[str, Any] = {kind: [{"name": "x", word: body}] for kind, (word, body) in parts.items()}
        config["contexts"] = [{"name": "lab", "context": {"cluster": "x", "user": "x", "namespace": namespace}}]
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "lab", **config}))
        return path

    def empty(self, namespace: str) -> None:
        """The namespace, with nothing in it."""
        self._admin.post("/api/v1/namespaces", json={"metadata": {"name": namespace}})
        for kind in ("apis/apps/v1", "deployments"), ("api/v1", "services"), ("api/v1", "configmaps"), ("api/v1", "secrets"):
            where = f"/{kind[0]}/namespaces/{namespace}/{kind[1]}"
            for one in self._admin.get(where).json()["items"]:
                if one["metadata"]["name"] != "kube-root-ca.crt":
                    self._admin.request("DELETE", f"{where}/{one['metadata']['name']}", json={"propagationPolicy": "Background"})
        pods = f"/api/v1/namespaces/{namespace}/pods"
        wait_until(lambda: not self._admin.get(pods).json()["items"] or None, 60, "the pods are gone")

    def _send(self, method: str, path: str, body: dict[str, Any]) -> None:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        answer = self._admin.request(method, path, json=body, headers={"Content-Type": kind})
        assert answer.status_code in (200, 201), answer.text

    def _is_ready(self) -> bool | None:
        assert self._server.status is None, self._server.tail()
        try:
            return self._admin.get("/readyz").status_code == 200 or None
        except httpx.HTTPError:
            return None

    def stop(self) -> None:
        self._admin.close()
        self._server.stop()
        self._etcd.stop()
        self._folder.cleanup()


_ALONE = {"leader-elect": "false", "bind-address": LOOPBACK}
_CONTROLLERS = (
    "deployment-controller",
    "replicaset-controller",
    "garbage-collector-controller",
    "node-lifecycle-controller",
    "taint-eviction-controller",
    "namespace-controller",
)


class RunningCluster(ApiServer):
    """An API server with controllers, a scheduler and kwok, which plays the kubelets of nodes with the annotation
    `kwok.x-k8s.io/node: fake` and has their pods run at once. Its images are pulled by nobody."""

    def __init__(self) -> None:
        programs = located().kubernetes
        for name in ("kube-controller-manager", "kube-scheduler", "kwok", "stages.yaml"):
            if not (programs / name).exists():
                raise FileNotFoundError(f"{programs / name} is missing; run `python tests/real/provision.py --extra` first")
        self._parts: list[Process] = []
        super().__init__()
        admin = self.kubeconfig(self.home / "admin.json", ADMIN)
        asked = {"kubeconfig": admin, "authentication-kubeconfig": admin, "authorization-kubeconfig": admin, **_ALONE}
        self._begin(programs / "kube-controller-manager", {**asked, "secure-port": free_port(), "controllers": ",".join(_CONTROLLERS)})
        self._begin(programs / "kube-scheduler", {**asked, "secure-port": free_port()})
        kwok = {
            "kubeconfig": admin,
            "config": programs / "stages.yaml",
            "manage-all-nodes": "false",
            "manage-nodes-with-annotation-selector": "kwok.x-k8s.io/node=fake",
            "cidr": "10.9.0.0/24",
            "node-ip": "10.9.9.9",
            "node-lease-duration-seconds": 40,
            "server-address": f"{LOOPBACK}:{free_port()}",
        }
        self._begin(programs / "kwok", kwok)

    def _begin(self, program: Path, options: dict[str, Any]) -> None:
        self._parts.append(Process(program.name, [program, *(f"--{name}={value}" for name, value in options.items())], self.home))

    def run_node(self, node: dict[str, Any]) -> None:
        """Makes a node and waits until pods may be sent to it."""
        self.add(node)
        name = node["metadata"]["name"]

        def is_ready() -> bool | None:
            found = self._admin.get(f"/api/v1/nodes/{name}").json()
            conditions = {one["type"]: one["status"] for one in found["status"].get("conditions", ())}
            taints = {one["key"] for one in found["spec"].get("taints", ())}
            return (conditions.get("Ready") == "True" and "node.kubernetes.io/not-ready" not in taints) or None

        wait_until(is_ready, 60, f"the node {name} is ready")

    def tails(self) -> str:
        return "\n".join(one.tail() for one in self._parts)

    def stop(self) -> None:
        for one in reversed(self._parts):
            one.stop()
        super().stop()
