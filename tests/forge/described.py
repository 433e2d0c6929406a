"""What the forges' own descriptions of their APIs say of the requests that gpurec makes, as facts: what may be asked, sent and read.

Sources, read on 2026-11-30:
GitHub: its OpenAPI description of api.github.com (npm `@octokit/openapi` 23.0.2);
Gitea: `templates/swagger/v1_json.tmpl` of 1.26.2 (comments of an issue have no pages there: all come at once);
GitLab: `doc/api/notes.md` and `doc/api/issues.md`, with the pages of `doc/api/rest`;
    and of what answers hold `lib/api/entities/{note,issuable_entity,issue_basic}.rb`, of what is taken `lib/api/{notes,issues}.rb`;
Bitbucket: its OpenAPI description (npm `@coderabbitai/bitbucket` 1.1.4), which asks to follow `next` and not to make URLs of one's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.forge import Forge


@dataclass(frozen=True)
class Operation:
    """`query` are the parameters that it takes, with the most that a number may be (None: no number); `body` the keys that it takes,
    `needed` those without which it refuses; `answers` the keys of an answer, or of each one of a list."""

    method: str
    path: str
    status: int
    query: Mapping[str, int | None]
    body: frozenset[str]
    needed: frozenset[str]
    answers: frozenset[str]

    def wrong(self, query: Mapping[str, list[str]], sent: object) -> str | None:
        """What of a request the description does not know; None where it knows all of it."""
        for name, values in query.items():
            if name not in self.query:
                return f"query {name}"
            most = self.query[name]
            if most is not None and int(values[0]) > most:
                return f"{name} is {values[0]}, more than {most}"
        keys = set(sent) if isinstance(sent, dict) else set()
        if not self.needed <= keys <= self.body:
            return f"body {sorted(keys)}"
        return None


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _operation(
    method: str, path: str, status: int, answers: str, query: Mapping[str, int | None] | None = None, *, sends: str = "", needs: str = ""
) -> Operation:
    return Operation(method, path, status, query or {}, _words(sends), _words(needs), _words(answers))


_EVERY = 2**31
_PAGES_OF_GITHUB = {"page": _EVERY, "per_page": 100}
_COMMENT_OF_GITHUB = "id node_id html_url issue_url url created_at updated_at user body body_text body_html author_association reactions"
_ISSUE_OF_GITHUB = (
    "id node_id number state state_reason title body user labels assignee assignees milestone locked comments pull_request closed_at"
    " created_at updated_at draft url html_url comments_url events_url labels_url repository_url"
)
_NEW_ISSUE_OF_GITHUB = "title body assignee assignees milestone labels issue_field_values type"
_USER_OF_GITHUB = "login id node_id type name site_admin"

_COMMENT_OF_GITEA = "assets body created_at html_url id issue_url original_author original_author_id pull_request_url updated_at user"
_ISSUE_OF_GITEA = (
    "assets assignee assignees body closed_at comments content_version created_at due_date html_url id is_locked labels milestone number"
    " original_author original_author_id pin_order pull_request ref repository state time_estimate title updated_at url user"
)
_NEW_ISSUE_OF_GITEA = "assignee assignees body closed due_date labels milestone ref title"
_CHANGED_ISSUE_OF_GITEA = "assignee assignees body content_version due_date milestone ref state title unset_due_date"

_PAGES_OF_GITLAB = {"page": _EVERY, "per_page": 100}
_NOTE_OF_GITLAB = (
    "id body attachment author created_at updated_at system noteable_id noteable_type project_id noteable_iid resolvable confidential"
    " internal imported imported_from"
)
_ISSUE_OF_GITLAB = (
    "id iid project_id title description state created_at updated_at closed_at labels milestone assignees author web_url type"
)
_NEW_ISSUE_OF_GITLAB = "title description labels assignee_ids confidential created_at due_date milestone_id weight issue_type"

_COMMENT_OF_BITBUCKET = "type id created_on updated_on content user deleted parent inline links pullrequest resolution pending"

DESCRIBED: Mapping[Forge, tuple[Operation, ...]] = {
    Forge.GITHUB: (
        _operation("GET", "/repos/o/r/issues/7/comments", 200, _COMMENT_OF_GITHUB, {**_PAGES_OF_GITHUB, "since": None}),
        _operation("POST", "/repos/o/r/issues/7/comments", 201, _COMMENT_OF_GITHUB, sends="body", needs="body"),
        _operation("PATCH", r"/repos/o/r/issues/comments/(\d+)", 200, _COMMENT_OF_GITHUB, sends="body", needs="body"),
        _operation("GET", "/repos/o/r/issues", 200, _ISSUE_OF_GITHUB, {**_PAGES_OF_GITHUB, "state": None, "sort": None, "direction": None}),
        _operation("POST", "/repos/o/r/issues", 201, _ISSUE_OF_GITHUB, sends=_NEW_ISSUE_OF_GITHUB, needs="title"),
        _operation("PATCH", r"/repos/o/r/issues/(\d+)", 200, _ISSUE_OF_GITHUB, sends=f"{_NEW_ISSUE_OF_GITHUB} state state_reason"),
        _operation("GET", "/user", 200, _USER_OF_GITHUB),
    ),
    Forge.GITEA: (
        _operation("GET", "/repos/o/r/issues/7/comments", 200, _COMMENT_OF_GITEA, {"since": None, "before": None}),
        _operation("POST", "/repos/o/r/issues/7/comments", 201, _COMMENT_OF_GITEA, sends="body", needs="body"),
        _operation("PATCH", r"/repos/o/r/issues/comments/(\d+)", 200, _COMMENT_OF_GITEA, sends="body", needs="body"),
        _operation("GET", "/repos/o/r/issues", 200, _ISSUE_OF_GITEA, {"page": _EVERY, "limit": 50, "state": None, "type": None, "q": None}),
        _operation("POST", "/repos/o/r/issues", 201, _ISSUE_OF_GITEA, sends=_NEW_ISSUE_OF_GITEA, needs="title"),
        _operation("PATCH", r"/repos/o/r/issues/(\d+)", 201, _ISSUE_OF_GITEA, sends=_CHANGED_ISSUE_OF_GITEA),
        _operation("GET", "/user", 200, "login id full_name email is_admin active restricted"),
    ),
    Forge.GITLAB: (
        _operation(
            "GET", "/projects/42/merge_requests/7/notes", 200, _NOTE_OF_GITLAB, {**_PAGES_OF_GITLAB, "sort": None, "order_by": None}
        ),
        _operation("POST", "/projects/42/merge_requests/7/notes", 201, _NOTE_OF_GITLAB, sends="body created_at internal", needs="body"),
        _operation("PUT", r"/projects/42/merge_requests/7/notes/(\d+)", 200, _NOTE_OF_GITLAB, sends="body", needs="body"),
        _operation("GET", "/projects/42/issues", 200, _ISSUE_OF_GITLAB, {**_PAGES_OF_GITLAB, "state": None, "sort": None, "search": None}),
        _operation("POST", "/projects/42/issues", 201, _ISSUE_OF_GITLAB, sends=_NEW_ISSUE_OF_GITLAB, needs="title"),
        _operation("PUT", r"/projects/42/issues/(\d+)", 200, _ISSUE_OF_GITLAB, sends=f"{_NEW_ISSUE_OF_GITLAB} state_event"),
        _operation("GET", "/user", 200, "id username name state email bot web_url"),
    ),
    Forge.BITBUCKET: (
        _operation(
            "GET",
            "/repositories/o/r/pullrequests/7/comments",
            200,
            _COMMENT_OF_BITBUCKET,
            {"page": None, "pagelen": 100, "q": None, "sort": None},
        ),
        _operation(
            "POST", "/repositories/o/r/pullrequests/7/comments", 201, _COMMENT_OF_BITBUCKET, sends="content parent inline", needs="content"
        ),
        _operation("PUT", r"/repositories/o/r/pullrequests/7/comments/(\d+)", 200, _COMMENT_OF_BITBUCKET, sends="content", needs="content"),
        _operation("GET", "/user", 200, "type uuid display_name nickname account_id created_on links"),
    ),
}


def described(forge: Forge, method: str, path: str) -> tuple[Operation, re.Match[str]] | None:
    """The operation of a request, and what its path says; None where no such one is described."""
    for operation in DESCRIBED[forge]:
        if operation.method == method and (found := re.fullmatch(operation.path, path)):
            return operation, found
    return None
