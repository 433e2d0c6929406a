"""The gateway and the dashboard that templates make, judged by LiteLLM itself and by Grafana's own types.

LiteLLM starts with much that it then does not do (unknown keys of its router), so `litellm.Router` is asked too, which refuses those.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from processes import LOOPBACK, Process, free_port
from provision import Provisioned
from rigs import Bench
from servers import Single
from test_real_templates import answers, rendered
from waiting import wait_until

pytestmark = pytest.mark.timeout(600)  # LiteLLM starts for 5 s of CPU, each time
OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "NO_PROXY": "*", "HF_HUB_OFFLINE": "1"}
ROUTER = """
import sys, yaml, litellm
config = yaml.safe_load(open(sys.argv[1]))
router = litellm.Router(model_list=config["model_list"], **config["router_settings"])
print(len(router.get_model_list()))
"""
KEY = "sk-" + "0123456789abcdef" * 3
PHI, FIRST, SECOND = "http://[::1]:8000", "http://127.0.0.1:21434", "http://127.0.0.1:21435"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return rendered(tmp_path, "template: gpurec:litellm, to: litellm.yaml, vars: {timeout: 60}")["litellm.yaml"]


def router(real: Provisioned, config: Path) -> subprocess.CompletedProcess[str]:
    command = [real.litellm, "-c", ROUTER, config]
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "HOME": str(config.parent), **OFFLINE})


def test_the_router_of_litellm_takes_every_deployment_and_refuses_a_key_that_it_does_not_have(real: Provisioned, config: Path) -> None:
    taken = router(real, config)
    assert taken.returncode == 0, taken.stderr
    assert int(taken.stdout.split()[-1]) == config.read_text().count("model_name:")
    config.write_text(config.read_text().replace("simple-shuffle", "latency-based-routing"))
    assert router(real, config).returncode == 0
    config.write_text(config.read_text().replace("allowed_fails:", "allowed_failures:"))
    refused = router(real, config)
    assert (refused.returncode != 0, "allowed_failures" in refused.stderr) == (True, True)


@pytest.fixture
def gateway(real: Provisioned, config: Path) -> Iterator[Callable[[dict[str, str]], httpx.Client]]:
    """Starts LiteLLM as rendered, with other engines in the place of those that it names."""
    with ExitStack() as ends:

        def start(instead: dict[str, str]) -> httpx.Client:
            text = config.read_text()
            for engine, other in instead.items():
                assert engine in text
                text = text.replace(engine, other)
            config.write_text(text)
            port = free_port()
            command = [real.litellm, "-m", "litellm.proxy.proxy_cli", "--config", config, "--host", LOOPBACK, "--port", str(port)]
            server = Process(
                "litellm", command, config.parent, {"HOME": str(config.parent), "OLLAMA_KEY": "none", "LITELLM_MASTER_KEY": KEY, **OFFLINE}
            )
            ends.callback(server.stop)
            wait_until(lambda: answers(f"http://{LOOPBACK}:{port}/health/liveliness"), 400, "LiteLLM answers")
            return ends.enter_context(
                httpx.Client(base_url=f"http://{LOOPBACK}:{port}", headers={"Authorization": f"Bearer {KEY}"}, timeout=120)
            )

        yield start


def completed(client: httpx.Client, model: str) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Say a word."}], "max_tokens": 4}
    return client.post("/v1/chat/completions", json=body)


def test_where_one_engine_is_gone_the_other_answers_and_where_all_are_the_fallback_does(
    bench: Bench, gateway: Callable[[dict[str, str]], httpx.Client]
) -> None:
    engine = Single(bench.real, bench.folder("single"), bench.real.gemma, "gemma")
    bench.started(engine)
    second, phi = bench.recorder(engine), bench.recorder(engine)
    client = gateway({FIRST: f"http://{LOOPBACK}:{free_port()}", SECOND: second.url, PHI: phi.url})

    def answered(name: str) -> list[str]:
        """Who was asked for a completion, and each was answered by the engine with words."""
        for one in (second, phi):
            one.forget()
        for _ in range(4):
            answer = completed(client, name)
            assert answer.status_code == 200, answer.text
            assert answer.json()["usage"]["completion_tokens"] == 4
        return [who for who, one in (("second", second), ("phi", phi)) if one.changes()]

    assert client.get("/health/readiness").status_code == 200
    assert client.get("/v1/models").status_code == 200
    assert second.changes() + phi.changes() == [], "a look at the gateway asks no engine for anything"
    assert answered("phi") == ["phi"]
    assert "second" in answered("llama3.1:latest"), "its other engine is gone"
    second.stop()
    assert "phi" in answered("llama3.1:latest"), "the fallback of one whose engines are gone"


def test_a_dashboard_has_no_key_that_grafana_does_not_have(real: Provisioned, tmp_path: Path) -> None:
    board = rendered(tmp_path, "template: gpurec:grafana, to: board.json")["board.json"].read_text()

    def strict(text: str) -> str:
        read = subprocess.run([real.grafana], input=text, capture_output=True, text=True)
        assert (read.returncode == 0) == (not read.stderr)
        return read.stderr

    assert strict(board) == ""
    wrong = json.loads(board)
    wrong["panels"][0]["titel"] = "Memory"
    assert "titel" in strict(json.dumps(wrong))
    wrong = json.loads(board)
    wrong["panels"][0]["gridPos"]["w"] = "wide"
    assert strict(json.dumps(wrong))
    wrong = json.loads(board)
    del wrong["panels"][0]["targets"][0]["expr"]
    assert "expr" in strict(json.dumps(wrong))
