"""`gpurec doctor` in a workspace: what it says, and how it ends."""

from __future__ import annotations

import json

import pytest
from cli_lab import served

from reconciler.sim import read_sim_text
from reconciler.state.sqlite import check

FLEET = """
time_scale: 0
nodes:
  a: {gpus: [{name: card, vram: 8GiB}], engines: {ollama: {kind: ollama, installed: [{name: "nomic-embed-text", size: 100MB}]}}}
"""


@pytest.fixture
def lab(tmp_path):
    with served(read_sim_text(FLEET, "doctor"), tmp_path) as lab:
        yield lab


def test_a_fleet_in_order_has_nothing_wrong_and_ends_with_0(lab):
    result = lab.run("doctor")
    assert (result.exit_code, result.output) == (0, "✓ Nothing is wrong with 1 node and 1 engine.\n")
    assert lab.sent() == [] or all("/api/show" in one for one in lab.sent())


def test_an_engine_that_is_down_is_an_error_for_people_and_programs(lab):
    inventory = lab.root / "inventories" / "demo.yaml"
    port = next(iter(lab.fleet.engines.values())).url.rpartition(":")[2]
    inventory.write_text(inventory.read_text().replace(f":{port}", ":9"))
    result = lab.run("doctor")
    assert result.exit_code == 1
    assert "✗ engine.a/ollama  refused" in result.output
    assert "→ start it: sudo systemctl start ollama" in result.output
    assert "1 error, 0 warnings in 1 node and 1 engine." in result.output
    document = json.loads(lab.run("doctor", "--format", "json").output)
    assert [(one["level"], one["code"]) for one in document["findings"]] == [("error", "refused")]


def test_a_model_too_large_for_every_card_is_told_unless_one_node_is_asked_for(lab):
    lab.want("version: 1\nmodels:\n  huge: {engine: ollama, vram: 80GiB}\n")
    assert "model_too_large" in lab.run("doctor").output
    assert "model_too_large" not in lab.run("doctor", "a").output


def test_what_its_reader_cannot_change_is_left_to_state_check(lab, monkeypatch):
    monkeypatch.setattr(check, "has_wal_reset_fault", lambda version: True)
    assert lab.run("doctor").output == "✓ Nothing is wrong with 1 node and 1 engine.\n"
    lab.run("apply", "--auto-approve")
    assert lab.run("doctor").output == "✓ Nothing is wrong with 1 node and 1 engine.\n"
    assert "WAL-reset fault" in lab.run("state", "check").output


def test_a_host_that_is_not_there_is_an_error(lab):
    result = lab.run("doctor", "nobody")
    assert result.exit_code == 1
