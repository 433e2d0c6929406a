"""A fleet in a cluster as its user has it: plan, apply, drift, and nothing left. The simulated kubelet starts a simulated Ollama."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from adoption_rules import by_hand
from cli_lab import POLL
from click.testing import CliRunner
from simulated_cluster import TOKEN, Cluster, simulated
from test_kubernetes_workloads import kubeconfig
from workload_rules import DEPLOYMENTS, node_document

from reconciler.cli.main import cli
from reconciler.cli.settings import Settings
from reconciler.containers import cluster as reached
from reconciler.containers import kubernetes
from reconciler.sim import running
from reconciler.sim.read import read_sim_text

SIM = """
time_scale: 0
models: [{{name: gemma, size: 700MiB, weights: 600MiB, kv_per_token: 1024}}]
nodes:
  node:
    ram: 32GiB
    gpus: [{{name: NVIDIA GeForce RTX 3060, vram: 12GiB, uuid: GPU-1}}]
    engines: {{ollama: {{kind: ollama, port: {port}, installed: [gemma]}}}}
"""
SECRET = "a-secret-that-nobody-keeps"
HOST = "address: 127.0.0.1, gpus: [{vram: 12GiB}, {vram: 12GiB, shares: 4}], docker: {kubernetes: {context: lab, namespace: gpurec}}"
DESIRED = """version: 1
models: {gemma: {engine: ollama, vram: 1GiB}}
agents:
  box:
    model: gemma
    container: {image: "local/box:1", networks: [host], env: {LEVEL: info, API_KEY: env:GPUREC_TEST_KEY}}
    config: {pairs: [a, b]}
"""


class Lab:
    def __init__(self, root: Path, cluster: Cluster, port: int) -> None:
        self.root, self.cluster, self.port, self.host = root, cluster, port, HOST
        engine = f'{{runtime: container, port: {port}, gpus: [1], container: {{image: "ollama/ollama:0.34.0", volumes: ["/srv:/root"]}}}}'
        for folder in ("inventories", "desired"):
            (root / folder).mkdir()
        self.write(f"engines: {{ollama: {engine}}}", DESIRED)

    def cards(self, cards: str) -> None:
        self.host = HOST.replace("[{vram: 12GiB}, {vram: 12GiB, shares: 4}]", cards)

    def write(self, engines: str, desired: str) -> None:
        (self.root / "inventories" / "lab.yaml").write_text(f"all: {{hosts: {{node: {{{self.host}, {engines}}}}}}}\n")
        (self.root / "desired" / "lab.yaml").write_text(desired)

    def run(self, *arguments: str, ends: int = 0) -> str:
        done = CliRunner().invoke(cli, ["-C", str(self.root), *arguments], obj=Settings(poll_seconds=POLL))
        assert done.exit_code == ends, done.output
        return done.stdout

    def steps(self) -> list[str]:
        return [f"{one['action']} {one['address']}" for one in json.loads(self.run("plan", "--format", "json"))["steps"]]

    def by_hand(self, path: str, value: object) -> None:
        patch = json.dumps([{"op": "replace", "path": path, "value": value}]).encode()
        where = f"{DEPLOYMENTS}/lab-box-node?fieldManager=kubectl-edit"
        assert self.cluster.answer("PATCH", where, patch, "application/json-patch+json", f"Bearer {TOKEN}")[0] == 200


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    for name in ("_POLL", "_PATIENCE"):
        monkeypatch.setattr(kubernetes, name, 0.01)
    monkeypatch.setattr(reached, "_PAUSES", (0.01, 0.01))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    sim = read_sim_text(SIM.format(port=port), "sim.yaml")
    with simulated([node_document(), node_document("other", "10.0.0.8", 0)]) as cluster, ExitStack() as pods:

        def start_and_stop(ports: frozenset[int]) -> None:
            if port in ports and not runs:
                runs.append(pods.enter_context(running(sim)))
            elif port not in ports and runs:
                runs.clear()
                pods.close()

        runs: list[object] = []
        cluster.on_pods = start_and_stop
        monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path, {"server": cluster.url}, {"token": TOKEN}))
        monkeypatch.setenv("GPUREC_TEST_KEY", SECRET)
        yield Lab(tmp_path, cluster, port)


def test_an_engine_its_model_and_an_agent_are_made_once_and_drift_is_mended(lab: Lab) -> None:
    text = lab.run("plan")
    said = "it asks the cluster for 1 nvidia.com/gpu of node: which of its cards that is, the cluster decides; each is one of 4 shares"
    assert said in " ".join(text.split())
    made = ["create engine.node/ollama", "pull model.gemma@node/ollama", "load model.gemma@node/ollama", "create agent.box@node"]
    assert lab.steps() == made
    lab.run("apply", "--auto-approve")
    sent = len(lab.cluster.sent)
    assert lab.steps() == []
    lab.run("apply", "--auto-approve")
    assert lab.cluster.sent[sent:] == []
    assert "No drift" in lab.run("drift")

    lab.by_hand("/spec/template/spec/containers/0/image", "local/box:2")
    told = lab.run("drift", ends=2)
    assert "local/box:1 → local/box:2" in told
    assert "kubectl-edit set template.spec.containers[main].image" in told
    assert lab.steps() == ["update agent.box@node"]
    lab.run("apply", "--auto-approve")
    assert lab.steps() == []

    assert SECRET.encode() not in (lab.root / "state" / "lab.db").read_bytes()
    assert SECRET not in json.dumps([one for where, one in lab.cluster.objects.items() if "/secrets/" not in where])

    lab.write("engines: {}", "version: 1\n")
    assert set(lab.steps()) == {"remove engine.node/ollama", "remove agent.box@node"}
    lab.run("apply", "--auto-approve")
    assert [where for where in lab.cluster.objects if "/nodes/" not in where] == []


def test_an_engine_with_another_image_ends_before_its_new_one_starts_which_then_has_its_models_again(lab: Lab) -> None:
    lab.run("apply", "--auto-approve")
    inventory = lab.root / "inventories" / "lab.yaml"
    inventory.write_text(inventory.read_text().replace("ollama:0.34.0", "ollama:0.34.1"))
    text = " ".join(lab.run("plan").split())
    assert "its old container ends first: both publish port" in text
    lab.run("apply", "--auto-approve")
    assert lab.steps() == []
    made = [one for where, one in lab.cluster.objects.items() if "/deployments/" in where]
    images = sorted(one["spec"]["template"]["spec"]["containers"][0]["image"] for one in made)
    assert images == ["local/box:1", "ollama/ollama:0.34.1"]
    services = [where.rpartition("/")[2] for where in lab.cluster.objects if "/services/" in where]
    assert services == ["lab-ollama-node"]


def test_what_was_scaled_to_nothing_by_hand_is_only_started_again(lab: Lab) -> None:
    lab.run("apply", "--auto-approve")
    before = lab.cluster.objects[f"{DEPLOYMENTS}/lab-box-node"]["metadata"]["uid"]
    lab.by_hand("/spec/replicas", 0)
    assert "running → exited" in lab.run("drift", ends=2)
    lab.run("apply", "--auto-approve")
    assert lab.cluster.objects[f"{DEPLOYMENTS}/lab-box-node"]["metadata"]["uid"] == before
    assert lab.steps() == []


OWN_CARD = """version: 1
agents: {box: {requires_gpu: true, gpu_requirement: {min_vram_mb: 1000}, container: {image: "local/box:VERSION"}}}
"""


def test_an_agent_with_the_only_card_of_its_node_gives_it_up_before_its_next_one_starts(lab: Lab) -> None:
    """Its card has bytes for both, and the cluster gives it to one pod only."""
    lab.cluster.objects["/api/v1/nodes/node"]["status"]["allocatable"]["nvidia.com/gpu"] = "1"
    lab.cards("[{vram: 12GiB, uuid: GPU-1}]")
    lab.write("engines: {}", OWN_CARD.replace("VERSION", "1"))
    lab.run("apply", "--auto-approve")
    lab.write("engines: {}", OWN_CARD.replace("VERSION", "2"))
    assert "its old container ends first: both have card GPU-1" in " ".join(lab.run("plan").split())
    lab.run("apply", "--auto-approve")
    assert lab.steps() == []


ENGINE = '{{kind: ollama, runtime: container, port: {}, gpus: [{}], container: {{image: "ollama/ollama:0.34.0"}}}}'


def test_a_second_engine_on_a_whole_card_is_told_by_the_plan_and_not_tried(lab: Lab) -> None:
    lab.cards("[{vram: 12GiB}, {vram: 12GiB}]")
    lab.write(f"engines: {{ollama: {ENGINE.format(lab.port, 0)}}}", "version: 1\n")
    lab.run("apply", "--auto-approve")
    lab.write(f"engines: {{ollama: {ENGINE.format(lab.port, 0)}, early: {ENGINE.format(18090, 0)}}}", "version: 1\n")
    text = " ".join(lab.run("plan").split())
    assert (
        "engine.node/early: it cannot be made: its cluster gives a whole card to one pod, and card 0 of node is for engine.node/ollama"
        in text
    )
    assert lab.steps() == [], "the one that is there keeps its card"
    lab.run("plan", "--detailed-exitcode", ends=3)
    lab.write(f"engines: {{ollama: {ENGINE.format(lab.port, 0)}, early: {ENGINE.format(18090, 1)}}}", "version: 1\n")
    assert lab.steps() == ["create engine.node/early"]
    lab.cards("[{vram: 12GiB, shares: 2}, {vram: 12GiB}]")
    lab.write(f"engines: {{ollama: {ENGINE.format(lab.port, 0)}, early: {ENGINE.format(18090, 0)}}}", "version: 1\n")
    assert lab.steps() == ["create engine.node/early"], "a card with two shares is for two"


def test_an_agent_has_no_card_that_an_engine_or_another_agent_has_of_the_cluster(lab: Lab) -> None:
    lab.cards("[{vram: 12GiB, uuid: GPU-1}, {vram: 12GiB, uuid: GPU-2}]")
    agents = OWN_CARD.replace("VERSION", "1").replace("{requires_gpu", "{replicas: 2, requires_gpu")
    lab.write(f"engines: {{ollama: {ENGINE.format(lab.port, 0)}}}", agents)
    assert lab.steps() == ["create engine.node/ollama", "create agent.box@node"]
    text = " ".join(lab.run("plan").split())
    assert "its cluster gives a card to one pod" in text
    lab.run("apply", "--auto-approve", ends=3)
    assert lab.steps() == []
    lab.write(f"engines: {{ollama: {ENGINE.format(lab.port, 0)}, late: {ENGINE.format(18090, 1)}}}", agents)
    assert "card 1 of node is for agent.box@node" in " ".join(lab.run("plan").split())


def test_an_engine_that_somebody_runs_in_the_cluster_becomes_ours_as_it_is(lab: Lab) -> None:
    lab.cards("[{vram: 12GiB}]")
    lab.write(f"engines: {{ollama: {{url: 'http://127.0.0.1:{lab.port}'}}}}", "version: 1\nmodels: {gemma: {engine: ollama, vram: 1GiB}}\n")
    document = json.dumps(by_hand("ollama", lab.port)).encode()
    assert lab.cluster.answer("POST", DEPLOYMENTS, document, "application/json", f"Bearer {TOKEN}")[0] == 200
    lab.run("apply", "--auto-approve")
    assert lab.steps() == []
    sent = len(lab.cluster.sent)
    lab.run("import", "--own", "--out", "own.yaml")
    shutil.move(lab.root / "inventories" / "lab.yaml", lab.root / "first.yaml")
    (lab.root / "inventories" / "lab").mkdir()
    shutil.move(lab.root / "first.yaml", lab.root / "inventories" / "lab" / "first.yaml")
    shutil.move(lab.root / "own.yaml", lab.root / "inventories" / "lab" / "own.yaml")
    text = " ".join(lab.run("plan").split())
    assert "it asks the cluster" not in text, "it has its card already"
    assert lab.steps() == ["adopt engine.node/ollama"]
    lab.run("apply", "--auto-approve")
    assert lab.steps() == []
    assert lab.cluster.sent[sent:] == [], "nothing of it is touched"
    assert "No drift" in lab.run("drift")

    patch = json.dumps([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "local/box:2"}]).encode()
    where = f"{DEPLOYMENTS}/ollama?fieldManager=kubectl-edit"
    assert lab.cluster.answer("PATCH", where, patch, "application/json-patch+json", f"Bearer {TOKEN}")[0] == 200
    assert "local/box:1 → local/box:2" in lab.run("drift", ends=2)
    lab.run("apply", "--auto-approve")
    assert lab.steps() == []
    assert [one.rpartition("/")[2] for one in lab.cluster.objects if "/deployments/" in one] == ["lab-ollama-node"]


WITHOUT_MODEL = """version: 1
agents:
  box:
    container:
      image: "local/box:VERSION"
      ports: ["18081:80"]
      env: {API_KEY: env:GPUREC_TEST_KEY}
      healthcheck: {test: [CMD, "true"]}
    config: {pairs: [VERSION]}
"""


def test_an_apply_that_was_cut_off_after_any_of_its_requests_is_put_right_by_the_next(lab: Lab) -> None:
    """Nothing that changes something gets through after the cut, as when the process is killed: no cleaning up either."""
    lab.write("engines: {}", WITHOUT_MODEL.replace("VERSION", "1"))
    lab.run("apply", "--auto-approve")
    whole = sorted(where.split("/")[-2] for where in lab.cluster.objects if "/nodes/" not in where)
    cut, whole_apply = 0, False
    while not whole_apply:
        lab.write("engines: {}", WITHOUT_MODEL.replace("VERSION", f"2-{cut}"))
        lab.cluster.writes_left = cut
        done = CliRunner().invoke(cli, ["-C", str(lab.root), "apply", "--auto-approve"], obj=Settings(poll_seconds=POLL))
        whole_apply = lab.cluster.writes_left > 0
        assert done.exit_code in ((0,) if whole_apply else (0, 3)), done.output
        lab.cluster.writes_left = None
        lab.run("apply", "--auto-approve")
        assert lab.steps() == []
        assert sorted(where.split("/")[-2] for where in lab.cluster.objects if "/nodes/" not in where) == whole, cut
        cut += 1
    assert cut > 5
