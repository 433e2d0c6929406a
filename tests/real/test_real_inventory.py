"""Inventories read as real ansible-core reads them: what it says now is what is recorded, and what gpurec says.

`tests/workspace/test_workspace_ansible.py` holds gpurec to the same records in every run of the fast tests.
"""

from __future__ import annotations

import json

import pytest
from ansible_cases import CASES, case_names, judge, recorded
from click.testing import CliRunner
from provision import located
from together import only_once

from reconciler.cli.main import cli

NAMES = case_names()


def options(inventories: str) -> list[str]:
    return [f"--inventory={name}" for name in inventories.split(":")]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    only_once(tmp_path_factory, "ansible")
    real = located()
    if not real.ansible.exists():
        pytest.fail(f"{real.ansible} is missing; run `make real`, or `python tests/real/provision.py` first", pytrace=False)
    return judge(real, NAMES)


def test_at_least_25_inventories_are_judged() -> None:
    accepted = [name for name in NAMES if recorded(name)["list"] is not None]
    assert len(accepted) >= 25


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_the_record_is_what_ansible_says_and_what_gpurec_says(judged: dict[str, dict[str, object]], name: str) -> None:
    said = judged[name]
    assert json.dumps(said, sort_keys=True) == json.dumps(recorded(name), sort_keys=True)
    done = CliRunner().invoke(cli, ["-C", str(CASES / name), *options(str(said["inventory"])), "inventory", "--format", "json"])
    if said["list"] is None:
        assert done.exit_code == 1
    else:
        assert json.dumps(json.loads(done.stdout), sort_keys=True) == json.dumps(said["list"], sort_keys=True)
