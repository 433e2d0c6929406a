"""What people are told of a plan: warnings once, with the steps they are about, and drift by the same count everywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import Lab, served

from reconciler.sim import builtin_fleet

WANTED = "version: 1\nmodels: {'llama3.1:8b': {engine: ollama, on: ada, vram: 6GiB, context: 4096, context_via: request}}\n"
SAID = "any client that sends no"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        lab.want(WANTED)
        yield lab


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_what_holds_as_long_as_it_is_asked_for_is_told_with_its_steps_and_not_by_an_empty_plan(lab: Lab, form: str) -> None:
    assert SAID in lab.run("plan", "--format", form).stdout
    assert lab.run("apply", "--auto-approve").exit_code == 0
    assert SAID not in lab.run("plan", "--format", form).stdout


def test_the_document_of_an_empty_plan_and_explain_still_have_it(lab: Lab) -> None:
    assert lab.run("apply", "--auto-approve").exit_code == 0
    document = json.loads(lab.run("plan", "--format", "json").stdout)
    assert (document["steps"], [note["code"] for note in document["notes"]]) == ([], ["context_request"])
    assert SAID in lab.run("explain", "model.llama3.1:8b@ada/ollama").stdout


@pytest.mark.parametrize(("form", "said"), [("markdown", "· 1 drifted"), ("html", ", 1 drifted")])
def test_as_many_fields_are_said_to_have_drifted_as_are_shown(lab: Lab, form: str, said: str) -> None:
    lab.want("version: 1\nmodels: {'llama3.1:8b': {on: ada, vram: 6GiB}, nomic-embed-text: {on: ada, vram: 350MiB}}\n")
    assert lab.run("apply", "--auto-approve").exit_code == 0
    lab.fleet.engines["ada/ollama"].restart()
    assert "1 field drifted." in lab.run("drift").stdout
    assert said in lab.run("plan", "--format", form).stdout
