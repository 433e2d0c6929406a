"""`policy.thermal` and `policy.memory_pressure` as a user meets them: simulated engines, and a dcgm-exporter that tells of their cards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from cli_lab import Lab, served

from reconciler.sim import builtin_fleet
from reconciler.state import open_reader

POLICY = "policy: {thermal: {warning: 70, throttling: 80, critical: 90, hysteresis: 5}}\n"
PRESSURE = "policy: {memory_pressure: {high: 50%, critical: 75%}}\n"
MODEL = "  nomic-embed-text: {{engine: ollama, vram: 350MiB{rest}}}\n"
MIB = 2**20


@dataclass
class Exporter:
    """dcgm-exporters of two hosts: the memory of the simulated cards, and temperatures that a test sets."""

    lab: Lab
    celsius: dict[str, float] = field(default_factory=lambda: {"ada": 40.0, "bea": 40.0})

    def metrics(self, node: str) -> str:
        card = self.lab.fleet.nodes[node].cards[0]
        labels = f'{{gpu="0",UUID="GPU-{node}",modelName="{card.name}",Hostname="{node}"}}'
        told = {
            "GPU_TEMP": self.celsius[node],
            "FB_USED": card.used // MIB,
            "FB_FREE": card.free // MIB,
            "FB_TOTAL": (card.total or 0) // MIB,
        }
        return "".join(f"DCGM_FI_DEV_{name}{labels} {value}\n" for name, value in told.items())


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        exporter = Exporter(lab)

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = exporter.metrics(self.path.split("/")[1]).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        inventory = tmp_path / "inventories" / "demo.yaml"
        lines = inventory.read_text().splitlines()
        for node in ("ada", "bea"):
            at = next(number for number, line in enumerate(lines) if line.strip() == f"{node}:")
            probe = f"probe: {{via: dcgm, url: 'http://127.0.0.1:{server.server_port}/{node}/metrics'}}"
            lines.insert(at + 1, f"          {probe}")
        inventory.write_text("\n".join(lines) + "\n")
        try:
            yield exporter
        finally:
            server.shutdown()
            server.server_close()


def want(lab: Lab, policy: str = POLICY, rest: str = ", on: ollama") -> None:
    lab.want("version: 1\nmodels:\n" + MODEL.format(rest=rest) + policy)


def owned(lab: Lab) -> list[str]:
    return [row["node"] for row in json.loads(lab.run("state", "list", "--format", "json").stdout)]


def test_a_warm_card_is_the_last_choice_and_taken_where_it_is_the_only_one(exporter: Exporter) -> None:
    lab = exporter.lab
    want(lab)
    exporter.celsius["ada"] = 75.0
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert owned(lab) == ["bea"]
    exporter.celsius["bea"] = 75.0
    want(lab, rest=", on: ollama, replicas: 2")
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert owned(lab) == ["ada", "bea"]


def test_a_throttling_card_takes_nothing_new_and_gets_back_what_it_had(exporter: Exporter) -> None:
    lab = exporter.lab
    want(lab, rest=", on: ada")
    exporter.celsius["ada"] = 82.0
    held = lab.run("apply", "--auto-approve")
    assert held.exit_code == 3
    assert "card ada/0 is too hot for what is new (82 °C)" in " ".join(held.output.split())
    assert owned(lab) == []
    exporter.celsius["ada"] = 60.0
    assert lab.run("apply", "--auto-approve").exit_code == 0
    exporter.celsius["ada"] = 85.0
    lab.fleet.engines["ada/ollama"].restart()
    assert lab.run("apply", "--auto-approve").exit_code == 0, "what was applied last is restored"
    assert lab.run("plan").stdout.startswith("No changes.")


def test_a_critically_hot_card_gets_nothing_back_until_it_has_cooled_by_the_hysteresis(exporter: Exporter) -> None:
    lab = exporter.lab
    want(lab, rest=", on: ada")
    assert lab.run("apply", "--auto-approve").exit_code == 0
    lab.fleet.engines["ada/ollama"].restart()
    for celsius in (91.0, 86.0):
        exporter.celsius["ada"] = celsius
        held = lab.run("apply", "--auto-approve")
        assert held.exit_code == 3, "86 °C is not 5 below 90 yet, and the state remembers that it was critical"
        assert f"card ada/0 is critically hot ({celsius:.0f} °C)" in " ".join(held.output.split())
    exporter.celsius["ada"] = 84.0
    assert lab.run("apply", "--auto-approve").exit_code == 0


def test_the_level_is_no_part_of_a_plan_so_a_saved_one_stands_when_a_card_gets_hot(exporter: Exporter) -> None:
    lab = exporter.lab
    want(lab, rest=", on: ada")
    assert lab.run("plan", "--out", "it.plan").exit_code == 0
    exporter.celsius["ada"] = 82.0
    assert lab.run("apply", "it.plan").exit_code == 3
    exporter.celsius["ada"] = 70.0
    assert lab.run("apply", "it.plan", "--resume").exit_code == 0
    assert owned(lab) == ["ada"]


def test_nobody_is_unloaded_for_what_a_hot_card_does_not_take(exporter: Exporter) -> None:
    lab = exporter.lab
    first, second = ("version: 1\nmodels:\n", "  mistral:7b: {engine: ollama, on: bea, vram: 6GiB}\n")
    lab.want(first + second + POLICY)
    assert lab.run("apply", "--auto-approve").exit_code == 0
    exporter.celsius["bea"] = 82.0
    lab.want(first + "  qwen2.5-coder:7b: {engine: ollama, on: bea, vram: 6GiB, priority: 9}\n" + second + POLICY)
    held = lab.run("apply", "--auto-approve")
    assert held.exit_code == 3
    assert "it would make room for model.qwen2.5-coder:7b@bea/ollama" in " ".join(held.output.split())
    there = httpx.get(f"{lab.fleet.engines['bea/ollama'].url}/api/ps").json()["models"]
    assert [one["name"] for one in there] == ["mistral:7b"]


def test_a_full_card_takes_nothing_new_and_is_the_last_choice_before(exporter: Exporter) -> None:
    lab = exporter.lab
    ada = lab.fleet.nodes["ada"].cards[0]
    ada.foreign = 14 * 2**30
    want(lab, PRESSURE)
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert owned(lab) == ["bea"], "58% of ada is in use"
    ada.foreign = 19 * 2**30
    want(lab, PRESSURE, ", on: ollama, replicas: 2")
    held = lab.run("apply", "--auto-approve")
    assert held.exit_code == 3
    assert "the memory of card ada/0 is too full for what is new" in " ".join(held.output.split())
    ada.foreign = 0
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert owned(lab) == ["ada", "bea"]


def test_without_a_policy_no_temperature_holds_anything(exporter: Exporter) -> None:
    lab = exporter.lab
    want(lab, "", ", on: ada")
    exporter.celsius["ada"] = 99.0
    assert lab.run("apply", "--auto-approve").exit_code == 0
    reader = open_reader(lab.state)
    assert reader.applied().heat == {}
    reader.close()
