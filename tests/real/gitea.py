"""A real Gitea with a repository `o/r` and pull request 1 in it: `gitea web` over SQLite, in a folder of its own."""

from __future__ import annotations

import base64
import getpass
import subprocess
from pathlib import Path
from typing import Any

from processes import LOOPBACK, HttpServer, Process, free_port
from provision import located

PASSWORD = "correct-horse-1"
OWNER, BOT, STRANGER = "o", "gpurec-bot", "mallory"
RIGHTS = "write:issue,read:user"
"""What docs/review.md asks of a token."""
SETTINGS = """\
APP_NAME = forge
RUN_USER = {user}
RUN_MODE = prod
WORK_PATH = {home}
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
[server]
HTTP_ADDR = {address}
HTTP_PORT = {port}
ROOT_URL = http://{address}:{port}/
STATIC_ROOT_PATH = {program}
OFFLINE_MODE = true
DISABLE_SSH = true
[database]
DB_TYPE = sqlite3
PATH = {home}/gitea.db
[security]
INSTALL_LOCK = true
[service]
DISABLE_REGISTRATION = true
[cron]
ENABLED = false
[log]
LEVEL = Warn
"""


class Gitea(HttpServer):
    """`owner` is a client with all rights. Users BOT and STRANGER may read the repository, which is private, and so comment."""

    ready_path = "/api/healthz"

    def __init__(self, home: Path) -> None:
        self.folder = located().gitea
        if not (self.folder / "gitea").exists():
            raise FileNotFoundError(f"{self.folder / 'gitea'} is missing; run `python tests/real/provision.py --extra` first")
        super().__init__(free_port())
        self.home = home
        self._tokens: dict[tuple[str, str], str] = {}
        said = {"user": getpass.getuser(), "home": home, "address": LOOPBACK, "port": self.port, "program": self.folder}
        (home / "app.ini").write_text(SETTINGS.format(**said))
        self._command("migrate")
        self._user(OWNER, "--admin")
        self._user(BOT)
        self._user(STRANGER)
        self.start()
        self._make_repository()

    @property
    def api(self) -> str:
        return f"{self.url}/api/v1"

    def start(self) -> None:
        environment = {"GITEA_WORK_DIR": str(self.home)}
        self.process = Process("gitea", [self.folder / "gitea", "--config", self.home / "app.ini", "web"], self.home, environment)
        self.await_ready()

    def _command(self, *words: str) -> str:
        command = [str(self.folder / "gitea"), "--config", str(self.home / "app.ini"), *words]
        environment = {"HOME": str(self.home), "GITEA_WORK_DIR": str(self.home), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, env=environment, cwd=self.home, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def _user(self, name: str, *more: str) -> None:
        told = ("--username", name, "--password", PASSWORD, "--email", f"{name}@example.org", "--must-change-password=false")
        self._command("admin", "user", "create", *told, *more)

    def token(self, user: str, rights: str) -> str:
        """A token with these scopes."""
        if (user, rights) not in self._tokens:
            told = ("--username", user, "--token-name", rights, "--scopes", rights)
            self._tokens[user, rights] = self._command("admin", "user", "generate-access-token", *told, "--raw").splitlines()[-1]
        return self._tokens[user, rights]

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, user: str = OWNER) -> Any:
        """The JSON of an answer to this user."""
        token = self.token(user, "all" if user == OWNER else RIGHTS)
        answer = self.client.request(method, f"/api/v1{path}", json=body, headers={"Authorization": f"token {token}"})
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def _make_repository(self) -> None:
        self.ask("POST", "/user/repos", {"name": "r", "private": True, "auto_init": True, "default_branch": "main"})
        for name in (BOT, STRANGER):
            self.ask("PUT", f"/repos/o/r/collaborators/{name}", {"permission": "read"})
        content = base64.b64encode(b"version: 1\n").decode()
        change = {"content": content, "message": "Want a model", "branch": "main", "new_branch": "change"}
        self.ask("POST", "/repos/o/r/contents/desired.yaml", change)
        assert self.ask("POST", "/repos/o/r/pulls", {"title": "Want a model", "head": "change", "base": "main"})["number"] == 1

    def write(self, user: str, body: str) -> None:
        """A comment of the pull request, by this user."""
        self.ask("POST", "/repos/o/r/issues/1/comments", {"body": body}, user)

    def comments(self) -> list[dict[str, Any]]:
        """Those of the pull request, the oldest first."""
        found: list[dict[str, Any]] = self.ask("GET", "/repos/o/r/issues/1/comments")
        return found

    def issues(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", "/repos/o/r/issues?state=all&type=issues&limit=50")
        return found

    def shown(self, text: str) -> str:
        """The HTML that a comment with this text is shown as."""
        headers = {"Authorization": f"token {self.token(OWNER, 'all')}"}
        request = {"Text": text, "Mode": "comment", "Context": "/o/r", "Wiki": False}
        answer = self.client.post("/api/v1/markup", json=request, headers=headers)
        assert answer.is_success, answer.text
        return answer.text
