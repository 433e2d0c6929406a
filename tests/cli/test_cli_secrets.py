"""A key goes to its engine and nowhere else: not into the state, a plan, facts, or what is printed, also with -vv and an echoing server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from cli_lab import Lab, served

from reconciler.sim import builtin_fleet

KEY = "s3cret-key-0123456789"


class Echo(BaseHTTPRequestHandler):
    """Answers every request with an error that holds its key."""

    heard: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        said = str(self.headers.get("Authorization"))
        self.heard.append(said)
        body = f'{{"error": "you said {said}"}}'.encode()
        self.send_response(500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """The demo with a key for every engine, and one more engine that echoes."""
    monkeypatch.setenv("LAB_KEY", KEY)
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text(KEY)
    root = tmp_path / "root"
    root.mkdir()
    with served(builtin_fleet("demo").with_time_scale(0), root) as lab, ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        path = root / "inventories" / "demo.yaml"
        url = f"http://127.0.0.1:{server.server_port}"
        path.write_text(
            path.read_text().replace('"kind": "ollama",', '"kind": "ollama", "auth": {"bearer": "env:LAB_KEY"},')
            + f'        dan: {{engines: {{e: {{kind: ollama, url: "{url}", auth: {{bearer: "file:{secret / "key"}"}}}}}}, gpus: []}}\n'
        )
        yield lab
        server.shutdown()


def test_a_key_is_sent_to_its_engine_and_found_nowhere_else(lab: Lab) -> None:
    commands = ("validate", "inventory", "inventory --format json", "facts --out f", "facts --format json", "plan --out p", "show p")
    printed = ""
    for command in (*commands, "plan --format json", "drift", "apply p", "history --format json"):
        with lab.process("-vv", *command.split()) as process:
            out, err = process.communicate(timeout=60)
        assert process.returncode in (0, 2, 3, 4), err
        printed += out + err
    assert f"Bearer {KEY}" in Echo.heard
    assert "you said Bearer (the key)" in printed
    assert KEY not in printed
    files = [path for path in lab.root.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"p", "f", "demo.db"}
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


@pytest.mark.parametrize("option", ["-q", "-vv"])
def test_a_key_that_is_not_set_is_told_by_the_name_of_its_variable(lab: Lab, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_KEY")
    result = lab.run(option, "facts")
    assert result.exit_code == 4
    assert "the environment variable LAB_KEY is not set" in result.stdout
    assert KEY not in result.output
