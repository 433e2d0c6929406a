"""Which forge a CI job runs for: its API, repository, and pull request, from the variables that CI itself sets.

Sources: docs.github.com "Variables reference" and the webhook payload in `GITHUB_EVENT_PATH`; docs.gitlab.com "Predefined CI/CD
variables"; docs.gitea.com "Gitea Actions variables" (those of GitHub, and `GITEA_ACTIONS`; Forgejo: `FORGEJO_ACTIONS`);
support.atlassian.com "Variables and secrets".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, urlsplit

from reconciler.files import read_bounded
from reconciler.fleet import MIB, GpurecError, SecretRef
from reconciler.fleet.addresses import is_loopback
from reconciler.value_class import value_class

LARGEST_EVENT = 64 * MIB
_BITBUCKET_API = "https://api.bitbucket.org/2.0"


class ForgeError(GpurecError):
    """The forge is not known, cannot be reached, or refuses."""


class Forge(StrEnum):
    GITHUB = "GitHub"
    GITEA = "Gitea"
    GITLAB = "GitLab"
    BITBUCKET = "Bitbucket"


BUDGETS: Mapping[Forge, int] = {Forge.GITHUB: 65_536, Forge.GITEA: 65_536, Forge.GITLAB: 1_000_000, Forge.BITBUCKET: 32_768}
"""Most bytes of a comment. GitHub counts characters, which are never more."""
_TOKENS: Mapping[Forge, tuple[str, ...]] = {
    Forge.GITHUB: ("GITHUB_TOKEN",),
    Forge.GITEA: ("GITEA_TOKEN", "GITHUB_TOKEN"),
    Forge.GITLAB: ("GITLAB_TOKEN",),
    Forge.BITBUCKET: ("BITBUCKET_TOKEN",),
}


@value_class
class ForgePlace:
    """`api` without a slash at its end; `repository` as it stands in a path of the API (quoted); `number` of the pull request, None outside
    of one. `token` is read when it is sent."""

    forge: Forge
    api: str
    repository: str
    number: int | None
    token: SecretRef

    @property
    def budget(self) -> int:
        """Most bytes of a comment there."""
        return BUDGETS[self.forge]


def find_place(environ: Mapping[str, str], *, number: int | None = None, token: SecretRef | None = None) -> ForgePlace:
    """The place that CI's variables name; `number` and `token` win over them.

    Raises ForgeError where no forge's CI is running, a variable is missing, or the API would be spoken to in the clear.
    """
    forge = _forge(environ)
    match forge:
        case Forge.GITLAB:
            api, repository = _needed(environ, "CI_API_V4_URL", forge), _needed(environ, "CI_PROJECT_ID", forge)
            found = _whole(environ.get("CI_MERGE_REQUEST_IID"))
        case Forge.BITBUCKET:
            api, repository = environ.get("BITBUCKET_API_URL") or _BITBUCKET_API, _needed(environ, "BITBUCKET_REPO_FULL_NAME", forge)
            found = _whole(environ.get("BITBUCKET_PR_ID"))
        case Forge.GITHUB | Forge.GITEA:
            api, repository = _needed(environ, "GITHUB_API_URL", forge), _needed(environ, "GITHUB_REPOSITORY", forge)
            found = _of_event(environ.get("GITHUB_EVENT_PATH")) if number is None else None
    return ForgePlace(
        forge,
        _checked(api),
        quote(repository, safe="/" if forge is not Forge.GITLAB else ""),
        number if number is not None else found,
        token or _token(forge, environ),
    )


def _forge(environ: Mapping[str, str]) -> Forge:
    signs: tuple[tuple[Forge, tuple[str, ...]], ...] = (
        (Forge.GITEA, ("GITEA_ACTIONS", "FORGEJO_ACTIONS")),
        (Forge.GITHUB, ("GITHUB_ACTIONS",)),
        (Forge.GITLAB, ("GITLAB_CI",)),
        (Forge.BITBUCKET, ("BITBUCKET_BUILD_NUMBER",)),
    )
    for forge, names in signs:
        if any(environ.get(name) for name in names):
            return forge
    raise ForgeError.of(
        "this is no CI job of a forge that gpurec knows",
        None,
        "run it in GitHub, Gitea or Forgejo Actions, GitLab CI or Bitbucket Pipelines; elsewhere use gpurec plan --format markdown",
    )


def _needed(environ: Mapping[str, str], name: str, forge: Forge) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise ForgeError.of(f"{forge} sets {name} in its jobs, and here it is not set", None, f"set {name}")
    return value


def _token(forge: Forge, environ: Mapping[str, str]) -> SecretRef:
    names = _TOKENS[forge]
    return SecretRef("env", next((name for name in names if environ.get(name)), names[0]))


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def _of_event(path: str | None, read: Callable[[Path, int], str] = read_bounded) -> int | None:
    """The number of the pull request that the job is about: of a pull request's own event, or of a comment on one."""
    if not path:
        return None
    try:
        event = json.loads(read(Path(path), LARGEST_EVENT))
    except (ValueError, RecursionError) as error:
        raise ForgeError.of("the event of this job is not JSON", path, "GITHUB_EVENT_PATH names the file that the runner wrote") from error
    if not isinstance(event, dict):
        return None
    pull, issue = event.get("pull_request"), event.get("issue")
    for found in (pull, issue if isinstance(issue, dict) and issue.get("pull_request") else None):
        if isinstance(found, dict) and isinstance(number := found.get("number"), int) and not isinstance(number, bool) and number > 0:
            return number
    return None


def _checked(api: str) -> str:
    """The URL of an API without its last slash. Plain http would show the token to anyone on the way: it only goes to this machine."""
    url = urlsplit(api)
    if url.scheme not in ("http", "https") or not url.hostname or url.username is not None or url.query or url.fragment:
        raise ForgeError.of("this is not the URL of an API", api, "write it as https://HOST/PATH")
    if url.scheme == "http" and not is_loopback(url.hostname):
        raise ForgeError.of("the token would be sent in the clear", api, "use https; plain http only goes to this machine")
    return api.rstrip("/")
