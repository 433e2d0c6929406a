"""Deployment B over HTTP: agents that are allocated and released beside the files, and tickets that are paid."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from autogen_lab import Autogen
from cli_lab import OPS, serving

from reconciler.sim import builtin_fleet, running
from reconciler.state import open_state

MORE = """
agent_types:
  chat:
    container: {image: "registry.example/autogen-agent:1.4", networks: [host], env: {LOG_LEVEL: info}}
    depends_on: [redis]
    llm: {system_message: You help.}
policy:
  service:
    tokens: [{name: reader, secret: env:READER}, {name: ops, secret: env:OPS, role: apply}]
    livepeer:
      secret: env:PAY
      price_per_unit: 100000000000000
      ticket_ev: 29000000000000
      max_face_value: 1000000000000000
"""
BOT = {"name": "bot", "type": "chat", "model": "codellama:34b-instruct-q4_k_m", "config": {"pairs": ["b", "a"]}, "requires_gpu": True}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Autogen]:
    """Applied once, with agent types and prices."""
    with pytest.MonkeyPatch.context() as patch, running(builtin_fleet("autogen").on_free_ports().with_time_scale(0)) as fleet:
        patch.setenv("TRADING_API_KEY", "sk-of-the-exchange")
        found = Autogen(fleet, tmp_path_factory.mktemp("autogen"))
        with (found.root / "desired" / "autogen.yaml").open("a") as file:
            file.write(MORE)
        found.run("apply", "--auto-approve")
        yield found


@pytest.fixture
def client(lab: Autogen) -> Iterator[httpx.Client]:
    with serving(lab, "--interval", "1h") as client:
        yield client


def steps(lab: Autogen) -> list[str]:
    return [f"{step['action']} {step['address']}" for step in lab.plan()["steps"]]


def test_an_agent_that_is_allocated_is_in_the_next_plan_and_one_that_is_released_leaves(lab: Autogen, client: httpx.Client) -> None:
    assert steps(lab) == []
    answer = client.post("/agents/allocate", json=BOT, headers=OPS)
    document = answer.json()
    assert (answer.status_code, document["id"], document["by"], document["config"]) == (201, "bot", "ops", BOT["config"])
    again = client.post("/api/v1/agents/allocate", json=BOT, headers=OPS)
    assert (again.status_code, again.json()) == (200, document)
    assert client.post("/agents/allocate", json=BOT | {"requires_gpu": False}, headers=OPS).status_code == 409
    assert client.get("/agents").json() == {"agents": [document]}
    assert client.get("/v1/history?last=1").json()["runs"][0]["command"] == "serve: agent bot allocated by ops"
    assert steps(lab) == ["create agent.bot@gpu-1"]
    assert "1 agent that was allocated over HTTP and is in no file: bot (by ops)" in lab.run("plan")
    out = lab.root / "saved.plan"
    lab.run("plan", "--out", str(out))
    lab.run("apply", str(out))
    assert steps(lab) == []
    held = lab.container("bot")
    assert [one for one in held["Config"]["Env"] if one.startswith("GPUREC_AGENT_TYPE")] == ["GPUREC_AGENT_TYPE=chat"]
    shown = client.post("/v1/gpu/rebalance", headers=OPS).json()
    assert shown["steps"] == []
    released = client.delete("/agents/bot", headers=OPS)
    assert (released.status_code, released.json()) == (200, {"id": "bot", "status": "released"})
    assert client.delete("/agents/bot", headers=OPS).status_code == 404
    assert steps(lab) == ["remove agent.bot@gpu-1"]
    lab.run("apply", "--auto-approve")
    assert lab.docker("GET", "/containers/autogen-bot/json").status_code == 404


def test_what_was_allocated_is_exported_into_files_and_the_plan_stays_empty(lab: Autogen, client: httpx.Client) -> None:
    client.post("/agents/allocate", json=BOT, headers=OPS)
    lab.run("apply", "--auto-approve")
    file = lab.root / "overlay.yaml"
    lab.run("import", "--overlay", "--out", str(file))
    text = file.read_text()
    assert "  bot:" in text
    whole = ("-f", "desired/autogen.yaml", "-f", "overlay.yaml")
    assert json.loads(lab.run("plan", "--format", "json", *whole))["steps"] == []
    assert "allocated over HTTP" not in lab.run("plan", *whole), "what the files say of a name counts"
    client.delete("/agents/bot", headers=OPS)
    assert json.loads(lab.run("plan", "--format", "json", *whole))["steps"] == [], "it is the files that want it now"
    lab.run("apply", "--auto-approve")
    file.unlink()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"more": 1}, 400),
        ({"type": "poet"}, 404),
        ({"name": "coder"}, 409),
        ({"name": "../x"}, 400),
        ({"name": ""}, 400),
        ({"config": []}, 400),
        ({"config": {"x": "y" * 65_600}}, 413),
        ({"requires_gpu": "yes"}, 400),
        ({"model": "a\nb"}, 400),
    ],
)
def test_what_no_agent_can_be_is_refused_and_nothing_is_kept(client: httpx.Client, change: dict[str, object], status: int) -> None:
    answer = client.post("/agents/allocate", json=BOT | change, headers=OPS)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert client.get("/agents").json() == {"agents": []}
    assert client.post("/agents/allocate", json=BOT, headers={"Authorization": "Bearer reader-secret"}).status_code == 403


@pytest.mark.parametrize("value", ["1e999", '"\\ud800"', '{"\\ud800": 1}', "1" * 40, "[" * 40 + "]" * 40])
def test_a_config_that_no_file_could_say_is_refused_and_nothing_is_kept(client: httpx.Client, value: str) -> None:
    body = f'{{"name": "bot", "type": "chat", "config": {{"x": {value}}}}}'
    answer = client.post("/agents/allocate", content=body, headers={**OPS, "Content-Type": "application/json"})
    assert (answer.status_code, "config has" in answer.json()["error"]) == (400, True)
    assert client.get("/agents").json() == {"agents": []}


def test_a_token_allocates_so_many_agents_a_minute_and_no_more(lab: Autogen, client: httpx.Client) -> None:
    answers = [client.delete(f"/agents/none-{number}", headers=OPS) for number in range(31)]
    assert [one.status_code for one in answers] == [404] * 30 + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 61


def ticket(number: int, **change: object) -> bytes:
    body = {
        "id": f"0x{number}",
        "sender": "0xabc",
        "face_value": "1000000000000000",
        "win_probability": 0.029,
        "timestamp": int(time.time()),
    }
    return json.dumps(body | change).encode()


def pay(client: httpx.Client, body: bytes, secret: bytes = b"pay-secret") -> httpx.Response:
    signature = f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"
    return client.post("/webhook/livepeer", content=body, headers={"X-Signature-256": signature})


def test_a_ticket_counts_once_and_only_signed_and_young_ones_do(client: httpx.Client) -> None:
    body = ticket(1)
    assert [pay(client, body).json()["status"] for _ in range(2)] == ["recorded", "known"]
    assert pay(client, ticket(1, face_value=5)).json() == {"id": "0x1", "status": "known"}
    assert pay(client, ticket(2, face_value=10**30, win_probability="0.1")).status_code == 200
    for wrong, status in (
        (ticket(3, timestamp=int(time.time()) - 400), 400),
        (ticket(3, timestamp=int(time.time()) + 400), 400),
        (ticket(3, timestamp=10**400), 400),
        (ticket(3, face_value=-1), 400),
        (ticket(3, face_value=1.5), 400),
        (ticket(3, win_probability=1.5), 400),
        (ticket(3, win_probability=float("nan")), 400),
        (ticket(3, more=1), 400),
        (b"no json", 400),
    ):
        assert pay(client, wrong).status_code == status, wrong
    assert pay(client, ticket(3), b"other").status_code == 401
    assert client.post("/webhook/livepeer", content=ticket(3)).status_code == 401
    assert client.get("/payments/stats").json() == {
        "settings": {"price_per_unit": 10**14, "ticket_ev": 29 * 10**12, "max_face_value": 10**15},
        "tickets": {"count": 2, "face_value_wei": 10**30 + 10**15, "expected_value_wei": 10**29 + 29 * 10**12},
    }


def test_no_ticket_is_lost_while_an_apply_holds_the_state(lab: Autogen, client: httpx.Client) -> None:
    before = client.get("/payments/stats").json()["tickets"]["count"]
    with open_state(str(lab.root / "state" / "autogen.db"), lab.root).writer(command="gpurec apply", fleet="autogen"):
        answers = [pay(client, body) for body in (ticket(11), ticket(11), ticket(12))]
        assert [(one.status_code, one.json()["status"]) for one in answers] == [(202, "waiting")] * 3
        assert client.get("/payments/stats").json()["tickets"]["count"] == before + 2
    assert pay(client, ticket(13)).json()["status"] == "recorded"
    assert pay(client, ticket(12)).json()["status"] == "known"
    assert client.get("/payments/stats").json()["tickets"]["count"] == before + 3


def test_prices_under_which_a_ticket_is_worth_nothing_or_all_are_refused(lab: Autogen, tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    for old, new in (("ticket_ev: 29000000000000", "ticket_ev: 0"), ("max_face_value: 1000000000000000", "max_face_value: 29000000000000")):
        file.write_text((lab.root / "desired" / "autogen.yaml").read_text().replace(old, new))
        lab.run("validate", "-f", str(file), ends=1)
    file.write_text((lab.root / "desired" / "autogen.yaml").read_text().replace("max_face_value: 1000000000000000", "max_face_value: 0"))
    lab.run("validate", "-f", str(file))
