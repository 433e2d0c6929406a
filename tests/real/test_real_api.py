"""The HTTP API of a real process, judged by schemathesis: what is asked for by its OpenAPI document, and whatever that leaves out."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
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
    command = [
        *(python, "-m", "schemathesis.cli", "run", f"{served.base_url}/openapi.json", "--header", f"Authorization:{OPS['Authorization']}"),
        *("--checks", "all", "--exclude-checks", "ignored_auth"),  # reading needs none here
        *("--exclude-path", FOR_EVER, "--max-examples", str(EXAMPLES), "--phases", "examples,coverage,fuzzing", "--seed", "1"),
        *("--continue-on-failure", "--request-timeout", "30", "--warnings", "off"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    assert served.get("/healthz").status_code == 200
