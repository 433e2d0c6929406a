"""How each forge's API lists, makes and changes comments and issues.

Sources: docs.github.com/rest/issues (comments, issues), docs.gitlab.com/api (notes, issues), docs.gitea.com/api (issue),
developer.atlassian.com/cloud/bitbucket/rest (comments of pull requests).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconciler.forge.place import Forge
from reconciler.value_class import value_class


@value_class
class Routes:
    """`listing` is the path to GET (with `query`, without `page` where only a page tells the next one) and to POST to, `one` that of one of
    them, changed by the method `update`. `text` and `author` are the keys that lead to them, `key` is the name of the number by which one
    is changed; `values` holds the list of a page. `payload` makes what is sent, of a text, a title (of issues), and whether it is to be
    closed."""

    listing: str
    one: str
    update: str
    query: str
    text: tuple[str, ...]
    author: tuple[str, ...]
    payload: Callable[[str, str, bool], Mapping[str, Any]]
    values: str | None = None
    key: str = "id"

    def items(self, answer: Any) -> Sequence[Any] | None:
        """Those of a page; None where it is none."""
        if self.values is not None:
            answer = answer.get(self.values) if isinstance(answer, dict) else None
        return answer if isinstance(answer, list) else None

    def id_of(self, one: Any) -> int:
        found = _at(one, (self.key,))
        return found if isinstance(found, int) else 0

    def text_of(self, one: Any) -> str:
        found = _at(one, self.text)
        return found if isinstance(found, str) else ""

    def author_of(self, one: Any) -> str | None:
        found = _at(one, self.author)
        return str(found) if found is not None else None

    def name_of(self, user: Any) -> str | None:
        """The name of a user, as `author_of` says that of an author."""
        found = _at(user, self.author[1:])
        return str(found) if found is not None else None

    def is_bot(self, one: Any) -> bool:
        return str(_at(one, (self.author[0], "type"))) == "Bot"


def _at(one: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        one = one.get(key) if isinstance(one, dict) else None
    return one


def _body(text: str, title: str, close: bool) -> Mapping[str, Any]:
    return {"body": text}


def _raw(text: str, title: str, close: bool) -> Mapping[str, Any]:
    return {"content": {"raw": text}}


def _issue(text: str, title: str, close: bool) -> Mapping[str, Any]:
    return {"title": title, "body": text, **({"state": "closed"} if close else {})}


def _description(text: str, title: str, close: bool) -> Mapping[str, Any]:
    return {"title": title, "description": text, **({"state_event": "close"} if close else {})}


_PAGE = "?page={page}&per_page={size}"
_OF_GITHUB = Routes(
    "/repos/{repository}/issues/{number}/comments",
    "/repos/{repository}/issues/comments/{id}",
    "PATCH",
    _PAGE,
    ("body",),
    ("user", "login"),
    _body,
)
_ISSUES_OF_GITHUB = Routes(
    "/repos/{repository}/issues",
    "/repos/{repository}/issues/{id}",
    "PATCH",
    _PAGE + "&state=open",
    ("body",),
    ("user", "login"),
    _issue,
    key="number",
)
COMMENTS: Mapping[Forge, Routes] = {
    Forge.GITHUB: _OF_GITHUB,
    Forge.GITEA: replace(_OF_GITHUB, query=""),  # all at once
    Forge.GITLAB: Routes(
        "/projects/{repository}/merge_requests/{number}/notes",
        "/projects/{repository}/merge_requests/{number}/notes/{id}",
        "PUT",
        _PAGE,
        ("body",),
        ("author", "username"),
        _body,
    ),
    Forge.BITBUCKET: Routes(
        "/repositories/{repository}/pullrequests/{number}/comments",
        "/repositories/{repository}/pullrequests/{number}/comments/{id}",
        "PUT",
        "?pagelen={size}",  # its next pages are those that it names: "refrain from constructing your own URLs"
        ("content", "raw"),
        ("user", "uuid"),
        _raw,
        values="values",
    ),
}
"""Comments of a pull request."""
ISSUES: Mapping[Forge, Routes] = {
    Forge.GITHUB: _ISSUES_OF_GITHUB,
    Forge.GITEA: replace(_ISSUES_OF_GITHUB, query="?page={page}&limit={size}&state=open&type=issues"),
    Forge.GITLAB: Routes(
        "/projects/{repository}/issues",
        "/projects/{repository}/issues/{id}",
        "PUT",
        _PAGE + "&state=opened",
        ("description",),
        ("author", "username"),
        _description,
        key="iid",
    ),
}
"""Issues of a repository, where every repository has them."""
