"""`gpurec rollback` over a simulated fleet: back to what was applied at a serial, as a plan like any other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import Lab, served

from reconciler.sim import read_sim_text

FLEET = """
time_scale: 0
models: [{name: "chat:1", vram: 5GiB}, {name: "code:1", vram: 4GiB}]
nodes:
  ada:
    gpus: [{vram: 24GiB}]
    engines: {ollama: {kind: ollama, installed: ["chat:1", "code:1"]}}
  bea:
    gpus: [{vram: 24GiB}]
    engines: {ollama: {kind: ollama, installed: ["chat:1", "code:1"]}}
"""
FIRST = "version: 1\nmodels:\n  chat:1: {each: node, context: 8192, vram: 6GiB}\n"
SECOND = "version: 1\nmodels:\n  chat:1: {on: bea, context: 4096, vram: 6GiB}\n  code:1: {on: ada, vram: 5GiB}\n"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Two applies: FIRST at serial 1, SECOND at serial 2, which the files say now."""
    with served(read_sim_text(FLEET, "fleet.yaml"), tmp_path) as lab:
        for text in (FIRST, SECOND):
            lab.want(text)
            result = lab.run("apply", "--auto-approve")
            assert result.exit_code == 0, result.output
        yield lab


def residents(lab: Lab) -> dict[str, list[str]]:
    return {name: sorted(engine.residents) for name, engine in lab.fleet.engines.items()}


BACK = {"ada/ollama": ["chat:1-c8192"], "bea/ollama": ["chat:1-c8192"]}
NOW = {"ada/ollama": ["code:1"], "bea/ollama": ["chat:1-c4096"]}


def test_a_rollback_is_a_plan_and_changes_nothing_by_itself(lab: Lab) -> None:
    assert residents(lab) == NOW
    result = lab.run("rollback", "1", "--detailed-exitcode")
    assert result.exit_code == 2, result.output
    assert "It goes back to what was applied at serial 1." in result.stdout
    assert residents(lab) == NOW


def test_its_saved_plan_is_applied_like_any_other_and_the_fleet_is_as_then(lab: Lab) -> None:
    out = str(lab.root / "back.json")
    made = lab.run("rollback", "1", "--out", out)
    assert made.exit_code == 0
    assert json.loads(Path(out).read_text())["rollback"] == 1
    assert lab.run("show", out).stdout == made.stdout
    result = lab.run("apply", out)
    assert result.exit_code == 0, result.output
    assert residents(lab) == BACK
    assert lab.run("rollback", "1", "--detailed-exitcode").stdout.startswith("No changes.")


def test_a_guard_refuses_a_rollback_as_it_refuses_any_plan(lab: Lab) -> None:
    result = lab.run("rollback", "0")
    assert result.exit_code == 7, result.output
    assert "guard allow_empty refuses" in result.stderr
    assert residents(lab) == NOW


def test_until_the_files_say_the_same_the_next_plan_leads_forward_again(lab: Lab) -> None:
    out = str(lab.root / "back.json")
    assert lab.run("rollback", "1", "--out", out).exit_code == 0
    assert lab.run("apply", out).exit_code == 0
    assert lab.run("plan", "--detailed-exitcode").exit_code == 2
    lab.want(FIRST)
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert residents(lab) == BACK
    assert lab.run("plan", "--detailed-exitcode").exit_code == 0


def test_a_saved_rollback_is_stale_once_the_files_change(lab: Lab) -> None:
    out = str(lab.root / "back.json")
    assert lab.run("rollback", "1", "--out", out).exit_code == 0
    lab.want(SECOND + "# changed\n")
    result = lab.run("apply", out)
    assert (result.exit_code, residents(lab)) == (6, NOW)


def test_a_plan_of_the_files_cannot_be_passed_off_as_a_rollback(lab: Lab) -> None:
    out = lab.root / "plan.json"
    lab.want(FIRST)
    assert lab.run("plan", "--out", str(out)).exit_code == 0
    document = json.loads(out.read_text())
    out.write_text(json.dumps({**document, "rollback": 1}))
    assert lab.run("apply", str(out)).exit_code == 1
    assert residents(lab) == NOW


def test_a_file_that_speaks_of_models_says_again_what_it_said_then_and_one_of_a_changed_template_does_not(tmp_path: Path) -> None:
    with served(read_sim_text(FLEET, "fleet.yaml"), tmp_path) as lab:
        (lab.root / "templates").mkdir()
        (lab.root / "templates" / "routes.j2").write_text(
            "{% for one in replicas %}{{ one.name }} {{ one.node }}\n{% endfor %}{{ vars.of }}\n"
        )
        said = []
        for text, of in ((FIRST, "first"), (SECOND, "second")):
            lab.want(f"{text}files: [{{template: routes.j2, to: routes.txt, vars: {{of: {of}}}}}]\n")
            assert lab.run("apply", "--auto-approve").exit_code == 0
            said.append((lab.root / "routes.txt").read_text())
        made = lab.run("rollback", "1", "--out", str(lab.root / "back.json"))
        assert "Warning: models go back, and what `files:` writes do not" in made.stderr
        assert lab.run("apply", str(lab.root / "back.json")).exit_code == 0
        assert (lab.root / "routes.txt").read_text() == said[0].replace("first", "second") != said[1]


@pytest.mark.parametrize("serial", ["3", "99"])
def test_a_serial_that_is_not_kept_is_one_sentence(lab: Lab, serial: str) -> None:
    result = lab.run("rollback", serial)
    assert result.exit_code == 1
    assert f"the state knows no serial {serial}; it knows serials 0 to 2" in result.stderr


def test_the_way_back_to_before_anything_was_applied_unloads_what_is_ours(lab: Lab) -> None:
    result = lab.run("rollback", "0", "--format", "json")
    assert [step["action"] for step in json.loads(result.stdout)["steps"]] == ["unload", "unload"]
