"""Two models that change places between the card and RAM of a full node, by real requests: the apply ends with nothing left to do, and
so does the one after an apply that was killed at any of its requests."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kills import Story, Victims, check_whole, ran

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))
from cli_lab import Lab, served

from reconciler.sim import read_sim_text

FULL = """time_scale: 0
models: [{name: "chat:1", vram: 8GiB}, {name: "coder:1", vram: 9GiB}, {name: "third:1", vram: 5GiB}]
nodes:
  ada:
    ram: 16GiB
    gpus: [{name: RTX 4090, vram: 24GiB}, {name: RTX 3070, vram: 8GiB}]
    engines: {ollama: {kind: ollama, version: 0.34.0, installed: ["chat:1", "coder:1", "third:1"]}}
"""
WANTED = """version: 1
placement: {strategy: binpack}
models:
  chat:1: {on: ada, vram: 8GiB, priority: 2%s}
  coder:1: {on: ada, vram: 9GiB, priority: 1%s}
  third:1: {on: ada, vram: 5GiB}
"""
IN_RAM = ", residency: cpu"
STORIES = [Story("changed", None, WANTED % ("", IN_RAM), 0, 3), Story("saved", None, WANTED % ("", IN_RAM), 0, 3, saved=True)]


@contextmanager
def changing(root: Path, story: Story) -> Iterator[Lab]:
    """`chat:1` runs in RAM and `coder:1` on the card, and the files want it the other way round."""
    root.mkdir()
    with served(read_sim_text(FULL, "full"), root) as lab:
        inventory = root / "inventories" / "demo.yaml"
        inventory.write_text(inventory.read_text().replace("        ada:\n", "        ada:\n          ram: 16GiB\n"))
        lab.want(WANTED % (IN_RAM, ""))
        ran(lab, "apply", "--auto-approve")
        lab.want(story.wanted)
        if story.saved:
            ran(lab, "plan", "--out", "p.json")
        yield lab


def check_settles(lab: Lab, story: Story) -> None:
    """The next apply works, and then there is nothing to do."""
    check_whole(lab)
    ran(lab, *story.apply)
    assert json.loads(ran(lab, "plan", "--format", "json"))["steps"] == []
    assert json.loads(ran(lab, "drift", "--format", "json"))["drift"] == []


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_two_models_change_places_and_nothing_is_left_to_do(tmp_path: Path, story: Story) -> None:
    with changing(tmp_path / "w", story) as lab:
        steps = json.loads(ran(lab, "plan", "--format", "json"))["steps"]
        assert [(step["action"], step["model"]) for step in steps] == [("unload", "coder:1"), ("reload", "chat:1"), ("load", "coder:1")]
        check_settles(lab, story)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_change_of_places_that_was_killed_is_put_right_by_the_next_apply(
    tmp_path: Path, victims: Victims, story: Story, side: str, number: int
) -> None:
    with changing(tmp_path / "w", story) as lab:
        end = victims.run(lab, story, f"{side} request", number)
        assert end.killed, end.said
        check_settles(lab, story)
