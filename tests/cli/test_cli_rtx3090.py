"""Deployment E: llama.cpp and vLLM side by side on one card of 24 GB; its operators' own numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from cli_lab import serving
from deployment_lab import Deployment, deployed, free_ports

SMALL = ["bi-medix2", "openins-llama3-8b", "tiny-llama-1b"]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """From an empty machine, applied once for all tests, each of which leaves it as it was."""
    ports = dict(zip((28080, 28081, 28084, 28000), free_ports(4), strict=True))
    with deployed("rtx3090", tmp_path_factory.mktemp("rtx3090"), ports) as found:
        plan = found.plan()
        assert (plan["summary"]["create"], plan["summary"]["wait"]) == (4, 3)
        found.run("apply", "--auto-approve")
        assert found.run("plan").startswith("No changes.")
        yield found


@pytest.fixture
def card(once: Deployment) -> Iterator[Deployment]:
    yield once
    once.declare()
    once.run("apply", "--auto-approve", ends=None)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def heat(card: Deployment) -> Iterator[Callable[[int], None]]:
    """Sets the temperature that a dcgm-exporter tells of the card."""
    folder = card.root / "exporter"
    folder.mkdir(exist_ok=True)
    inventory = card.root / "inventories" / "rtx3090.yaml"
    before = inventory.read_text()
    labels = '{gpu="0",UUID="GPU-e3090000-0000-4000-8000-000000000000",modelName="NVIDIA GeForce RTX 3090"}'

    def tells(celsius: int) -> None:
        told = {"GPU_TEMP": celsius, "FB_USED": 9000, "FB_FREE": 24576 - 9000}
        (folder / "metrics").write_text("".join(f"DCGM_FI_DEV_{name}{labels} {value}\n" for name, value in told.items()))

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        probe = f"probe: {{via: dcgm, url: 'http://127.0.0.1:{server.server_port}/metrics'}}"
        inventory.write_text(before.replace("labels: {machine: rtx3090}", probe))
        tells(60)
        yield tells
        server.shutdown()
    inventory.write_text(before)


def test_a_hot_card_starts_no_server_for_a_new_model_and_a_critically_hot_one_none_at_all(
    card: Deployment, heat: Callable[[int], None]
) -> None:
    running = card.fleet.daemons["workstation"]
    card.edit("  bi-medix2:", "  # bi-medix2:")
    card.run("apply", "--auto-approve")
    card.declare()
    heat(82)
    assert "create engine.workstation/medix" in card.run("apply", "--auto-approve", ends=3)
    assert card.document("plan")["summary"]["create"] == 1
    httpx.post(f"http://127.0.0.1:{running.port}/containers/rtx3090-tiny/kill").raise_for_status()
    card.run("apply", "--auto-approve", ends=3)  # what was there is started again
    assert [one["address"] for one in card.document("status")["replicas"] if one["standing"] == "running"] == [
        "model.openins-llama3-8b@workstation/openins",
        "model.tiny-llama-1b@workstation/tiny",
    ]
    heat(87)
    httpx.post(f"http://127.0.0.1:{running.port}/containers/rtx3090-tiny/kill").raise_for_status()
    said = card.run("apply", "--auto-approve", ends=3)
    assert "card workstation/0 is critically hot (87 °C)" in " ".join(said.split())
    heat(83)  # critical until 82, by the hysteresis of 3
    assert "critically hot" in " ".join(card.run("apply", "--auto-approve", ends=3).split())
    heat(70)
    card.run("apply", "--auto-approve")
    assert card.run("plan").startswith("No changes.")


def test_each_llama_cpp_has_its_model_at_its_own_port(card: Deployment) -> None:
    found = {model: card.document("route", model) for model in SMALL}
    assert {model: (one["backend"], one["port"]) for model, one in found.items()} == {
        "tiny-llama-1b": ("llamacpp", card.ports[28080]),
        "bi-medix2": ("llamacpp", card.ports[28081]),
        "openins-llama3-8b": ("llamacpp", card.ports[28084]),
    }
    assert (found["tiny-llama-1b"]["gpu_id"], found["tiny-llama-1b"]["will_exceed_memory"]) == (0, False)
    assert found["bi-medix2"]["estimated_duration_ms"] == 3413


def test_three_gb_of_overhead_are_kept(card: Deployment) -> None:
    (gpu,) = card.plan()["gpus"]
    assert gpu["usable_bytes"] == 24 * 2**30 - 3 * 10**9
    assert gpu["before_bytes"] == sum((2_300_000_000, 6_500_000_000, 7_800_000_000))


def test_batch_work_has_no_place_beside_all_three_and_that_is_no_failure(card: Deployment) -> None:
    plan = card.plan()
    assert [(one["model"], one["best_effort"]) for one in plan["unplaced"]] == [("batch", True)]
    card.run("plan", "--detailed-exitcode", ends=0)


def test_batch_work_comes_when_more_than_ten_gb_are_free_and_leaves_when_they_are_needed(card: Deployment) -> None:
    card.edit("vram: 7.8GB}", "vram: 7.8GB, replicas: 0}")
    card.run("apply", "--auto-approve")
    plan = card.plan()
    assert (plan["steps"], plan["unplaced"]) == ([], [])
    (gpu,) = plan["gpus"]
    assert gpu["before_bytes"] == 2_300_000_000 + 6_500_000_000 + 10_000_000_000
    card.declare()
    card.run("apply", "--auto-approve", ends=None)
    assert [one["model"] for one in card.plan()["unplaced"]] == ["batch"]


def test_an_engine_that_has_no_model_is_not_started_and_nobody_misses_it(card: Deployment) -> None:
    assert "Nothing" not in card.run("doctor"), "of the batch work it says that it has no place"
    assert "4 engines; serial" in card.run("status")
    assert "workstation/batch    vllm" in (found := card.run("facts"))
    assert "is not started: gpurec starts it with the model" in found
    assert "workstation/batch" not in card.run("top", "--once")
    (batch,) = [one for one in card.document("route", "bi-medix2")["candidates"] if one["engine"] == "workstation/batch"]
    assert batch["reason"]["code"] == "not_started"
    assert "needs 9536 MiB > 5883 MiB free" in card.run("check", "batch")
    with serving(card) as client:
        for page in (client.get("/").text, client.get("/card/workstation/0").text):
            assert "does not answer" not in page


def test_its_dashboard_is_rendered(card: Deployment) -> None:
    board = json.loads((card.root / "rendered" / "rtx3090-dashboard.json").read_text())
    titles = {panel["title"] for panel in board["panels"]}
    assert {"Temperature of cards", "Memory in use", "Tokens a second"} <= titles


def test_a_state_of_before_that_is_gone_changes_nothing_on_the_card(card: Deployment, tmp_path: Path) -> None:
    plan = json.loads(card.run("--state", f"sqlite:///{tmp_path}/other.db", "plan", "--format", "json"))
    assert {step["action"] for step in plan["steps"]} == {"adopt"}
