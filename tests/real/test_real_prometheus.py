"""Cards out of a real Prometheus that scrapes pages which play exporters: seen, joined, and unknown once their target is gone."""

from __future__ import annotations

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
from processes import LOOPBACK, Process, free_port
from test_real_templates import says, served
from waiting import wait_until

LABELS = 'gpu="{gpu}",UUID="GPU-{node}-{gpu}",modelName="NVIDIA L40S",Hostname="{node}",DCGM_FI_DRIVER_VERSION="550.54.15"'
INVENTORY = """\
all:
  vars:
    probe: {{via: prometheus, url: "http://{at}", match: {{Hostname: "{{{{ inventory_hostname }}}}"}}}}
  hosts: {{one: {{}}, two: {{}}, elsewhere: {{}}}}
"""


def page(node: str, gpus: int) -> str:
    lines = []
    for gpu in range(gpus):
        labels = LABELS.format(node=node, gpu=gpu)
        for name, value in (("FB_USED", 1000 + gpu), ("FB_FREE", 44437 - gpu), ("FB_RESERVED", 631), ("GPU_TEMP", 51)):
            lines.append(f"DCGM_FI_DEV_{name}{{{labels}}} {value}")
    return "\n".join(lines) + "\n"


def facts(folder: Path) -> dict[str, dict[str, Any]]:
    command = [sys.executable, "-m", "reconciler", "-C", str(folder), "facts", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)["facts"]["nodes"]
    return found


def test_the_cards_of_a_fleet_come_from_one_prometheus_and_are_unknown_once_a_target_is_gone(tmp_path: Path) -> None:
    port = free_port()
    at = f"{LOOPBACK}:{port}"
    for folder, text in (("inventories", INVENTORY.format(at=at)), ("desired", "version: 1\nmodels: {}\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "lab.yaml").write_text(text)
    gone = False

    def second(request: BaseHTTPRequestHandler) -> None:
        if gone:
            request.send_error(500)
        else:
            says(page("two", 1))(request)

    with served(says(page("one", 2))) as one, served(second) as two:
        config = tmp_path / "prometheus.yml"
        scrape = {"job_name": "gpus", "static_configs": [{"targets": [f"{LOOPBACK}:{one}", f"{LOOPBACK}:{two}"]}]}
        config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}))
        listen = f"--web.listen-address={at}"
        server = Process(
            "prometheus", ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}", listen], tmp_path
        )
        try:
            wait_until(lambda: series(at, "count(DCGM_FI_DEV_GPU_TEMP)") == "3", 30, "all is scraped")
            found = facts(tmp_path)
            assert {name: cards(node) for name, node in found.items()} == {
                "one": [("GPU-one-0", 1000 * 2**20), ("GPU-one-1", 1001 * 2**20)],
                "two": [("GPU-two-0", 1000 * 2**20)],
                "elsewhere": None,
            }
            assert found["elsewhere"]["card_probe"]["code"] == "no_metrics"
            gone = True
            wait_until(lambda: series(at, "count(up == 0)") == "1", 30, "a target is down")
            found = facts(tmp_path)
            assert (cards(found["two"]), found["two"]["card_probe"]["code"]) == (None, "no_metrics")
            assert len(cards(found["one"]) or ()) == 2
        finally:
            server.stop()


def cards(node: dict[str, Any]) -> list[tuple[str, int]] | None:
    return None if node["cards"] is None else [(card["uuid"], card["used_bytes"]) for card in node["cards"]]


def series(at: str, query: str) -> str | None:
    """The value of an instant query; None while there is none."""
    try:
        answer = httpx.get(f"http://{at}/api/v1/query", params={"query": query}, timeout=5)
    except httpx.HTTPError:
        return None
    found = answer.json()["data"]["result"] if answer.status_code == 200 else []
    return str(found[0]["value"][1]) if found else None
