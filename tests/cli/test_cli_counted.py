"""What is counted is called what it is: files are no replicas, and a need that nobody knows is no byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import SMALL, Lab, served

from reconciler.sim import builtin_fleet

FILE = "files: [{template: a.j2, to: a.conf}]\n"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        (lab.root / "templates").mkdir()
        (lab.root / "templates" / "a.j2").write_text("{{ fleet }}\n")
        yield lab


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (SMALL, "2 replicas unchanged"),
        (SMALL + FILE, "2 replicas and 1 other resource unchanged"),
        ("version: 1\n" + FILE, "1 resource unchanged"),
    ],
)
def test_an_empty_plan_and_the_saved_one_tell_replicas_apart_from_files(lab: Lab, wanted: str, said: str) -> None:
    lab.want(wanted)
    assert lab.run("apply", "--auto-approve").exit_code == 0
    plan = lab.run("plan", "--out", "a.plan").stdout
    assert f" is as desired: {said}." in plan
    assert lab.run("show", "a.plan").stdout == plan


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("  strange: {engine: ollama, on: ollama}\n", "1 replica of unknown need without a place"),
        (
            "  strange: {engine: ollama, on: ollama}\n  huge: {engine: ollama, on: ollama, vram: 700GiB}\n",
            "700.0 GiB (1 replica) and 1 replica of unknown need without a place",
        ),
        ("  huge: {engine: ollama, on: ollama, vram: 700GiB}\n", "700.0 GiB (1 replica) without a place"),
    ],
)
def test_what_has_no_place_is_told_by_its_bytes_where_they_are_known(lab: Lab, more: str, said: str) -> None:
    lab.want(SMALL + more)
    plan = " ".join(lab.run("plan").stdout.split())
    assert f"Placement: {said}" in plan


def test_a_plan_that_went_where_nothing_can_be_read_again_is_not_advised_to_be_applied(lab: Lab) -> None:
    assert lab.run("plan", "--out", "/dev/null").stderr.endswith("Written to /dev/null.\n")
    assert lab.run("plan", "--out", "a.plan").stderr.endswith("To carry out just this: gpurec apply a.plan\n")
