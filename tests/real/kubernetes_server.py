"""A real API server over a real etcd, without anything that runs pods: nodes are made as their kubelets would."""

from __future__ import annotations

import base64
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
