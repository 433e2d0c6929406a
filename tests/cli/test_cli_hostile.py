"""Names that a server makes up cannot drive a terminal or forge a line, whatever the command and wherever they are shown."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.main import cli

NAMES = (
    "evil\x1b[2J\x1b]0;title\x07:1",
    "line\r\n  + load    model.forged@a/ollama:1",
    "txt.\u202eexe\u2066:1",
    "\u200bzero\ufeff\xadwidth:1",
    "c1\x9b31mred\x85next\u2028separator:1",
)
FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
WANTED = "version: 1\npolicy: {unmanaged: %s}\nmodels:\n  big:1: {engine: ollama, vram: 100GiB}\n"
INVENTORY = """
all:
  hosts:
    one: {engines: {ollama: {url: "%s"}}, gpus: [{index: 0, vram: 8GiB}]}
    two: {engines: {ollama: {url: "%s/broken"}}, gpus: [{index: 0, vram: 8GiB}]}
"""
MODELS = [{"name": name, "model": name, "size": 1000, "size_vram": 1000, "digest": "0" * 64, "context_length": 9} for name in NAMES]
ANSWERS = {"/api/version": {"version": NAMES[0]}, "/api/tags": {"models": MODELS}, "/api/ps": {"models": MODELS}}


class Liar(BaseHTTPRequestHandler):
    """An Ollama whose every word is meant to fool a reader."""

    def do_GET(self) -> None:
        self._answer(*((200, ANSWERS[self.path]) if self.path in ANSWERS else (404, {"error": "".join(NAMES)})))

    def do_POST(self) -> None:
        self._answer(500, {"error": "".join(NAMES)})

    def _answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for folder, text in (("inventories", INVENTORY % (url, url)), ("desired", "version: 1\n")):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "lab.yaml").write_text(text)
        yield tmp_path
        server.shutdown()


@pytest.mark.parametrize("policy", ["leave", "drift", "unload"])
def test_no_output_of_any_command_holds_what_a_terminal_would_obey(root: Path, policy: str) -> None:
    (root / "desired" / "lab.yaml").write_text(WANTED % policy)
    shown = ""
    for command in ("facts", "drift", "plan --out p", "show p", "apply --auto-approve", "plan --format json", "facts --format json"):
        result = CliRunner().invoke(cli, ["-C", str(root), *command.split()])
        assert result.exit_code in (0, 2, 3, 4), result.output
        assert not FORBIDDEN.search(result.output), (command, FORBIDDEN.search(result.output))
        shown += result.output
    assert "evil" in shown
    assert "model.forged" in shown
    assert not [line for line in shown.splitlines() if line.startswith("  + load")]
