"""The rules for a cluster that runs containers, asked of Kubernetes 1.36.3 with its controllers and scheduler, and of kwok 0.8.0."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes_server import ADMIN, RunningCluster
from workload_rules import NAMESPACE, RULES, Ask, Subject, lists_in_pages_are_whole_lists, node_document


@pytest.fixture(scope="module")
def cluster() -> Iterator[RunningCluster]:
    found = RunningCluster()
    try:
        for node in (node_document(), node_document("other", "10.0.0.8", 0)):
            found.run_node(node)
        yield found
    finally:
        print(found.tails())
        found.stop()


@pytest.fixture
def subject(cluster: RunningCluster, tmp_path: Path) -> Subject:
    cluster.empty(NAMESPACE)
    where = cluster.kubeconfig(tmp_path / "kubeconfig", ADMIN, NAMESPACE)
    return Subject(str(where), cluster.url, {"Authorization": f"Bearer {ADMIN}"})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.__name__))
def test_a_real_cluster_keeps_the_rules(rule: Ask, subject: Subject) -> None:
    asyncio.run(rule(subject))


def test_lists_come_page_by_page(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(lists_in_pages_are_whole_lists(subject, monkeypatch))
