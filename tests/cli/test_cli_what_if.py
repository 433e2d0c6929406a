"""Plans of a fleet as it would be: nodes gone, a card more, a model less, and the loss of any N nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_lab import Lab, served

from reconciler.sim import SimEngine, SimGpu, SimModel, SimNode, SimSpec

MIB = 2**20


def model(name: str, mib: int) -> SimModel:
    return SimModel(name, size=mib * MIB, weights=mib * MIB, kv_per_token=0, vram=mib * MIB, layers=9)


MODELS = model("chat:8b", 5120), model("small:1b", 1024), model("big:latest", 20480)
FLEET = SimSpec(
    tuple(
        SimNode(name, (SimGpu("test card", 8192 * MIB),), None, (SimEngine("ollama", "ollama", gpus=(0,), installed=MODELS),))
        for name in "abc"
    ),
    0.0,
)

TWO = """version: 1
models:
  chat:8b: {engine: ollama, vram: 5GiB}
  small:1b: {engine: ollama, vram: 1GiB, replicas: 2}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(FLEET, tmp_path) as lab:
        lab.want(TWO)
        yield lab


def steps(lab: Lab, *arguments: str) -> list[tuple[str, str]]:
    result = lab.run("plan", "--format", "json", *arguments)
    assert result.exit_code == 0, result.output
    return [(one["action"], one["address"]) for one in json.loads(result.stdout)["steps"]]


def survival(lab: Lab, *arguments: str) -> dict[str, Any]:
    result = lab.run("plan", "--format", "json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def test_what_a_lost_node_held_is_placed_elsewhere_and_nothing_is_taken_from_it(lab: Lab) -> None:
    assert lab.run("apply", "--auto-approve").exit_code == 0
    there = {one["address"] for one in json.loads(lab.run("plan", "--format", "json").stdout)["steps"]}
    assert there == set()
    held = next(name for name, engine in lab.fleet.engines.items() if "chat:8b" in engine.residents)
    node = held.partition("/")[0]
    moved = steps(lab, "--down", node)
    assert [action for action, _ in moved] == ["load"]
    assert moved[0][1].startswith("model.chat:8b@")
    assert f"@{node}/" not in moved[0][1]


def test_a_card_more_gives_a_place_to_what_had_none(lab: Lab) -> None:
    lab.want("version: 1\nmodels:\n  big: {engine: ollama, vram: 20GiB}\n")
    assert steps(lab) == []
    assert steps(lab, "--add-gpu", "b:24GiB") == [("load", "model.big@b/ollama")]


def test_a_model_that_nobody_asks_for_would_be_unloaded(lab: Lab) -> None:
    lab.run("apply", "--auto-approve")
    assert [action for action, _ in steps(lab, "--without", "small:1b")] == ["unload", "unload"]


def test_such_a_plan_is_not_saved_and_no_apply_takes_it(lab: Lab) -> None:
    refused = lab.run("plan", "--down", "b", "--out", "p.json")
    assert refused.exit_code == 1
    assert not (lab.root / "p.json").exists()
    (lab.root / "p.json").write_text(lab.run("plan", "--down", "b", "--format", "json").stdout)
    assert lab.run("apply", "p.json").exit_code == 6
    assert not [one for one in lab.sent() if one != "POST /api/show"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--add-gpu", "nowhere:8GiB"), "there is no node 'nowhere'"),
        (("--add-gpu", "b"), "names no card; write gpu-a:24GiB"),
        (("--add-gpu", "b:24"), "is no size of a card"),
        (("--without", "chat"), "the files ask for no model 'chat'"),
        (("--down", "nowhere"), "nowhere"),
        (("--survive", "3"), "the fleet has 3 nodes with engines"),
        (("--survive", "1", "--format", "markdown"), "--survive is told as text or json"),
        (("--survive", "1", "--detail", "summary"), "--survive is always told whole; leave --detail out"),
    ],
)
def test_a_question_that_makes_no_sense_says_why(lab: Lab, arguments: tuple[str, ...], says: str) -> None:
    result = lab.run("plan", *arguments)
    assert result.exit_code == 1
    assert says in result.stderr


def test_the_loss_of_any_node_is_survived_while_the_others_have_room(lab: Lab) -> None:
    assert survival(lab, "--survive", "1") == {
        "format_version": "1.0", "lost": 1, "nodes": 3, "cases": 3, "survives": True, "unplaced_now": 0, "losses": [],
    }  # fmt: skip
    text = lab.run("plan", "--survive", "1", "--detailed-exitcode")
    assert text.exit_code == 0
    assert text.stdout == "Survives the loss of any 1 node of 3: everything that has a place now would have one.\n"


def test_of_losses_that_leave_something_without_a_place_the_worst_comes_first(lab: Lab) -> None:
    found = survival(lab, "--survive", "2")
    assert (found["cases"], found["survives"]) == (3, False)
    assert [one["nodes"] for one in found["losses"]] == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert found["losses"][0]["unplaced"][0]["model"] in ("chat:8b", "small:1b")
    text = lab.run("plan", "--survive", "2", "--detailed-exitcode")
    assert text.exit_code == 3
    assert text.stdout.startswith("Does not survive every loss of 2 nodes of 3: ")
    assert survival(lab, "--survive", "1", "--down", "c")["survives"] is False


def test_a_plan_of_what_is_supposed_says_so_in_every_form(lab: Lab) -> None:
    supposed = "What if a were gone? Nothing of it is so, and no apply takes this plan."
    for form in (["--format", "text"], ["--format", "text", "--detail", "summary"]):
        text = lab.run("plan", "--down", "a", *form).stdout
        assert text.startswith(f"{supposed}\ngpurec would make these changes to fleet demo:")
    assert "**What if** a were gone? Nothing of it is so" in lab.run("plan", "--down", "a", "--format", "markdown").stdout
    assert supposed.removeprefix("What if ") in lab.run("plan", "--down", "a", "--format", "html").stdout
    assert json.loads(lab.run("plan", "--down", "a", "--format", "json").stdout)["supposing"] == "a were gone"
    assert "supposing" not in json.loads(lab.run("plan", "--format", "json").stdout)
