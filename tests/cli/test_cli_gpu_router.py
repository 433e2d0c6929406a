"""A small mixed cluster, with its operators' own numbers: a card of 4096 MiB, a node without a card, a card of 8192 MiB."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import POLL
from click.testing import CliRunner

from reconciler.cli.main import cli
from reconciler.cli.settings import Settings
from reconciler.sim import SimFleet, builtin_fleet, running

ROOT = Path(__file__).parent.parent.parent
MIB = 2**20
CHANGING = {"/api/generate", "/api/embed", "/api/chat", "/api/pull", "/api/create", "/api/delete"}


class Cluster:
    def __init__(self, fleet: SimFleet, root: Path) -> None:
        self.fleet, self.root = fleet, root
        for folder in ("inventories", "desired"):
            (root / folder).mkdir()
        inventory = (ROOT / "inventories" / "gpu-router.yaml").read_text()
        for port, node in ((21434, "small"), (21435, "plain"), (21436, "large")):
            inventory = inventory.replace(f"127.0.0.1:{port}", f"127.0.0.1:{fleet.engines[f'{node}/ollama'].port}")
        (root / "inventories" / "gpu-router.yaml").write_text(inventory)
        shutil.copytree(ROOT / "desired" / "gpu-router", root / "desired" / "gpu-router")

    def want(self, text: str) -> None:
        shutil.rmtree(self.root / "desired" / "gpu-router", ignore_errors=True)
        (self.root / "desired" / "gpu-router.yaml").write_text(text)

    def run(self, *arguments: str) -> str:
        done = CliRunner().invoke(cli, ["-C", str(self.root), *arguments], obj=Settings(poll_seconds=POLL))
        assert done.exit_code in (0, 2, 3), done.output
        return done.stdout

    def plan(self) -> dict:
        return json.loads(self.run("plan", "--format", "json"))

    def changes(self) -> list[str]:
        return [r.path for engine in self.fleet.engines.values() for r in engine.requests if r.path in CHANGING]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running(builtin_fleet("gpu-router").on_free_ports().with_time_scale(0)) as fleet:
        yield Cluster(fleet, tmp_path)


def card(plan: dict, node: str) -> dict:
    return next(entry for entry in plan["gpus"] if entry["node"] == node)


ON_SMALL = """
version: 1
models:
  mxbai-embed-large: {on: small, vram: 705MiB, priority: 9}
"""


def test_4096_mib_have_3276_usable_and_2571_free_with_the_embedder_resident(cluster: Cluster) -> None:
    cluster.want(ON_SMALL)
    assert card(cluster.plan(), "small")["usable_bytes"] // MIB == 3276
    cluster.run("apply", "--auto-approve")
    there = card(cluster.plan(), "small")
    assert there["before_bytes"] == 705 * MIB
    assert (there["usable_bytes"] - there["before_bytes"]) // MIB == 2571


def test_then_a_model_of_1900_fits_and_one_of_4700_does_not(cluster: Cluster) -> None:
    cluster.want(ON_SMALL)
    cluster.run("apply", "--auto-approve")
    cluster.want(ON_SMALL + "  llama3.2:3b: {on: small, vram: 1900MiB}\n  llama3.1:latest: {on: small, vram: 4700MiB}\n")
    plan = cluster.plan()
    assert [step["address"] for step in plan["steps"] if step["action"] == "load"] == ["model.llama3.2:3b@small/ollama"]
    (refused,) = plan["unplaced"]
    assert (refused["model"], refused["candidates"][0]["reason"]) == ("llama3.1:latest", "too_large")
    assert "4700 MiB > 3276 MiB usable" in cluster.run("plan")


def test_the_fleet_as_it_stands_shows_its_operators_numbers(cluster: Cluster) -> None:
    cluster.run("apply", "--auto-approve", "-f", "desired/gpu-router/embeddings.yaml")
    plan = cluster.plan()
    small = card(plan, "small")
    assert (small["usable_bytes"] // MIB, small["before_bytes"] // MIB) == (3276, 705)
    assert (small["usable_bytes"] - small["before_bytes"]) // MIB == 2571
    assert {step["address"] for step in plan["steps"] if step["action"] == "load"} == {
        "model.llama3.2:3b@small/ollama",
        "model.llama3.1:latest@large/ollama",
    }
    assert plan["unplaced"] == []
    assert "705 MiB  →  2605 MiB  of 3276 MiB" in cluster.run("plan")


def test_embeddings_are_wholly_on_a_card_and_the_large_model_goes_where_it_fits(cluster: Cluster) -> None:
    cluster.run("apply", "--auto-approve")
    plan = cluster.plan()
    assert plan["steps"] == []
    assert set(plan["placed"]) >= {"model.llama3.1:latest@large/ollama"}
    for name in ("mxbai-embed-large", "nomic-embed-text"):
        (address,) = [address for address in plan["placed"] if address.startswith(f"model.{name}@")]
        node, _, engine = address.partition("@")[2].partition("/")
        seen = json.loads(cluster.run("facts", "--format", "json"))["facts"]["nodes"][node]["engines"][engine]["residents"]
        (resident,) = [one for one in seen if one["name"] == f"{name}:latest"]
        assert resident["vram_bytes"] == resident["size_bytes"] > 0


def test_what_is_too_large_for_the_small_card_goes_to_the_cpu_where_the_file_allows_it(cluster: Cluster) -> None:
    cluster.want(ON_SMALL + '  llama3.1:latest: {on: "small,plain", residency: gpu_preferred, replicas: 2, vram: 4700MiB}\n')
    cluster.run("apply", "--auto-approve")
    assert "llama3.1:latest" in cluster.fleet.engines["plain/ollama"].residents
    assert set(cluster.fleet.engines["small/ollama"].residents) == {"mxbai-embed-large:latest"}
    (refused,) = cluster.plan()["unplaced"]
    assert [(one["engine"], one["reason"]) for one in refused["candidates"]] == [("small/ollama", "too_large")]


def test_a_second_apply_sends_nothing_and_a_restarted_engine_gets_its_models_back(cluster: Cluster) -> None:
    cluster.run("apply", "--auto-approve")
    assert cluster.changes()
    cluster.fleet.forget_requests()
    cluster.run("apply", "--auto-approve")
    assert cluster.changes() == []

    lost = set(cluster.fleet.engines["large/ollama"].residents)
    assert lost
    cluster.fleet.engines["large/ollama"].restart()
    assert {step["reason"]["code"] for step in cluster.plan()["steps"]} == {"missing"}
    cluster.run("apply", "--auto-approve")
    assert set(cluster.fleet.engines["large/ollama"].residents) == lost


def test_sim_up_serves_a_built_in_fleet_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler.cli.commands import sim_server as simulated

    served = []
    monkeypatch.setattr(simulated, "running", lambda spec: served.append(spec) or (_ for _ in ()).throw(KeyboardInterrupt))
    done = CliRunner().invoke(cli, ["sim", "up", "gpu-router"])
    assert done.exit_code == 130
    assert [node.name for node in served[0].nodes] == ["small", "plain", "large"]
