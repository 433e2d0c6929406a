"""`gpurec serve` as a process: what it answers, what it carries out, and how it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cli_lab import OPS, SMALL, Lab, served, serving

from reconciler.rendering.library import built_in
from reconciler.sim import builtin_fleet, read_sim_text

POLICY = """
policy:
  service:
    tokens: [{name: reader, secret: env:READER}, {name: ops, secret: env:OPS, role: apply}]
"""
READ = (
    *(
        "/",
        "/plan",
        "/drift",
        "/history",
        "/card/ada/0",
        "/why/model.nomic-embed-text@ada/ollama",
        "/healthz",
        "/readyz",
        "/health",
        "/metrics",
        "/status",
        "/v1/status",
        "/v1/plan",
        "/v1/drift",
        "/v1/conditions",
        "/v1/history",
    ),
    *("/v1/allocations", "/gpu/allocations", "/v1/gpu/status", "/api/v1/gpu/status"),
    *("/v1/gpu/memory-forecast", "/api/v1/gpu/memory-forecast?hours=3", "/v1/gpu/models-optimal?min_context_tokens=1"),
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path) as lab:
        lab.want(SMALL + POLICY)
        yield lab


def test_it_answers_from_the_last_look_and_asks_no_engine(lab: Lab) -> None:
    with serving(lab) as client:
        before = sum(len(engine.requests) for engine in lab.fleet.engines.values())
        for path in READ:
            assert client.get(path).status_code == 200, path
        assert sum(len(engine.requests) for engine in lab.fleet.engines.values()) == before
        plan = client.get("/v1/plan").json()
        assert [step["action"] for step in plan["steps"]] == ["load", "load"]
        assert [one["topic"] for one in client.get("/v1/conditions").json()["conditions"]] == ["pending", "pending"]
        assert client.get("/v1/status").json()["fleet"] == "demo"
        page = client.get("/")
        assert "Fleet demo" in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        why = client.get("/v1/explain/model.nomic-embed-text@ada/ollama").json()
        assert (why["address"], why["why"]["code"]) == ("model.nomic-embed-text@ada/ollama", "each")
        assert client.get("/v1/route/nomic-embed-text").json()["model_name"] == "nomic-embed-text"
        for path in ("/v1/explain/model.no@ada/ollama", "/v1/route/no-such-model", "/nowhere"):
            assert client.get(path).status_code == 404
        assert client.get("/v1/apply").status_code == 405
        assert client.get("/v1/history?last=0").status_code == 400


def test_just_the_approved_plan_is_carried_out_and_told_as_it_goes_on(lab: Lab) -> None:
    with serving(lab) as client:
        digest = client.get("/v1/plan").json()["digest"]
        for sent, status in (({"digest": "sha256:other"}, 409), ({"digest": 1}, 400), ({}, 400), ({"digest": digest, "force": True}, 400)):
            assert client.post("/v1/apply", json=sent, headers=OPS).status_code == status, sent
        assert client.post("/v1/apply", content="digest", headers={**OPS, "Content-Type": "application/json"}).status_code == 400
        assert client.post("/v1/apply", content=json.dumps({"digest": digest}), headers=OPS).status_code == 415
        assert client.post("/v1/apply", json={"digest": digest}, headers={"Authorization": "Bearer reader-secret"}).status_code == 403
        assert client.get("/v1/history").json() == {"runs": []}
        with client.stream("GET", "/v1/events") as events:
            lines = events.iter_lines()
            assert next(lines).startswith(":")
            with httpx.Client(base_url=client.base_url, trust_env=False) as other:
                assert other.post("/v1/apply", json={"digest": digest}, headers=OPS).status_code == 202
            documents = []
            for line in lines:
                if line.startswith("data: "):
                    documents.append(json.loads(line.removeprefix("data: ")))
                    if documents[-1]["type"] == "result":
                        break
        assert documents[-1]["exit_status"] == 0
        assert [one["address"] for one in documents if one["type"] == "step_done"]
        run = client.get("/v1/history").json()["runs"][0]
        assert run["command"] == "serve: approved by ops"
        assert client.post("/v1/apply", json={"digest": digest}, headers=OPS).status_code == 409, "the world has moved"


def test_a_step_that_fails_is_a_condition_until_the_plan_asks_for_it_no_more(lab: Lab) -> None:
    lab.want("version: 1\nmodels: {nowhere:1b: {engine: ollama, on: ada, vram: 350MiB}}\n" + POLICY)
    with serving(lab) as client, client.stream("GET", "/v1/events") as events:
        lines = events.iter_lines()
        digest = httpx.get(f"{client.base_url}/v1/plan", trust_env=False).json()["digest"]
        assert httpx.post(f"{client.base_url}/v1/apply", json={"digest": digest}, headers=OPS, trust_env=False).status_code == 202
        told = (json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))
        assert next(one for one in told if one["type"] == "result")["exit_status"] == 3
        next(one for one in told if one["type"] == "looked")
        held = httpx.get(f"{client.base_url}/v1/conditions", trust_env=False).json()["conditions"]
        assert ("failed", "model.nowhere:1b@ada/ollama") in [(one["topic"], one["subject"]) for one in held]


@pytest.mark.parametrize("approved", [True, False], ids=["of a caller", "of its own"])
def test_a_signal_ends_it_after_the_running_steps(tmp_path: Path, approved: bool) -> None:
    with served(builtin_fleet("demo").with_time_scale(1), tmp_path) as lab:
        lab.want(SMALL + POLICY)
        with serving(lab, *(() if approved else ("--mode", "apply")), until="looked" if approved else "run_started") as client:
            if approved:
                digest = client.get("/v1/plan").json()["digest"]
                assert client.post("/v1/apply", json={"digest": digest}, headers=OPS).status_code == 202
            deadline = time.monotonic() + 20
            while lab.sent().count("POST /api/embed") < 2:
                client.get("/healthz")
                assert time.monotonic() < deadline, lab.sent()
        run = json.loads(lab.run("history", "1", "--format", "json").stdout)
        assert (run["result"], run["steps"]) == ("done", {"done": 2})


def test_a_state_that_cannot_be_read_is_no_unknown_address(lab: Lab) -> None:
    with serving(lab, "--mode", "apply", "--interval", "1h") as client:
        assert client.get("/v1/explain/model.nomic-embed-text@ada/ollama").status_code == 200
        lab.state.write_bytes(b"no database")
        answer = client.get("/v1/explain/model.nomic-embed-text@ada/ollama")
        assert (answer.status_code, "state" in answer.json()["error"]) == (500, True)


def test_rebalance_plans_and_carries_out_nothing(lab: Lab) -> None:
    with serving(lab) as client:
        answer = client.post("/v1/gpu/rebalance", headers=OPS)
        assert [step["action"] for step in answer.json()["steps"]] == ["load", "load"]
        assert client.get("/v1/history").json() == {"runs": []}


def test_a_token_has_plans_made_so_often_a_minute_and_no_more(lab: Lab) -> None:
    with serving(lab) as client:
        answers = [client.post("/v1/gpu/rebalance", headers=OPS) for _ in range(31)]
    assert [one.status_code for one in answers] == [200] * 30 + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 61


def test_metrics_tell_what_is_known_and_leave_out_what_is_not(lab: Lab) -> None:
    with serving(lab, "--mode", "apply") as client:
        text = client.get("/metrics").text
    lines = text.splitlines()
    assert 'gpurec_engine_up{engine="ollama",kind="ollama",node="ada"} 1.0' in lines
    assert any(line.startswith('gpurec_probe_seconds{engine="ollama",kind="ollama",node="ada"} 0.') for line in lines)
    assert any(line.startswith('gpu_memory_total_mb{device_id="ada/0"}') for line in lines)
    assert not [line for line in lines if line.startswith("gpurec_gpu_temperature_celsius{")]
    assert 'gpurec_apply_steps_total{action="load",result="done"} 2.0' in lines


def test_every_metric_of_ours_that_the_built_in_templates_ask_for_is_told(lab: Lab) -> None:
    asked = {name for one in ("grafana", "prometheus-rules") for name in re.findall(r"\b(?:gpurec|gpu)_\w+", text_of(one))}
    with serving(lab) as client:
        told = set(re.findall(r"^# TYPE (\w+) ", client.get("/metrics").text, re.MULTILINE))
    assert {"gpurec_engine_up", "gpurec_gpu_temperature_celsius", "gpu_memory_used_mb"} <= asked
    assert asked <= told


def text_of(name: str) -> str:
    template = built_in(name)
    assert template is not None
    return template.text


def test_it_ends_in_order_while_somebody_reads_its_events(lab: Lab) -> None:
    with serving(lab) as client:  # whose end asks for 0
        answer = client.send(client.build_request("GET", "/v1/events"), stream=True)
        assert next(answer.iter_lines()).startswith(":")


def refused(lab: Lab, *arguments: str, **environ: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "reconciler", "-C", str(lab.root), "serve", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environ}, timeout=60, check=False)
    return done.returncode, done.stderr


def test_what_would_be_open_to_others_is_refused(lab: Lab) -> None:
    code, said = refused(lab, "--listen", "0.0.0.0:0", READER="r", OPS="o")
    assert (code, "--insecure-listen" in said) == (7, True)
    code, said = refused(lab, "--listen", "127.0.0.1:0", READER="r")
    assert (code, "environment variable OPS is not set" in said) == (1, True)
    code, said = refused(lab, "--listen", "127.0.0.1:0", "--tls-cert", "nowhere.pem", "--tls-key", "nowhere.pem", READER="r", OPS="o")
    assert (code, "the certificate or its key cannot be used" in said) == (1, True)


def test_a_taken_port_is_one_sentence(lab: Lab) -> None:
    port = next(iter(lab.fleet.engines.values())).port
    code, said = refused(lab, "--listen", f"127.0.0.1:{port}", READER="r", OPS="o")
    assert code == 1
    assert "cannot be listened on" in said
    assert "Traceback" not in said


def test_the_forecast_and_the_ranking_answer_from_the_history_and_say_what_is_wrong_with_a_question(lab: Lab) -> None:
    with serving(lab) as client:
        document = client.get("/v1/gpu/memory-forecast?hours=6").json()
        assert (document["fleet"], document["hours"]) == ("demo", 6)
        assert document["cards"]
        assert {one["known"] for one in document["cards"]} == {False}
        assert "too little is known" in document["cards"][0]["reason"]
        models = client.get("/v1/gpu/models-optimal").json()["models"]
        assert [one["model_name"] for one in models] == ["nomic-embed-text"]
        for path in ("memory-forecast?hours=0", "memory-forecast?hours=x", "models-optimal?min_context_tokens=-1"):
            assert client.get(f"/v1/gpu/{path}").status_code == 400, path
        assert client.get("/v1/gpu/models-optimal?agent_type=poet").status_code == 404


WRITER = """
time_scale: 0
models: [{name: "writer:1", size: 1GB, vram: 1GB}]
nodes: {o: {gpus: [{name: card, vram: 24GiB}], engines: {ollama: {kind: ollama, installed: ["writer:1"]}}}}
"""


def test_a_bench_over_http_needs_the_role_apply_and_a_resident_model(tmp_path: Path) -> None:
    with served(read_sim_text(WRITER, "writers"), tmp_path) as lab:
        lab.want('version: 1\nmodels: {"writer:1": {engine: ollama, vram: 1GiB}}\n' + POLICY)
        assert lab.run("apply", "--auto-approve").exit_code == 0
        with serving(lab) as client:
            path = "/v1/gpu/benchmark-model"
            assert client.post(f"{path}?model_name=writer:1", headers={"Authorization": "Bearer reader-secret"}).status_code == 403
            assert client.post(path, headers=OPS).status_code == 400
            assert client.post(f"{path}?model_name=no", headers=OPS).status_code == 404
            found = client.post(f"{path}?model_name=writer:1", headers=OPS).json()
            assert (found["model_name"], found["engine"]) == ("writer:1", "o/ollama")
            assert found["tokens_per_second"] == pytest.approx(400)
