"""A file that speaks of replicas is written after the loads that it names, with the fleet as it is then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import SMALL, Lab, served

from reconciler.sim import builtin_fleet
from reconciler.sim.spec import FaultSpec

ROUTES = "{% for one in replicas %}{{ one.model }} {{ one.url }} {{ one.name }}\n{% endfor %}"
NAMES = "{% for one in engines %}{{ one.node }}\n{% endfor %}"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        (tmp_path / "templates").mkdir()
        (tmp_path / "templates" / "routes.j2").write_text(ROUTES)
        (tmp_path / "templates" / "names.j2").write_text(NAMES)
        lab.want(SMALL + "files:\n  - {template: routes.j2, to: routes.conf}\n  - {template: names.j2, to: names.conf}\n")
        yield lab


def test_the_file_waits_for_the_loads_and_one_that_names_none_does_not(lab: Lab) -> None:
    steps = {step["address"]: step for step in json.loads(lab.run("plan", "--format", "json").stdout)["steps"]}
    loads = {step["id"] for step in steps.values() if step["action"] == "load"}
    assert loads
    assert set(steps["file.routes.conf@local"]["needs"]) == loads
    assert steps["file.names.conf@local"]["needs"] == []


def test_it_names_the_replicas_as_they_are_after_the_plan_and_the_next_plan_is_empty(lab: Lab) -> None:
    assert lab.run("apply", "--auto-approve").exit_code == 0
    lines = (lab.root / "routes.conf").read_text().splitlines()
    urls = {engine.url for name, engine in lab.fleet.engines.items() if name.endswith("/ollama")}
    assert lines
    assert {line.split()[1] for line in lines} <= urls
    assert {line.split()[0] for line in lines} == {"nomic-embed-text"}
    assert json.loads(lab.run("plan", "--format", "json").stdout)["steps"] == []
    assert lab.run("drift").exit_code == 0


def test_where_a_load_fails_the_file_that_names_it_is_not_written(lab: Lab) -> None:
    saved = lab.root / "a.plan"
    lab.run("plan", "--out", str(saved))
    document = json.loads(saved.read_text())
    failing = next(step for step in document["steps"] if step["action"] == "load")
    lab.fleet.engines[f"{failing['node']}/{failing['engine']}"].faults.add(FaultSpec("fail_load"))
    assert lab.run("apply", str(saved), "--keep-going").exit_code == 3
    assert not (lab.root / "routes.conf").exists()
    assert (lab.root / "names.conf").exists()


def test_an_engine_that_does_not_answer_for_a_while_stays_in_the_files_that_name_it(lab: Lab) -> None:
    assert lab.run("apply", "--auto-approve").exit_code == 0
    for engine in lab.fleet.engines.values():
        engine.faults.add(FaultSpec("status", status=503))
    document = json.loads(lab.run("plan", "--format", "json").stdout)
    assert document["deferred"]
    assert document["steps"] == []
