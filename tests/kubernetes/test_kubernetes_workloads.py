"""The rules for a cluster that runs containers, asked of the simulated one; and what only it can be made to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from simulated_cluster import TOKEN, Cluster, simulated
from workload_rules import NAMESPACE, RULES, Ask, Subject, lists_in_pages_are_whole_lists, node_document

from reconciler.containers import kubernetes


def kubeconfig(folder: Path, cluster: dict[str, Any], user: dict[str, Any]) -> str:
    path = folder / "kubeconfig"
    context = {"name": "lab", "context": {"cluster": "x", "user": "x", "namespace": NAMESPACE}}
    parts = {"clusters": [{"name": "x", "cluster": cluster}], "users": [{"name": "x", "user": user}], "contexts": [context]}
    path.write_text(json.dumps(parts))
    return str(path)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with simulated([node_document(), node_document("other", "10.0.0.8", 0)]) as found:
        yield found


@pytest.fixture
def subject(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    monkeypatch.setattr(kubernetes, "_PATIENCE", 0.05)
    monkeypatch.setattr(kubernetes, "_POLL", 0.01)
    where = kubeconfig(tmp_path, {"server": cluster.url}, {"token": TOKEN})
    return Subject(where, cluster.url, {"Authorization": f"Bearer {TOKEN}"})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.__name__))
def test_a_simulated_cluster_keeps_the_rules(rule: Ask, subject: Subject) -> None:
    asyncio.run(rule(subject))


def test_lists_come_page_by_page(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(lists_in_pages_are_whole_lists(subject, monkeypatch))
