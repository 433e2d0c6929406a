"""The inventories of tests/cases/inventory before real ansible-core. `python tests/real/ansible_cases.py` records what it says.

A case is a folder: an inventory (`hosts.yaml`, `hosts.json`, `hosts`, the folder `inventory`, or a `program` that prints one; several
where a file `sources` names them, one a line), its group_vars and host_vars, and a file `patterns` with one pattern a line. `ansible.json`
is what Ansible answers, written here and held to the real one by the real suite.
Patterns that gpurec refuses though Ansible answers stand in `refused-patterns`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from provision import CannotProvision, Provisioned, provision_ansible

CASES = Path(__file__).resolve().parent.parent / "cases" / "inventory"
JUDGE = Path(__file__).resolve().parent / "ansible_judge.py"


def case_names() -> list[str]:
    return sorted(folder.name for folder in CASES.iterdir() if folder.is_dir())


def recorded(name: str) -> dict[str, object]:
    found = json.loads((CASES / name / "ansible.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def judge(real: Provisioned, names: list[str]) -> dict[str, dict[str, object]]:
    """What ansible-core says of cases, by name. Raises CalledProcessError where it cannot be asked."""
    command = [str(real.ansible), "-P", str(JUDGE), *(str(CASES / name) for name in names)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True, timeout=600)
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def record() -> None:
    real = provision_ansible()
    for name, said in judge(real, case_names()).items():
        (CASES / name / "ansible.json").write_text(json.dumps(said, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"recorded {name}")


if __name__ == "__main__":
    try:
        record()
    except CannotProvision as error:
        sys.exit(f"provision: {error}")
