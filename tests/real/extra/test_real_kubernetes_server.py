"""The rules for an API server of `tests/kubernetes`, asked of kube-apiserver 1.36.3 over etcd 3.6.8."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_rules import NODES, RULES, Cluster, ClusterRule
from kubernetes_server import READER, STRANGER, ApiServer


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    found = ApiServer()
    try:
        for node in NODES:
            found.add(node)
        yield found
    finally:
        found.stop()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.__name__))
def test_conformance_of_a_real_api_server(server: ApiServer, rule: ClusterRule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule(Cluster(tmp_path, server.cluster, {"token": READER}, {"token": STRANGER}), monkeypatch)


def test_a_client_certificate_says_who_it_is(server: ApiServer, tmp_path: Path) -> None:
    both = {"client-certificate-data": server.ann.certificate, "client-key-data": server.ann.key}
    user = {key: base64.b64encode(path.read_bytes()).decode() for key, path in both.items()}
    found = Cluster(tmp_path, server.cluster, user, {}).nodes()
    assert [one["metadata"]["name"] for one in found] == ["a", "b", "c", "d", "e"]
