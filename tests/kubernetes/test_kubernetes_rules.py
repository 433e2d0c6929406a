"""The rules for an API server, asked of the simulated one. `make real-extra` asks the same of a real one."""

from __future__ import annotations

from pathlib import Path

import pytest
from api_server import STRANGER, TOKEN, serving
from cluster_rules import NODES, RULES, Cluster, ClusterRule


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.__name__))
def test_conformance_of_the_simulated_api_server(rule: ClusterRule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(NODES) as server:
        rule(Cluster(tmp_path, {"server": server.url}, {"token": TOKEN}, {"token": STRANGER}), monkeypatch)
