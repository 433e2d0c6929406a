"""`kind: service` and `kind: openai`: seen, given their share of the card, told when down, and never sent what changes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_lab import Lab, served

from reconciler.sim import read_sim_text

FLEET = """
time_scale: 0
models:
  - {name: "m:1", size: 10GiB, vram: 10GiB}
  - {name: chat, size: 6GiB, vram: 6GiB}
nodes:
  o:
    gpus: [{name: card, vram: 24GiB}]
    engines:
      ollama: {kind: ollama, installed: ["m:1"]}
      sglang: {kind: openai, installed: [chat]}
      comfy: {kind: service, installed: [{name: pictures, size: 6GiB, vram: 6GiB}]}
"""
INVENTORY = """
all:
  vars: {limits: {reserve: 0}}
  hosts:
    o:
      gpus: [{index: 0, vram: 24GiB}]
      engines:
        ollama: {url: "%s"}
        sglang: {kind: openai, url: "%s", vram: 6GiB}
        comfy: {kind: service, url: "%s", vram: %s, health: /health}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(read_sim_text(FLEET, "looked-at"), tmp_path) as found:
        declare(found, "6GiB")
        yield found


def declare(lab: Lab, share: str) -> None:
    urls = tuple(lab.fleet.engines[f"o/{name}"].url for name in ("ollama", "sglang", "comfy"))
    (lab.root / "inventories" / "demo.yaml").write_text(INVENTORY % (*urls, share))


def plan(lab: Lab) -> dict[str, Any]:
    return dict(json.loads(lab.run("plan", "--format", "json").stdout))


def test_their_shares_are_charged_to_the_card_before_anything_is_placed(lab: Lab) -> None:
    lab.want('version: 1\nmodels: {"m:1": {engine: ollama, vram: 10GiB}}\n')
    (unplaced,) = plan(lab)["unplaced"]
    assert "needs 10.0 GiB > 9830 MiB usable" in json.dumps(unplaced)
    declare(lab, "5GiB")
    document = plan(lab)
    assert [(step["action"], step["address"]) for step in document["steps"]] == [("load", "model.m:1@o/ollama")]
    assert [card["foreign_bytes"] for card in document["gpus"]] == [11 * 2**30]


def test_a_listed_model_is_adopted_one_that_is_not_has_no_place_and_nothing_is_sent(lab: Lab) -> None:
    lab.want("version: 1\nmodels: {chat: {engine: openai}, other: {engine: openai, vram: 1GiB}}\n")
    document = plan(lab)
    assert [(step["action"], step["address"]) for step in document["steps"]] == [("adopt", "model.chat@o/sglang")]
    (unplaced,) = document["unplaced"]
    assert [one["reason"] for one in unplaced["candidates"]] == ["engine_fixed_model"]
    assert lab.run("apply", "--auto-approve").exit_code == 3
    lab.want("version: 1\npolicy: {guards: {allow_empty: true}}\n")
    assert plan(lab)["steps"] == []
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert [sent for sent in lab.sent() if "/api/show" not in sent] == []


def test_requests_are_routed_to_it(lab: Lab) -> None:
    lab.want("version: 1\nmodels: {chat: {engine: openai}}\n")
    assert "o/sglang" in lab.run("route", "chat").stdout


def test_one_that_is_down_is_told_by_plan_and_doctor_and_its_share_is_kept(lab: Lab) -> None:
    lab.want('version: 1\nmodels: {"m:1": {engine: ollama, vram: 10GiB}}\n')
    lab.fleet.engines["o/comfy"].kill()
    document = plan(lab)
    assert [(one["node"], one["engine"]) for one in document["deferred"]] == [("o", "comfy")]
    assert document["summary"]["unplaced"] == 1
    told = lab.run("doctor")
    assert "engine.o/comfy" in told.stdout
    assert "/health" in told.stdout
    assert "3 engines, 1 unreachable" in lab.run("status").stdout


def test_a_model_cannot_ask_for_a_service_and_a_service_takes_no_keys_of_what_gpurec_runs(lab: Lab) -> None:
    lab.want("version: 1\nmodels: {m: {engine: service}}\n")
    assert "cannot be 'service': a service serves no model" in lab.run("validate").output
    lab.want("version: 1\n")
    inventory = (lab.root / "inventories" / "demo.yaml").read_text()
    for key, told in (
        ("memory_limit: 1GiB", "'memory_limit' of engine 'comfy' means nothing: gpurec only looks at an engine of kind service"),
        ("runtime: systemd", "it cannot have `runtime: systemd`"),
    ):
        (lab.root / "inventories" / "demo.yaml").write_text(inventory.replace("health: /health", key))
        said = lab.run("validate").output
        assert told in said
        assert "inventories/demo.yaml:" in said
    (lab.root / "inventories" / "demo.yaml").write_text(inventory.replace("{url:", "{vram: 1GiB, url:"))
    assert "'vram' of engine 'ollama' is for what gpurec only looks at" in lab.run("validate").output
