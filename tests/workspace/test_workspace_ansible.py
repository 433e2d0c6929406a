"""The inventories of tests/cases/inventory, read as ansible-core reads them.

A case is a folder with an inventory, a file `patterns`, and `ansible.json`: what the real ansible-core printed for it. The real suite
(tests/real/test_real_inventory.py) holds these records to it; `python tests/real/ansible_cases.py` writes them.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.main import cli
from reconciler.fleet import WorkspaceError
from reconciler.operations.settings import WorkspaceSettings
from reconciler.operations.workspace import load_hosts
from reconciler.workspace import load_inventory

CASES = Path(__file__).parents[1] / "cases" / "inventory"
RECORDED = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(CASES.glob("*/ansible.json"))}
ACCEPTED = [name for name, said in RECORDED.items() if said["list"] is not None]


def lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []


def inventories(name: str) -> list[Path]:
    return [Path(path) for path in RECORDED[name]["inventory"].split(":")]


def listing(name: str, *pattern: str) -> str:
    options = [f"--inventory={path}" for path in inventories(name)]
    done = CliRunner().invoke(cli, ["-C", str(CASES / name), *options, "inventory", "--format", "json", *pattern])
    assert done.exit_code == 0, done.output
    return json.dumps(json.loads(done.stdout), sort_keys=True)


def test_workspace_every_case_is_recorded_with_all_its_patterns() -> None:
    assert set(RECORDED) == {folder.name for folder in CASES.iterdir()}
    for name, said in RECORDED.items():
        assert set(said.get("hosts", {})) == set(lines(CASES / name / "patterns"))


@pytest.mark.parametrize("name", ACCEPTED)
def test_workspace_hosts_groups_and_variables_are_ansibles(name: str) -> None:
    assert listing(name) == json.dumps(RECORDED[name]["list"], sort_keys=True)


@pytest.mark.parametrize("name", [name for name in ACCEPTED if "hosts" in RECORDED[name]])
def test_workspace_a_pattern_names_the_hosts_that_ansible_says(name: str) -> None:
    inventory = asyncio.run(load_hosts(WorkspaceSettings(directory=CASES / name, inventory=tuple(inventories(name)))))
    refused = lines(CASES / name / "refused-patterns")
    for pattern, said in RECORDED[name]["hosts"].items():
        if pattern in refused:
            with pytest.raises(WorkspaceError, match="names no host and no group"):
                inventory.match(pattern)
            continue
        try:
            found = list(inventory.match(pattern))
        except WorkspaceError:
            found = []
        assert found == sorted(said or []), pattern


@pytest.mark.parametrize(("name", "pattern"), [(name, pattern) for name in ACCEPTED for pattern in RECORDED[name].get("limited", ())])
def test_workspace_a_limited_listing_is_ansibles(name: str, pattern: str) -> None:
    if pattern not in lines(CASES / name / "refused-patterns"):
        assert listing(name, "--", pattern) == json.dumps(RECORDED[name]["limited"][pattern], sort_keys=True)


@pytest.mark.parametrize("name", [name for name in RECORDED if name not in ACCEPTED])
def test_workspace_what_ansible_refuses_is_refused_with_its_place(name: str) -> None:
    with pytest.raises(WorkspaceError) as raised:
        load_inventory(CASES / name, inventory=inventories(name))
    for problem in raised.value.problems:
        assert problem.where is not None
        assert problem.hint


def test_workspace_what_is_doubtful_is_told_beside_the_listing() -> None:
    case = CASES / "yaml-duplicate-keys"
    done = CliRunner().invoke(cli, ["-C", str(case), "-i", "hosts.yaml", "inventory", "--format", "json"])
    assert json.loads(done.stdout)["h"] == {"hosts": ["d"]}
    assert "warning: hosts.yaml:3:1: key 'h' is defined twice, first at hosts.yaml:2:1; this one counts, as in Ansible" in done.stderr


def test_workspace_a_key_that_is_merged_twice_with_different_values_is_warned_about_where_it_stands() -> None:
    done = CliRunner().invoke(cli, ["-C", str(CASES / "yaml-merges"), "-i", "hosts.yaml", "inventory"])
    found = [line.removeprefix("warning: ") for line in done.stderr.splitlines()]
    by_list = "this one counts: the first of a list counts in YAML, but in Ansible that depends on its PyYAML (6.0.4 takes the last)"
    by_key = "this one counts: the last '<<' counts, as in Ansible"
    assert [line.removesuffix("; write the key beside '<<' too, or keep one of the two") for line in found] == [
        f"hosts.yaml:3:18: key 'kind' is merged from here and, with another value, from hosts.yaml:4:20; {by_list}",
        f"hosts.yaml:4:20: key 'kind' is merged from here and, with another value, from hosts.yaml:3:18; {by_key}",
        f"hosts.yaml:8:35: key 'port' is merged from here and, with another value, from hosts.yaml:3:32; {by_list}",
        f"hosts.yaml:13:11: key 'b' is merged from here and, with another value, from hosts.yaml:13:35; {by_list}",
    ]
