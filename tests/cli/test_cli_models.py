"""`gpurec models` and `check MODEL`: what is known of needs and from where, which engine has room, on the small mixed cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from syrupy.assertion import SnapshotAssertion

from reconciler.cli.main import cli

MIB = 2**20
INVENTORY = """\
all:
  vars: {limits: {vram_safety_margin: 0.8, max_vram_utilization: 100%, reserve: 0B}}
  hosts:
    small: {gpus: [{index: 0, vram: 4GiB}], engines: {ollama: {url: "http://127.0.0.1:1"}}}
    large: {gpus: [{index: 0, vram: 8GiB}], engines: {ollama: {url: "http://127.0.0.1:1"}}}
    plain: {gpus: [], ram: 32GiB, engines: {ollama: {url: "http://127.0.0.1:1"}}}
    gone: {gpus: [{index: 0, vram: 8GiB}], engines: {ollama: {url: "http://127.0.0.1:1"}}}
"""
DESIRED = """\
version: 1
models:
  mxbai-embed-large: {engine: ollama, vram: 705MiB, each: gpu}
  llama3.1:latest: {engine: ollama}
  nobody/knows: {engine: ollama}
  on-disk: {engine: ollama}
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    from reconciler.fleet import CardFacts, EngineFacts, EngineId, EngineKind, FleetFacts, Installed, NodeFacts, Resident
    from reconciler.probes import facts_to_json

    for folder, text in (("inventories", INVENTORY), ("desired", DESIRED)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "lab.yaml").write_text(text)
    nodes = {}
    for node, total in (("small", 4096), ("large", 8192), ("plain", 0), ("gone", 8192)):
        cards = (CardFacts(0, name="a card", total_bytes=total * MIB),) if total else ()
        at = EngineId(node, "ollama")
        embed = Resident("mxbai-embed-large:latest", vram_bytes=705 * MIB, size_bytes=705 * MIB, pinned=True)
        facts = EngineFacts(
            at, EngineKind.OLLAMA, True, build="0.34.0",
            installed=(Installed("on-disk:latest", 1000 * MIB), Installed("llama3.1:latest", 4000 * MIB)) if node == "large" else (),
            residents=(embed,) if node == "small" else (),
        )  # fmt: skip
        if node == "gone":
            facts = EngineFacts(at, EngineKind.OLLAMA, False, reason="connection refused", reason_code="refused")
        nodes[node] = NodeFacts(node, cards, None if total else 32 * 2**30, {"ollama": facts})
    (tmp_path / "facts.json").write_text(facts_to_json(FleetFacts("2026-01-01T00:00:00Z", nodes)))
    return tmp_path


def run(workspace: Path, *arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["-C", str(workspace), *arguments, "--assume", "facts.json"])
    assert result.exit_code == 4, result.output  # one engine of the facts could not be reached
    return result


def said(workspace: Path, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(workspace, *arguments, "--format", "json").stdout)
    return found


def test_every_source_of_a_need_is_listed_in_the_order_in_which_it_counts(workspace: Path) -> None:
    rows = {row["model"]: row for row in said(workspace, "models")["models"]}
    assert [(one["source"], one["bytes"] // MIB) for one in rows["llama3.1:latest"]["needs"]] == [("file_size", 4800), ("catalogue", 4700)]
    assert [one["source"] for one in rows["mxbai-embed-large"]["needs"]] == ["declared", "catalogue"]
    assert (rows["nobody/knows"]["vram_bytes"], rows["nobody/knows"]["vram_source"]) == (None, None)
    assert (rows["on-disk"]["installed"], rows["on-disk"]["engines"]) == (1, 4)


def test_a_model_fits_where_its_bytes_are_free_and_elsewhere_the_reason_is_said(workspace: Path) -> None:
    found = {one["engine"]: one for one in said(workspace, "check", "llama3.1")["engines"]}
    assert {name: one["reason"] for name, one in found.items()} == {
        "gone/ollama": "unreachable", "large/ollama": "fits", "plain/ollama": "no_card", "small/ollama": "too_large",
    }  # fmt: skip
    assert found["small/ollama"]["message"] == "needs 4800 MiB > 3276 MiB usable"
    card = found["small/ollama"]["gpus"][0]
    assert (card["usable_bytes"] // MIB, card["held_bytes"] // MIB, card["free_bytes"] // MIB) == (3276, 705, 2571)


def test_a_model_that_nobody_wants_is_checked_on_every_node_by_the_catalogue(workspace: Path) -> None:
    found = said(workspace, "check", "llama3.2:3b")
    assert (found["wanted"], found["fits"]) == (False, 2)
    assert {one["vram_source"] for one in found["engines"]} == {"catalogue"}


def test_what_is_resident_fits_and_is_not_counted_twice(workspace: Path) -> None:
    found = {one["engine"]: one for one in said(workspace, "check", "mxbai-embed-large")["engines"]}
    assert (found["small/ollama"]["reason"], found["small/ollama"]["fits"]) == ("resident", True)


def test_a_model_of_unknown_need_is_not_guessed(workspace: Path) -> None:
    found = said(workspace, "check", "nobody/knows")
    assert found["fits"] == 0
    assert {one["engine"]: one["reason"] for one in found["engines"]}["large/ollama"] == "need_unknown"


def test_a_catalogue_of_the_workspace_counts(workspace: Path) -> None:
    (workspace / "catalogue.yaml").write_text("models:\n  nobody/knows: {engine: ollama, vram: 5GiB}\n")
    assert said(workspace, "check", "nobody/knows")["fits"] == 1


def test_what_a_card_may_give_is_of_a_search(workspace: Path) -> None:
    result = CliRunner().invoke(cli, ["-C", str(workspace), "check", "llama3.1", "--vram", "8GiB"])
    assert result.exit_code == 1
    assert "--vram is what --fit-context may fill" in result.stderr


@pytest.mark.parametrize("arguments", [("models",), ("check", "llama3.1:latest"), ("check", "nobody/knows")], ids=" ".join)
def test_for_people(workspace: Path, snapshot: SnapshotAssertion, arguments: tuple[str, ...]) -> None:
    assert run(workspace, *arguments).stdout == snapshot
