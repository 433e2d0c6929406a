"""Deployment C: one application over NVIDIA, Apple and CPU machines; its operators' own numbers."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from deployment_lab import Deployment, deployed
from ruamel.yaml import YAML


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """From empty machines, applied once for all tests, each of which leaves the machines as they were."""
    root = tmp_path_factory.mktemp("eleanor")
    with deployed("eleanor", root, {}) as found:
        inventory = root / "inventories" / "eleanor.yaml"
        text = inventory.read_text()
        assert text.count("/etc/eleanor/") == 1
        inventory.write_text(text.replace("/etc/eleanor/", f"{root}/gpu-"))
        plan = found.plan()
        assert (plan["summary"]["pull"], plan["summary"]["load"], plan["summary"]["create"], plan["summary"]["unplaced"]) == (7, 7, 4, 0)
        found.run("apply", "--auto-approve")
        assert found.run("plan").startswith("No changes.")
        yield found


@pytest.fixture
def eleanor(once: Deployment) -> Iterator[Deployment]:
    yield once
    once.declare()


def settings(of: Deployment, node: str) -> dict:
    return YAML(typ="safe", pure=True).load((of.root / f"gpu-{node}.yaml").read_text())


def test_the_settings_of_the_application_follow_from_the_card_that_was_found(eleanor: Deployment) -> None:
    keys = ("device", "fallback", "memory_limit_gb", "batch_size", "max_batch_size", "streams", "gpu_layers", "utilization")
    assert {node: tuple(settings(eleanor, node)[key] for key in keys) for node in ("desk", "mac", "server")} == {
        "desk": ("cuda", "cpu", 22, 16, 32, 8, -1, 0.9),
        "mac": ("mps", "cpu", 12, 4, 8, 2, 32, 0.7),
        "server": ("cuda", "cpu", 75, 32, 64, 16, -1, 0.9),
    }
    assert (settings(eleanor, "server")["devices"], settings(eleanor, "server")["data_parallel"]) == ([0, 1, 2, 3], True)
    assert (settings(eleanor, "server")["bfloat16"], settings(eleanor, "desk")["precision"]) == (True, "fp16")
    assert (settings(eleanor, "laptop")["device"], settings(eleanor, "laptop")["fallback"]) == ("cpu", "none")


def test_each_machine_has_the_model_in_the_best_form_that_it_holds_and_each_card_of_a_server_has_one(eleanor: Deployment) -> None:
    there = {
        node: [one["name"] for one in httpx.get(f"http://127.0.0.1:{engine.port}/api/ps").json()["models"]]
        for node, engine in eleanor.fleet.engines.items()
    }
    assert there == {
        "desk/ollama": ["assistant:8b-fp16"],
        **{f"server/gpu{card}": ["assistant:8b-fp16"] for card in range(4)},
        "mac/ollama": ["assistant:8b-q8_0"],
        "laptop/ollama": ["assistant:8b-q4_0"],
    }


def test_a_cpu_that_nobody_asked_for_is_told_and_never_taken(eleanor: Deployment) -> None:
    eleanor.edit("residency: cpu, ", "")
    plan = eleanor.plan()
    (lacking,) = plan["unplaced"]
    assert (lacking["model"], [one["reason"] for one in lacking["candidates"]]) == ("assistant-cpu", ["no_card"])


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('compute_capability: ">=7.0"', 'compute_capability: ">=9.0"', "compute_capability"),
        ('driver: ">=525"', 'driver: ">=560"', "driver"),
        ("vram: 6GB}", "vram: 90GB}", "card_too_small"),
    ],
)
def test_what_a_card_lacks_is_named(eleanor: Deployment, old: str, new: str, reason: str) -> None:
    eleanor.edit(old, new)
    eleanor.edit("each: gpu", "replicas: 1")
    (lacking,) = eleanor.plan()["unplaced"]
    assert {one["reason"] for one in lacking["candidates"]} == {reason}


def test_the_diagnosis_names_every_card_with_its_driver_and_what_it_computes_in(eleanor: Deployment) -> None:
    nodes = eleanor.document("facts")["facts"]["nodes"]
    cards = {f"{node}/{card['index']}": card for node, one in nodes.items() for card in one["cards"] or ()}
    assert sorted(cards) == ["desk/0", "mac/0", *(f"server/{card}" for card in range(4))]
    assert [cards[at]["float16"] for at in ("desk/0", "server/0")] == [True, True]
    assert cards["mac/0"]["unified"] is True
    assert [cards[at]["driver"] for at in ("desk/0", "server/3")] == [[550, 54]] * 2
    assert "server  4 cards  driver 550.54  float16, bfloat16" in eleanor.run("facts")
    assert "Nothing is wrong with 4 nodes and 7 engines" in eleanor.run("doctor")
