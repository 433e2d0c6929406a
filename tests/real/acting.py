"""Workflows of Actions, run on this host by act: a repository on disk with the workflow of docs/ci.md, and stand-ins for other actions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from review_tools import review_tools, without_an_index

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SECONDS = 240
STORE = """
name: {name}
description: a stand-in that keeps artifacts in a folder of this machine
inputs:
  name: {{required: true}}
  path: {{default: .}}
  if-no-files-found: {{default: warn}}
  run-id: {{default: ""}}
  github-token: {{default: ""}}
runs:
  using: composite
  steps:
    - shell: bash
      env: {{NAME: "${{{{ inputs.name }}}}", FILES: "${{{{ inputs.path }}}}", RUN: "${{{{ inputs.run-id }}}}"}}
      run: {script}
"""


def documented_workflow() -> str:
    """The workflow that docs/ci.md shows, with commits for its placeholders."""
    (text,) = re.findall(r"```yaml\n(on:.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.DOTALL)
    return str(text).replace("@COMMIT", f"@{COMMIT}")


def git(folder: Path, *words: str) -> str:
    names = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "HOME": str(folder), "PATH": os.environ["PATH"]}
    config = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", *config, *words], cwd=folder, env=names, check=True, capture_output=True, text=True).stdout


def action_source(to: Path) -> Path:
    """What a runner gets of this repository, as far as the action and the hooks need it."""
    for name in ("action.yml", ".pre-commit-hooks.yaml", "pyproject.toml", "README.md", "LICENSE"):
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, to)
    shutil.copytree(ROOT / "ci", to / "ci")
    shutil.copytree(ROOT / "reconciler", to / "reconciler", ignore=shutil.ignore_patterns("__pycache__"))
    return to


@dataclass
class Ran:
    status: int
    log: str

    def output(self, name: str) -> str | None:
        """An output of a step, as act tells it in its log."""
        found = re.findall(rf"::set-output:: {re.escape(name)}=(.*)", self.log)
        return found[-1] if found else None


class Repository:
    """A repository `o/r` whose root is a workspace of gpurec."""

    def __init__(self, workspace: Path, scratch: Path, api: str, token: str, *, install: bool) -> None:
        self.root, self.scratch, self.api, self.token = workspace, scratch, api, token
        self.environment: dict[str, str] = {}
        """What the runner sets beside what act sets."""
        self.artifacts = scratch / "artifacts"
        self.artifacts.mkdir(parents=True)
        pinned = re.findall(r"uses: (actions/upload-artifact@\w+)", (ROOT / "action.yml").read_text())
        self.stand_ins = {f"OWNER/gpurec@{COMMIT}": action_source(scratch / "gpurec")}
        keeping = (
            (pinned[0], "upload", f'mkdir -p "{self.artifacts}/$NAME" && cp -r "$FILES" "{self.artifacts}/$NAME/"'),
            (f"actions/download-artifact@{COMMIT}", "download", f'cp -r "{self.artifacts}/$NAME/." .'),
        )
        for uses, name, script in keeping:
            folder = scratch / name
            folder.mkdir()
            (folder / "action.yml").write_text(STORE.format(name=name, script=script))
            self.stand_ins[uses] = folder
        self.write_workflow(install=install)
        git(workspace, "init", "-q")
        git(workspace, "remote", "add", "origin", "https://github.com/o/r.git")
        git(workspace, "add", "-A")
        git(workspace, "commit", "-q", "-m", "a fleet")

    def write_workflow(self, *, install: bool) -> None:
        """The documented one over a state of this repository's; without `install` it takes the gpurec of the PATH."""
        workflow = documented_workflow().replace("--state=/var/lib/gpurec/lab.db", f"--state={self.scratch / 'lab.db'}")
        if not install:
            workflow = workflow.replace('options: "--state', 'install: "false", options: "--state')
        file = self.root / ".github" / "workflows" / "gpurec.yml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(workflow)

    def act(self, event: str, document: str = "{}", **variables: str) -> Ran:
        """Runs the jobs of an event, with the repository's variables."""
        (self.scratch / "event.json").write_text(document)
        given = [f"--local-repository={uses}={folder}" for uses, folder in self.stand_ins.items()]
        given += [f"--var={name}={value}" for name, value in variables.items()]
        given += [f"--env={name}={value}" for name, value in self.environment.items()]
        given += [f"--env=GITHUB_API_URL={self.api}", f"--secret=GITHUB_TOKEN={self.token}", "--platform=self-hosted=-self-hosted"]
        home = self.scratch / "home"
        home.mkdir(exist_ok=True)
        (home / ".config" / "act").mkdir(parents=True, exist_ok=True)
        (home / ".config" / "act" / "actrc").write_text("")
        done = subprocess.run(
            [str(review_tools().act), event, *given, "--action-offline-mode", f"--eventpath={self.scratch / 'event.json'}"],
            cwd=self.root,
            env={
                "HOME": str(home),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                **without_an_index(),
            },
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Ran(done.returncode, done.stdout + done.stderr)
