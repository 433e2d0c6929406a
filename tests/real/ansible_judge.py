"""What real ansible-core says of inventories: run by its own Python, `PYTHON ansible_judge.py CASE …`, prints one JSON document.

Each answer is what the commands print, from a fork of this process, so that Ansible is imported once:

    ansible-inventory -i INVENTORY --list              "list":     the JSON document, null where Ansible refuses the inventory
    ansible PATTERN -i INVENTORY --list-hosts          "hosts":    by pattern, sorted (Ansible leaves the order of hosts that are
                                                                   three groups deep to chance); null where it names no host
    ansible-inventory -i INVENTORY --list -l PATTERN   "limited":  by pattern, for the first that name a host
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from pathlib import Path

INVENTORIES = ("hosts.yaml", "hosts.json", "hosts", "inventory", "program")
"""The names that the inventory of a case may have, beside its group_vars and host_vars."""
MOST_LIMITED = 3
SETTINGS = {
    "ANSIBLE_DEPRECATION_WARNINGS": "0",
    "ANSIBLE_HOST_PATTERN_MISMATCH": "ignore",
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
    "ANSIBLE_LOCALHOST_WARNING": "0",
    "ANSIBLE_NOCOLOR": "1",
    "COLUMNS": "1000",
    "LC_ALL": "C.UTF-8",
}


def inventories_of(case: Path) -> list[str]:
    """The inventories of a case folder, relative to it: those that its file `sources` names, in their order, else its one inventory."""
    sources = case / "sources"
    if sources.exists():
        return sources.read_text(encoding="utf-8").splitlines()
    (found,) = (name for name in INVENTORIES if (case / name).exists())
    return [found]


def patterns_of(case: Path) -> list[str]:
    """The patterns to try on a case, one a line, spaces and all."""
    file = case / "patterns"
    return file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []


def asked(program: str, *arguments: str) -> tuple[int, str]:
    """Exit status and standard output of an Ansible command."""
    with tempfile.TemporaryFile() as out:
        child = os.fork()
        if child == 0:
            try:
                os.dup2(out.fileno(), 1)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                answer(program, arguments)
            finally:
                os._exit(70)
        _, status = os.waitpid(child, 0)
        out.seek(0)
        return os.waitstatus_to_exitcode(status), out.read().decode()


def answer(program: str, arguments: tuple[str, ...]) -> None:
    from ansible.cli.adhoc import AdHocCLI
    from ansible.cli.inventory import InventoryCLI

    sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    try:
        (InventoryCLI if program == "ansible-inventory" else AdHocCLI).cli_executor([program, *arguments])
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    sys.stdout.flush()
    os._exit(0)


def listing(inventories: list[str], *limit: str) -> object:
    status, text = asked("ansible-inventory", *inventories, "--list", *limit)
    return json.loads(text) if status == 0 else None


def hosts(inventories: list[str], pattern: str) -> list[str] | None:
    status, text = asked("ansible", *inventories, "--list-hosts", "--", pattern)
    match = re.match(r"  hosts \((\d+)\):\n", text)
    if status != 0 or match is None or match.group(1) == "0":
        return None
    return sorted(line.removeprefix("    ") for line in text[match.end() :].splitlines())


def judged(case: Path) -> dict[str, object]:
    names = inventories_of(case)
    options = [f"--inventory={case / name}" for name in names]
    found: dict[str, object] = {"inventory": ":".join(names), "list": listing(options)}
    patterns = patterns_of(case)
    if patterns:
        named = {pattern: hosts(options, pattern) for pattern in patterns}
        found["hosts"] = named
        naming = [pattern for pattern in patterns if named[pattern] is not None]
        found["limited"] = {pattern: listing(options, f"--limit={pattern}") for pattern in naming[:MOST_LIMITED]}
    return found


def main() -> None:
    cases = [Path(name).resolve() for name in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "ansible.cfg").touch()
        os.environ.update(SETTINGS, ANSIBLE_CONFIG=f"{home}/ansible.cfg", ANSIBLE_HOME=home, HOME=home)
        os.chdir(home)  # group_vars beside the working folder would count
        import ansible.cli.adhoc
        import ansible.cli.inventory  # noqa: F401

        print(json.dumps({case.name: judged(case) for case in cases}, sort_keys=True))


if __name__ == "__main__":
    main()
