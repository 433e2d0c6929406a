"""The rules for a cluster that runs containers, asked of Kubernetes 1.36.3 with its controllers and scheduler, and of kwok 0.8.0."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from adoption_rules import RULES as ADOPTION_RULES
from click.testing import CliRunner
from kubernetes_server import ADMIN, RunningCluster
from workload_rules import NAMESPACE, RULES, Ask, Subject, lists_in_pages_are_whole_lists, node_document

from reconciler.cli.main import cli
from reconciler.cli.settings import Settings


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


@pytest.mark.parametrize("rule", [*RULES, *ADOPTION_RULES], ids=lambda rule: str(rule.__name__))
def test_a_real_cluster_keeps_the_rules(rule: Ask, subject: Subject) -> None:
    asyncio.run(rule(subject))


def test_lists_come_page_by_page(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(lists_in_pages_are_whole_lists(subject, monkeypatch))


DESIRED = """version: 1
agents:
  box:
    container:
      image: "local/box:VERSION"
      ports: ["18081:80"]
      env: {API_KEY: env:GPUREC_TEST_KEY}
    config: {pairs: [VERSION]}
"""
HOST = "address: 127.0.0.1, gpus: [{vram: 12GiB}, {vram: 12GiB}], docker: {kubernetes: {context: lab, namespace: gpurec}}"
ENGINE = "{kind: ollama, runtime: container, port: PORT, gpus: [0], container: {image: 'local/box:1'}}"


def test_a_fleet_is_planned_applied_mended_and_taken_away_in_a_real_cluster(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", subject.kubeconfig)
    monkeypatch.setenv("GPUREC_TEST_KEY", "a-secret-that-nobody-keeps")
    for folder in ("inventories", "desired"):
        (tmp_path / folder).mkdir()

    def write(desired: str, engines: str = "{}") -> None:
        (tmp_path / "inventories" / "lab.yaml").write_text(f"all: {{hosts: {{node: {{{HOST}, engines: {engines}}}}}}}\n")
        (tmp_path / "desired" / "lab.yaml").write_text(desired)

    def run(*arguments: str, ends: int = 0) -> str:
        done = CliRunner().invoke(cli, ["-C", str(tmp_path), *arguments], obj=Settings(poll_seconds=0.05))
        assert done.exit_code == ends, done.output
        return " ".join(done.output.split())

    def steps() -> list[str]:
        done = CliRunner().invoke(cli, ["-C", str(tmp_path), "plan", "--format", "json"], obj=Settings(poll_seconds=0.05))
        return [f"{one['action']} {one['address']}" for one in json.loads(done.stdout)["steps"]]

    for version, step in (("1", "create"), ("2", "update")):
        write(DESIRED.replace("VERSION", version))
        assert steps() == [f"{step} agent.box@node"]
        run("apply", "--auto-approve")
        assert steps() == []
    left = asyncio.run(subject.left())
    assert {kind: len(names) for kind, names in left.items()} == {"deployments": 1, "configmaps": 1, "secrets": 1, "services": 1}
    (name,) = left["deployments"]
    asyncio.run(subject.patch(name, {"op": "replace", "path": "/spec/replicas", "value": 0}, manager="kubectl-scale"))
    assert "running → exited" in run("drift", ends=2)
    run("apply", "--auto-approve")
    image = {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "local/box:9"}
    asyncio.run(subject.patch(name, image, manager="kubectl-set"))
    assert "kubectl-set set template.spec.containers[main].image" in run("drift", ends=2)
    run("apply", "--auto-approve")
    assert "No drift" in run("drift")
    engines = ENGINE.replace("PORT", "18091"), ENGINE.replace("PORT", "18092")
    write(DESIRED.replace("VERSION", "2"), f"{{one: {engines[0]}, two: {engines[1]}}}")
    assert "card 0 of node is for engine.node/one" in run("plan")
    write("version: 1\n")
    assert steps() == ["remove agent.box@node"]
    run("apply", "--auto-approve")
    assert asyncio.run(subject.left()) == {}
