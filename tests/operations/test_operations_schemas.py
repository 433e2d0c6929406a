"""The schemas that are shipped: what the tables say, and true of every file that gpurec reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from schema_judge import faults

from reconciler.operations.field_comments import field_comments
from reconciler.operations.resource_types import RESOURCE_TYPES
from reconciler.operations.schemas import NAMES, Name, made_schema, schema_text
from reconciler.value_class import value_class
from reconciler.workspace import load_workspace

ROOT = Path(__file__).parents[2]
CASES = sorted((ROOT / "tests" / "cases" / "plan").iterdir())
INVENTORIES = [*sorted((ROOT / "inventories").glob("*.yaml")), *(case / "inventory.yaml" for case in CASES)]
DESIRED = [*sorted((ROOT / "desired").rglob("*.yaml")), *(case / "desired.yaml" for case in CASES)]


def said(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def faults_of(name: Name, text: str) -> list[str]:
    return list(faults(said(text), json.loads(schema_text(name))))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shipped_is_what_the_tables_say(name: Name) -> None:
    assert schema_text(name) == made_schema(name), "it is stale: run make schemas"


@pytest.mark.parametrize("file", INVENTORIES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_inventory_of_the_repository_is_as_its_schema_says(file: Path) -> None:
    assert not faults_of("inventory", file.read_text())


@pytest.mark.parametrize("file", DESIRED, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_desired_state_of_the_repository_is_as_its_schema_says(file: Path) -> None:
    assert not faults_of("desired", file.read_text())


def test_what_loads_with_templates_and_keys_without_a_value_is_as_the_schemas_say(tmp_path: Path) -> None:
    inventory = """
all:
  vars:
    n: 2
    limits: {max_vram_utilization: "{{ 0.9 }}", reserve: "{{ n }}GiB", max_agents_per_gpu: "{{ n }}"}
  hosts:
    ada:
      address: "{{ inventory_hostname }}"
      engines: {ollama: {url: "http://127.0.0.1:{{ 11434 + n }}", gpus: ["{{ n - 2 }}"]}}
      gpus:
        - {index: "{{ n - 2 }}", vram: "{{ n * 4 }}GiB", name: }
      labels:
    bea:
"""
    desired = """
version: 1
placement:
limits:
policy: {guards: }
models:
  nomic-embed-text:
  llama3.1:8b: {context: , vram: 2GiB, on: ada, options: }
agents:
files:
"""
    for folder, text in (("inventories", inventory), ("desired", desired)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "lab.yaml").write_text(text)
    assert set(load_workspace(tmp_path).fleet.nodes) == {"ada", "bea"}
    assert not faults_of("inventory", inventory)
    assert not faults_of("desired", desired)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("desired", "version: 2"),
        ("desired", "version: 1\nmodel: {}"),
        ("desired", "version: 1\nmodels: {llama3.1:8b: {replicas: many}}"),
        ("inventory", "all: {hosts: [ada, bea]}"),
        ("inventory", "all: {hosts: {ada: {engines: {ollama: {urll: 'http://ada:11434'}}}}}"),
    ],
)
def test_what_gpurec_would_refuse_is_a_fault_of_its_schema(name: Name, text: str) -> None:
    assert faults_of(name, text)


@pytest.mark.parametrize("name", NAMES)
def test_every_key_says_what_it_is(name: Name) -> None:
    properties = dict(keys_of(json.loads(schema_text(name)), name))
    assert len(properties) > 200
    assert not [key for key, said in properties.items() if not re.fullmatch(r"[A-Z`].*\.", said.get("description", ""))]


def test_a_key_says_what_it_is_and_how_it_is_written() -> None:
    models = json.loads(schema_text("desired"))["properties"]["models"]["additionalProperties"]["anyOf"][0]["properties"]
    assert models["vram"]["description"].startswith("What it holds, on a card or in RAM; wins over every estimate. Written as 7GiB")


def test_the_schema_of_the_desired_state_has_the_keys_of_every_kind_of_resource() -> None:
    known = json.loads(schema_text("desired"))["properties"]
    assert not {form.section.key for one in RESOURCE_TYPES for form in one.forms} - known.keys()


def test_bytes_and_seconds_of_the_plan_say_their_unit() -> None:
    for name, said in keys_of(json.loads(schema_text("plan")), "plan"):
        for unit in ("bytes", "seconds"):
            if name.endswith((f"_{unit}", f".{unit}")):
                assert unit in said["description"].lower(), name


def keys_of(part: Any, at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property below a part of a schema, with where it is."""
    if isinstance(part, list):
        for one in part:
            yield from keys_of(one, at)
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "properties":
                yield from ((f"{at}.{key}", said) for key, said in value.items())
            yield from keys_of(value, at if name in ("properties", "$defs", "items", "anyOf") else f"{at}.{name}")


def test_a_field_is_described_by_the_comment_beside_it_or_above_it_and_by_no_other() -> None:
    assert field_comments(Commented) == {"beside": "What stands beside it.", "above": "What stands above it.", "own": "Its own."}


@value_class
class CommentedBase:
    beside: int  #: What stands beside it.
    bare: int  # no description
    #: What stands above it.
    above: int
    after: int


@value_class
class Commented(CommentedBase):
    """With a `field: int  #: of no class` in its docstring."""

    own: str = "a  #: b"  #: Its own.
