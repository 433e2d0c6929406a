"""Each forge's API of comments and issues over real HTTP, held to what the forge's own description says (`described.py`).

What it keeps are plain values; faults are put before requests. A request that is not described is refused, an answer with a key that is not
described is an error of the fake.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from described import described

from reconciler.forge import Forge

TOKEN = "forge-token-0123456789"
MOST = {Forge.GITHUB: 65_536, Forge.GITEA: 65_536, Forge.GITLAB: 1_000_000, Forge.BITBUCKET: 32_768}
OPAQUE = "8xhd"
PREFIX = {Forge.GITEA: "/api/v1", Forge.GITLAB: "/api/v4", Forge.BITBUCKET: "/2.0", Forge.GITHUB: ""}


@dataclass
class Written:
    """A comment or an issue; on GitHub also a pull request, which it lists among issues, on Bitbucket also what is deleted."""

    id: int
    author: str
    text: str
    open: bool = True
    title: str = ""
    pull: bool = False
    deleted: bool = False


@dataclass
class FakeForge:
    """`faults` are answered before anything else, one a request: (status, headers, body, whether it is carried out all the same)."""

    forge: Forge
    url: str = ""
    me: str = "gpurec-bot"
    may_ask_who: bool = True
    may_write_over_others: bool = True
    """Gitea and Forgejo let all who may write to the repository do so."""
    comments: list[Written] = field(default_factory=list)
    issues: list[Written] = field(default_factory=list)
    faults: list[tuple[int, dict[str, str], str, bool]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    next_from: str | None = None
    """Whose URLs the next pages have; None: its own."""
    most_a_page: int = 100
    """What a page holds at most, whatever is asked for (Gitea: `MAX_RESPONSE_ITEMS`)."""

    def environ(self, event: str | None = None) -> dict[str, str]:
        """What CI sets in a job of pull request 7 (`event`: the file of GitHub's and Gitea's)."""
        api = self.url + PREFIX[self.forge]
        match self.forge:
            case Forge.GITHUB:
                names = {"GITHUB_ACTIONS": "true", "GITHUB_TOKEN": TOKEN}
            case Forge.GITEA:
                names = {"GITHUB_ACTIONS": "true", "GITEA_ACTIONS": "true", "GITEA_TOKEN": TOKEN}
            case Forge.GITLAB:
                return {
                    "GITLAB_CI": "true", "CI_API_V4_URL": api, "CI_PROJECT_ID": "42", "GITLAB_TOKEN": TOKEN,
                    **({} if event is None else {"CI_MERGE_REQUEST_IID": "7"}),
                }  # fmt: skip
            case Forge.BITBUCKET:
                return {
                    "BITBUCKET_BUILD_NUMBER": "1", "BITBUCKET_API_URL": api, "BITBUCKET_REPO_FULL_NAME": "o/r", "BITBUCKET_TOKEN": TOKEN,
                    **({} if event is None else {"BITBUCKET_PR_ID": "7"}),
                }  # fmt: skip
        names |= {"GITHUB_API_URL": api, "GITHUB_REPOSITORY": "o/r"}
        return names if event is None else {**names, "GITHUB_EVENT_PATH": event}

    def user(self, name: str) -> dict[str, Any]:
        match self.forge:
            case Forge.GITLAB:
                return {"id": 1, "username": name, "name": name, "state": "active"}
            case Forge.BITBUCKET:
                return {"type": "user", "uuid": "{" + name + "}", "display_name": name}
            case _:
                return {
                    "login": name,
                    "id": 1,
                    **({"type": "Bot" if name.endswith("bot") else "User"} if self.forge is Forge.GITHUB else {}),
                }

    def show(self, one: Written, issue: bool) -> dict[str, Any]:
        match self.forge:
            case Forge.GITLAB if issue:
                return {"id": 9000 + one.id, "iid": one.id, "title": one.title, "description": one.text, "author": self.user(one.author)}
            case Forge.GITLAB:
                return {"id": one.id, "body": one.text, "author": self.user(one.author), "system": False, "noteable_iid": 7}
            case Forge.BITBUCKET:
                content = {"type": "rendered", "raw": one.text, "markup": "markdown", "html": ""}
                return {"id": one.id, "content": content, "user": self.user(one.author), "deleted": one.deleted}
            case _ if issue:
                pull = {"pull_request": {"url": "u"}} if one.pull else {}
                return {"id": 9000 + one.id, "number": one.id, "title": one.title, "body": one.text, "user": self.user(one.author), **pull}
            case Forge.GITEA:
                return {"id": one.id, "pull_request_url": "u", "body": one.text, "user": self.user(one.author)}
            case _:
                return {"id": one.id, "node_id": "IC_x", "body": one.text, "user": self.user(one.author)}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: ClassVar[FakeForge]

    def log_message(self, *_: object) -> None:
        pass

    def _say(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
        self.send_response_only(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self) -> None:
        fake = self.fake
        url = urlsplit(self.path)
        path = unquote(url.path).removeprefix(PREFIX[fake.forge])
        length = int(self.headers.get("Content-Length", 0))
        sent = json.loads(self.rfile.read(length)) if length else None
        fake.asked.append(f"{self.command} {path}")
        fault = fake.faults.pop(0) if fake.faults and path != "/user" else None
        if fault is not None and not fault[3]:
            self._say(fault[0], fault[2], fault[1])
            return
        said = self.headers.get("PRIVATE-TOKEN") if fake.forge is Forge.GITLAB else (self.headers.get("Authorization") or " ").split(" ")[1]
        refused = (401, {"message": "Bad credentials"}, {})
        status, document, headers = refused if said != TOKEN else self._done(path, parse_qs(url.query), sent)
        if fault is not None:
            self._say(fault[0], fault[2], fault[1])
        else:
            self._say(status, document, headers)

    def _done(self, path: str, query: dict[str, list[str]], sent: Any) -> tuple[int, Any, dict[str, str]]:
        fake = self.fake
        found = described(fake.forge, self.command, path)
        if found is None:
            return 404, {"message": "Not Found"}, {}
        operation, at = found
        if wrong := operation.wrong(query, sent):
            return 400, {"message": f"not described: {wrong}"}, {}
        if path == "/user":
            return (200, fake.user(fake.me), {}) if fake.may_ask_who else (403, {"message": "Resource not accessible by integration"}, {})
        is_issue = "comments" not in path and "notes" not in path
        kept = fake.issues if is_issue else fake.comments
        if self.command == "GET":
            shown, headers = self._page([one for one in kept if one.open], query, is_issue, paged="page" in operation.query)
            items = shown["values"] if isinstance(shown, dict) else shown
            assert all(one.keys() <= operation.answers for one in items), items
            return operation.status, shown, headers
        one = next((each for each in kept if each.id == int(at[1])), None) if at.groups() else Written(len(kept) + 1, fake.me, "")
        if one is None:
            return 404, {"message": "Not Found"}, {}
        if one.author != fake.me and not fake.may_write_over_others:
            return 403, {"message": "no"}, {}
        if not self._write(one, kept, sent):
            return 422, {"message": "Validation Failed: body is too long"}, {}
        answer = fake.show(one, is_issue)
        assert answer.keys() <= operation.answers, answer
        return operation.status, answer, {}

    def _page(self, kept: list[Written], query: dict[str, list[str]], issue: bool, *, paged: bool) -> tuple[Any, dict[str, str]]:
        """A page, and how it says that there is another."""
        asked = int(next((query[name][0] for name in ("per_page", "pagelen", "limit") if name in query), "30"))
        size, page = (min(asked, self.fake.most_a_page), self._number(query)) if paged else (len(kept), 1)
        shown = [self.fake.show(one, issue) for one in kept[(page - 1) * size : page * size]]
        more = page * size < len(kept)
        bitbucket = self.fake.forge is Forge.BITBUCKET
        asks = {name: values[0] for name, values in query.items()} | {"page": f"{OPAQUE if bitbucket else ''}{page + 1}"}
        following = f"{self.fake.next_from or self.fake.url}{urlsplit(self.path).path}?{urlencode(asks)}"
        if bitbucket:
            return {"values": shown, "page": page, "size": len(kept), **({"next": following} if more else {})}, {}
        return shown, {"Link": f'<{following}>; rel="next", <{following}>; rel="last"'} if more else {}

    def _number(self, query: dict[str, list[str]]) -> int:
        """Bitbucket's own word for a page is none that one could make up."""
        said = query.get("page", ["1"])[0]
        return int(said.removeprefix(OPAQUE) if self.fake.forge is Forge.BITBUCKET else said)

    def _write(self, one: Written, kept: list[Written], sent: Any) -> bool:
        """Whether its text is short enough; then it is kept."""
        text = sent["content"]["raw"] if self.fake.forge is Forge.BITBUCKET else sent.get("description", sent.get("body"))
        if len(text.encode()) > MOST[self.fake.forge]:
            return False
        one.text, one.title = text, sent.get("title", one.title)
        one.open = not (sent.get("state") == "closed" or sent.get("state_event") == "close")
        if one not in kept:
            kept.append(one)
        return True

    do_GET = do_POST = do_PATCH = do_PUT = _answer  # noqa: N815  the names that http.server looks for


@contextmanager
def serving(forge: Forge) -> Iterator[FakeForge]:
    fake = FakeForge(forge)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"fake": fake}))
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
