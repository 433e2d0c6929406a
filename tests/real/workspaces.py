"""A workspace as a user has one, and `gpurec` run in it as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

GPUREC = Path(sys.executable).parent / "gpurec"
NODE = "box"
LIMITS = {"max_vram_utilization": "90%", "reserve": 0}
"""The default reserve of 512 MiB is more than a card of this suite has to spare."""


@dataclass(frozen=True)
class Result:
    """What one run of `gpurec` ended with."""

    command: str
    status: int
    out: str
    err: str
    seconds: float

    def expect(self, *statuses: int) -> Result:
        assert self.status in statuses, f"{self.command}: exit {self.status}, not {statuses}\n{self}"
        return self

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.out))

    def __str__(self) -> str:
        return f"$ {self.command}  (exit {self.status}, {self.seconds:.1f} s)\n{self.out}\n{self.err}"


class Workspace:
    """A folder with an inventory of one node, `box`, and what is wanted on it: the fleet of that name."""

    def __init__(self, folder: Path, fleet: str = "lab") -> None:
        self.folder, self.fleet = folder, fleet
        for name in ("inventories", "desired", "state"):
            (folder / name).mkdir(parents=True)

    def declare(
        self, engines: Mapping[str, Mapping[str, Any]], cards: tuple[int, ...], ram: int, probe: str = "declared", **more: Any
    ) -> None:
        """Writes the inventory: engines by name, cards by their size in bytes, RAM in bytes; `more` are further keys of the host."""
        gpus = [{"index": index, "name": "card in software", "vram": f"{size}B"} for index, size in enumerate(cards)]
        host = {"address": "127.0.0.1", "engines": dict(engines), "gpus": gpus, "ram": f"{ram}B", "limits": LIMITS, **more}
        host["probe"] = {"via": probe}  # a real card of this machine is not the one in software
        self.write_hosts({NODE: host})

    def write_hosts(self, hosts: Mapping[str, Mapping[str, Any]]) -> None:
        """Writes the inventory: hosts by name, as they stand there."""
        self._write("inventories", {"all": {"hosts": {name: dict(host) for name, host in hosts.items()}}})

    def want(self, models: Mapping[str, Mapping[str, Any]], **others: Any) -> None:
        """Writes the desired state."""
        self._write("desired", {"version": 1, "models": {name: dict(spec) for name, spec in models.items()}, **others})

    def run(self, *arguments: str, variables: Mapping[str, str] | None = None, seconds: float = 100.0) -> Result:
        """Runs `gpurec -C FOLDER ARGUMENTS`, with `variables` in its environment."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("GPUREC_", "PYTHON"))}
        start = time.monotonic()
        done = subprocess.run(
            [str(GPUREC), "-C", str(self.folder), *arguments],
            env=environment | {"NO_COLOR": "1"} | dict(variables or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        result = Result(f"gpurec {' '.join(arguments)}", done.returncode, done.stdout, done.stderr, time.monotonic() - start)
        print(result)
        return result

    def plan(self, *statuses: int) -> dict[str, Any]:
        """The plan document of `plan --detailed-exitcode`, which must end with one of `statuses`."""
        return self.run("plan", "--format", "json", "--detailed-exitcode").expect(*statuses).json

    def apply(self, *statuses: int, variables: Mapping[str, str] | None = None) -> Result:
        return self.run("apply", "--auto-approve", variables=variables).expect(*statuses)

    def expect_nothing_to_do(self) -> None:
        """The plan is empty: exit 0 and `No changes.`."""
        text = self.run("plan", "--detailed-exitcode").expect(0)
        assert text.out.startswith("No changes."), text

    def _write(self, kind: str, content: Mapping[str, Any]) -> None:
        with (self.folder / kind / f"{self.fleet}.yaml").open("w") as file:
            YAML(typ="safe").dump(dict(content), file)


def steps(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(action, address) of every step, in order."""
    return [(step["action"], step["address"]) for step in plan["steps"]]


def reasons(plan: Mapping[str, Any], model: str) -> set[str]:
    """Why no candidate could take `model`."""
    return {candidate["reason"] for entry in plan["unplaced"] if entry["model"] == model for candidate in entry["candidates"]}
