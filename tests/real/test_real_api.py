"""The HTTP API of a real process, judged by schemathesis: what is asked for by its OpenAPI document, and whatever that leaves out."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from autogen_lab import Autogen
from cli_lab import OPS, serving
from provision import located

from reconciler.sim import builtin_fleet, running

MORE = """
agent_types:
  chat: {container: {image: "registry.example/autogen-agent:1.4", networks: [host]}}
policy:
  service:
    tokens: [{name: ops, secret: env:OPS, role: apply}]
    livepeer: {secret: env:PAY, price_per_unit: 100, ticket_ev: 29, max_face_value: 1000}
"""
EXAMPLES = 5
"""For each operation; every one of its parameters is tried at its bounds beside them."""
FOR_EVER = "/v1/events"


class Cutting(BaseHTTPRequestHandler):
    """Passes all on to the service, and of what never ends the first piece."""

    service = ""

    def answer(self) -> None:
        host, _, port = self.service.rpartition(":")
        asking = HTTPConnection(host, int(port), timeout=60)
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        asking.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            asking.putheader(name, self.service if name.lower() == "host" else value)
        asking.endheaders(body or None)
        found = asking.getresponse()
        ends = found.getheader("content-type", "").partition(";")[0] != "text/event-stream"
        content = found.read() if ends else found.read1()
        self.send_response(found.status)
        for name, value in found.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        asking.close()

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = do_HEAD = do_OPTIONS = do_TRACE = do_QUERY = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def cut_short(client: httpx.Client) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Cutting,), {"service": client.base_url.netloc.decode()})) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setenv("TRADING_API_KEY", "sk-of-the-exchange")
    with running(builtin_fleet("autogen").on_free_ports().with_time_scale(0)) as fleet:
        lab = Autogen(fleet, tmp_path)
        with (tmp_path / "desired" / "autogen.yaml").open("a") as file:
            file.write(MORE)
        lab.run("apply", "--auto-approve")
        with serving(lab, "--interval", "1h") as client:
            yield client


@pytest.mark.timeout(900)
def test_schemathesis_finds_no_server_error_and_no_answer_that_the_document_does_not_say(served: httpx.Client, tmp_path: Path) -> None:
    python = located().schemathesis
    if not python.exists():
        pytest.fail("schemathesis is missing; run `make real`, or `python tests/real/provision.py` first", pytrace=False)
    document = served.get("/openapi.json").json()
    assert len(document["paths"]) > 30
    assert FOR_EVER in document["paths"]
    with cut_short(served) as url:
        judged(url, python, tmp_path)
    assert served.get("/healthz").status_code == 200


def judged(url: str, python: Path, folder: Path) -> None:
    command = [
        *(python, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--header", f"Authorization:{OPS['Authorization']}"),
        *("--checks", "all", "--exclude-checks", "ignored_auth"),  # reading needs none here
        *("--max-examples", str(EXAMPLES), "--phases", "examples,coverage,fuzzing", "--seed", "1"),
        *("--continue-on-failure", "--request-timeout", "30", "--warnings", "off"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
