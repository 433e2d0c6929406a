"""The rules of `tests/kubernetes` for an API server, and those for workloads that need no pod, asked of kube-apiserver 1.36.3."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_rules import NODES, RULES, Cluster, ClusterRule
from kubernetes_server import ADMIN, READER, STRANGER, ApiServer
from workload_rules import NAMESPACE, OF_OBJECTS, Ask, Subject, node_document


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


@pytest.fixture(scope="module")
def empty_server() -> Iterator[ApiServer]:
    found = ApiServer()
    try:
        for node in (node_document(), node_document("other", "10.0.0.8", 0)):
            found.add(node)
        yield found
    finally:
        found.stop()


@pytest.mark.parametrize("rule", OF_OBJECTS, ids=lambda rule: str(rule.__name__))
def test_a_real_api_server_keeps_the_rules_for_what_is_made_of_a_container(rule: Ask, empty_server: ApiServer, tmp_path: Path) -> None:
    empty_server.empty(NAMESPACE)
    where = empty_server.kubeconfig(tmp_path / "kubeconfig", ADMIN, NAMESPACE)
    asyncio.run(rule(Subject(str(where), empty_server.url, {"Authorization": f"Bearer {ADMIN}"})))
