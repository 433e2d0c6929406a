"""What is held of every API server, simulated and real: its nodes as an inventory, page by page, and what it refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reconciler.kubernetes import KubernetesError, access_of, api, inventory_of, list_nodes

A100 = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", "nvidia.com/gpu.memory": "81920", "nvidia.com/gpu.replicas": "2"}


def document(name: str, labels: dict[str, str] | None = None, **capacity: str) -> dict[str, Any]:
    """A node as it is made, with the capacity that its kubelet would report."""
    named = {key.replace("__", "/").replace("nvidia", "nvidia.com"): value for key, value in capacity.items()}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels or {}},
        "status": {
            "capacity": {"memory": "65861516Ki", **named},
            "allocatable": {"memory": "65759116Ki", **named},
            "addresses": [{"type": "InternalIP", "address": "10.0.0.7"}],
        },
    }


NODES = [
    document("a", A100, nvidia__gpu="4"),
    document("b"),
    document("c", A100, **{"nvidia__mig-1g.10gb": "3"}),
    document("d"),
    document("e"),
]
"""What a subject has."""


@dataclass(frozen=True)
class Cluster:
    """A server that has NODES. `cluster` and `user` are entries of a kubeconfig: `user` may list nodes, `stranger` is known and may not."""

    folder: Path
    cluster: dict[str, Any]
    user: dict[str, Any]
    stranger: dict[str, Any]

    def nodes(self, user: dict[str, Any] | None = None) -> Sequence[Any]:
        path = self.folder / "kubeconfig"
        parts = {"clusters": ("cluster", self.cluster), "users": ("user", self.user if user is None else user)}
        config: dict[str, Any] = {kind: [{"name": "x", word: body}] for kind, (word, body) in parts.items()}
        config["contexts"] = [{"name": "lab", "context": {"cluster": "x", "user": "x"}}]
        path.write_text(json.dumps(config))

        async def ask() -> Sequence[Any]:
            return await list_nodes(await access_of("lab", {"KUBECONFIG": str(path)}))

        return asyncio.run(ask())


ClusterRule = Callable[[Cluster, pytest.MonkeyPatch], None]
RULES: list[ClusterRule] = []


def rule(found: ClusterRule) -> ClusterRule:
    RULES.append(found)
    return found


@rule
def its_nodes_are_hosts_with_their_cards(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    listing: Any = inventory_of(cluster.nodes())
    hosts = listing["_meta"]["hostvars"]
    assert list(hosts) == ["a", "b", "c", "d", "e"]
    assert [(one["name"], one["vram"]) for one in hosts["a"]["gpus"]] == [("NVIDIA A100 SXM4 80GB", "81920MiB")] * 2
    assert [one["name"] for one in hosts["c"]["gpus"]] == ["NVIDIA A100 SXM4 80GB MIG 1g.10gb"] * 3
    assert (hosts["b"]["gpus"], hosts["b"]["address"], hosts["b"]["ram"]) == ([], "10.0.0.7", "64217MiB")
    assert (listing["kubernetes_mig"]["hosts"], listing["kubernetes_gpu"]["hosts"]) == (["c"], ["a", "c"])


@rule
def a_list_in_pages_is_the_whole_list(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [one["metadata"]["name"] for one in cluster.nodes()]
    monkeypatch.setattr(api, "PAGE", 2)
    assert [one["metadata"]["name"] for one in cluster.nodes()] == whole


@rule
def whoever_may_not_list_nodes_is_told_in_the_words_of_the_server(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KubernetesError, match=r'answered 403: nodes is forbidden: User "stranger" cannot list resource "nodes"'):
        cluster.nodes(cluster.stranger)


@rule
def a_token_that_nobody_has_is_told(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KubernetesError, match=r"answered 401: Unauthorized"):
        cluster.nodes({"token": "hush"})
