"""The templates that come with gpurec, judged by the programs that read them: nginx, Prometheus, systemd, Ollama, Compose.

systemd-analyze ends with 0 for keys that it does not know, so anything that it says is a fault.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from autogen_lab import Autogen
from cli_lab import serving
from processes import LOOPBACK, Process, free_port
from provision import Provisioned
from rigs import Bench
from waiting import wait_until

sys.path.append(str(Path(__file__).parents[1] / "rendering"))
from template_lab import workspace, yaml

from reconciler.operations.rendered import rendered_as_declared
from reconciler.sim import builtin_fleet, running
from reconciler.workspace import load_workspace


def rendered(root: Path, *files: str) -> dict[str, Path]:
    """Each file of `files`, written below `root` under its own name."""
    workspace(root, *files)
    inventory = root / "inventories" / "lab.yaml"
    inventory.write_text(inventory.read_text().replace(", auth: {bearer: env:OLLAMA_KEY}", ""))
    found = {}
    for one in rendered_as_declared(load_workspace(root)):
        found[one.path] = root / one.path.lstrip("/")
        found[one.path].write_text(one.text)
    return found


def judged(*command: str | Path, **environment: str) -> str:
    """What a judge says; it must end with 0."""
    ran = subprocess.run([*map(str, command)], capture_output=True, text=True, env={"PATH": "/usr/sbin:/usr/bin:/bin", **environment})
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@contextmanager
def served(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[int]:
    """A server on loopback, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer(self)

        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def says(text: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        body = text.encode()
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts nginx as rendered over two engines, the first with three times the memory, and says where it listens."""
    with ExitStack() as ends:

        def start(first: int, second: int, **more: str) -> str:
            port = free_port()
            given = ", ".join(f'{name}: "{value}"' for name, value in {"listen": f"{LOOPBACK}:{port}", **more}.items())
            files = rendered(tmp_path, f"template: gpurec:nginx, to: nginx.conf, vars: {{pid: {tmp_path}/nginx.pid, {given}}}")
            config = files["nginx.conf"]
            config.write_text(config.read_text().replace(":21434", f":{first}").replace(":21435", f":{second}"))
            judged("nginx", "-t", "-c", config, "-p", tmp_path)
            server = Process("nginx", ["nginx", "-c", config, "-p", tmp_path, "-g", "daemon off; error_log stderr;"], tmp_path)
            ends.callback(server.stop)
            wait_until(lambda: answers(f"http://{LOOPBACK}:{port}/"), 20, "nginx listens")
            return f"http://{LOOPBACK}:{port}"

        yield start


def answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=2.0)
    except httpx.HTTPError:
        return False
    return True


FAST = {"rate": "1000r/s", "burst": "1000"}


def test_nginx_serves_each_model_by_its_name_and_by_the_header_and_by_the_weight_of_its_engines(gateway: Callable[..., str]) -> None:
    with served(says("first")) as one, served(says("second")) as two, httpx.Client() as client:
        url = gateway(one, two, **FAST)
        for path, header in (
            ("/llama3.1:latest/v1/models", {}),
            ('/gpt "4"/x', {}),
            ("/", {"X-Model": "a\\b"}),
            ("/", {"X-Model": "llama3.1:latest"}),
        ):
            told = Counter(client.post(url + path, headers=header, json={}).text for _ in range(32))
            assert told == {"first": 24, "second": 8}
        unknown = client.post(url, headers={"X-Model": "none"})
        assert (unknown.status_code, "name a model" in unknown.text) == (404, True)


def test_nginx_takes_the_other_engine_where_one_is_gone(gateway: Callable[..., str]) -> None:
    with served(says("second")) as two:
        url = gateway(free_port(), two, **FAST)
        assert {httpx.post(f"{url}/llama3.1:latest/", json={}).text for _ in range(12)} == {"second"}


@pytest.mark.timeout(600)  # the store of the Ollama is made first
def test_nginx_asks_an_ollama_that_listens_here_by_a_name_that_it_takes(gateway: Callable[..., str], bench: Bench) -> None:
    port = int(bench.ollama().url.rpartition(":")[2])
    assert httpx.get(f"http://{LOOPBACK}:{port}/api/version", headers={"Host": "model_0"}).status_code == 403
    told = httpx.get(gateway(port, port, **FAST) + "/llama3.1:latest/api/version")
    assert (told.status_code, sorted(told.json())) == (200, ["version"])


def test_nginx_starts_over_engines_that_have_names_where_their_nodes_have_addresses(tmp_path: Path) -> None:
    rendered(tmp_path)
    (tmp_path / "desired" / "lab.yaml").write_text(
        "version: 1\nmodels: {phi: {engine: ollama, each: node, on: [big, small]}}\n"
        f"files: [{{template: gpurec:nginx, to: nginx.conf, vars: {{pid: {tmp_path}/nginx.pid}}}}]\n".replace("[big, small]", '"big,small"')
    )
    inventory = tmp_path / "inventories" / "lab.yaml"
    config = tmp_path / "nginx.conf"

    def write() -> str:
        (one,) = rendered_as_declared(load_workspace(tmp_path))
        config.write_text(one.text)
        return one.text

    inventory.write_text(inventory.read_text().replace("http://127.0.0.1:21434", "http://big:21434"))
    text = write()
    assert "server 198.51.100.7:21434 " in text
    assert "does not resolve" not in text
    judged("nginx", "-t", "-c", config, "-p", tmp_path)
    inventory.write_text(inventory.read_text().replace("http://big:21434", "http://nowhere.invalid:21434"))
    assert "# It does not start where one of these names does not resolve: nowhere.invalid\n" in write()
    with pytest.raises(AssertionError, match="host not found in upstream"):
        judged("nginx", "-t", "-c", config, "-p", tmp_path)


def test_nginx_holds_a_client_to_its_rate(gateway: Callable[..., str]) -> None:
    with served(says("")) as one, served(says("")) as two:
        url = gateway(one, two, rate="1r/m", burst="3")
        statuses = [httpx.post(f"{url}/llama3.1:latest/", json={}).status_code for _ in range(8)]
        assert statuses[-4:] == [429] * 4
        assert 200 in statuses


def test_nginx_hands_on_what_is_streamed_as_it_comes(gateway: Callable[..., str]) -> None:
    go_on = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for part in (b"data: 1\n\n", b"data: 2\n\n"):
            request.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            request.wfile.flush()
            assert go_on.wait(20)
        request.wfile.write(b"0\r\n\r\n")

    with served(answer) as one, served(says("")) as two:
        url = gateway(one, two)
        with httpx.stream("POST", f"{url}/llama3.1:latest/", json={}, timeout=20) as response:
            parts = response.iter_raw()
            assert b"data: 1" in next(parts)
            go_on.set()
            assert b"data: 2" in b"".join(parts)


FIRES = (
    ("EngineDown", 'up{job="engines", node="big", engine="vllm"}', "0x20", "1x20"),
    ("EngineDown", 'gpurec_engine_up{job="gpurec", node="big", engine="ollama", kind="ollama"}', "0x20", "1x20"),
    ("GpurecDown", 'up{job="gpurec"}', "0x20", "1x20"),
    ("CardMemoryCritical", 'gpu_memory_used_mb{device_id="0"}', "950x20", "850x20"),
    ("CardHot", 'DCGM_FI_DEV_GPU_TEMP{node="big", gpu="0"}', "89x20", "87x20"),
    ("CardHot", 'gpurec_gpu_temperature_celsius{node="big", gpu="0"}', "89x20", "87x20"),
    ("RequestsWait", 'vllm:num_requests_waiting{node="big", engine="vllm"}', "11x20", "10x20"),
)


def test_prometheus_takes_its_configuration_and_its_rules_fire_when_they_should(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rendered(
        tmp_path,
        "template: gpurec:prometheus-rules, to: rules.yml",
        f"template: gpurec:prometheus-scrape, to: prometheus.yml, vars: {{rules: {rules}, exporter_port: 9400}}",
    )
    assert "SUCCESS" in judged("promtool", "check", "config", tmp_path / "prometheus.yml")
    known = re.findall(r"alert: (\w+)", rules.read_text())
    assert set(known) == {alert for alert, *_ in FIRES}
    tests = []
    for alert, series, fires, stays in FIRES:
        for values, count in ((fires, 1), (stays, 0)):
            input_series = [{"series": series, "values": values}, {"series": 'gpu_memory_total_mb{device_id="0"}', "values": "1000x20"}]
            expression = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)'
            asked = {"expr": expression, "eval_time": "10m", "exp_samples": [{"labels": "{}", "value": count}]}
            tests.append({"interval": "1m", "input_series": input_series, "promql_expr_test": [asked]})
    (tmp_path / "tests.yml").write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}))
    assert "SUCCESS" in judged("promtool", "test", "rules", tmp_path / "tests.yml")


METRICS = """\
DCGM_FI_DEV_GPU_TEMP{{gpu="0"}} 60
DCGM_FI_DEV_XID_ERRORS{{gpu="0"}} 0
vllm:num_requests_waiting 1
vllm:generation_tokens_total {count}
llamacpp:tokens_predicted_total {count}
vllm:time_to_first_token_seconds_bucket{{le="1"}} {count}
vllm:time_to_first_token_seconds_bucket{{le="+Inf"}} {count}
vllm:e2e_request_latency_seconds_bucket{{le="1"}} {count}
vllm:e2e_request_latency_seconds_bucket{{le="+Inf"}} {count}
"""


EXPORTER = """\
DCGM_FI_DEV_FB_USED{{gpu="{gpu}",UUID="GPU-a{gpu}000000-0000-4000-8000-000000000000"}} 0
DCGM_FI_DEV_FB_FREE{{gpu="{gpu}",UUID="GPU-a{gpu}000000-0000-4000-8000-000000000000"}} 24576
DCGM_FI_DEV_GPU_UTIL{{gpu="{gpu}",UUID="GPU-a{gpu}000000-0000-4000-8000-000000000000"}} 40
DCGM_FI_DEV_GPU_TEMP{{gpu="{gpu}",UUID="GPU-a{gpu}000000-0000-4000-8000-000000000000"}} 50
"""
"""What an exporter of two cards says to gpurec, and to nobody else."""


@contextmanager
def asked_of(config: Path) -> Iterator[Callable[[str], list[dict[str, Any]] | None]]:
    """Asks a real Prometheus with this configuration: what a query finds, None while it does not answer yet."""
    port = free_port()
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={config.parent / 'data'}"]
    server = Process("prometheus", [*command, f"--web.listen-address={LOOPBACK}:{port}"], config.parent)

    def ask(expression: str) -> list[dict[str, Any]] | None:
        try:
            asked = httpx.get(f"http://{LOOPBACK}:{port}/api/v1/query", params={"query": expression}, timeout=5)
        except httpx.HTTPError:
            return None
        if asked.status_code == 503:  # it reads what it has on its disk, before it answers
            return None
        answer = asked.json()
        assert answer["status"] == "success", answer
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    try:
        yield ask
    finally:
        server.stop()


def expressions_of(board: Path) -> list[str]:
    return [target["expr"] for panel in json.loads(board.read_text())["panels"] for target in panel["targets"]]


def test_every_query_of_the_dashboard_about_engines_and_exporters_finds_something_in_a_real_prometheus(tmp_path: Path) -> None:
    seen = iter(range(1, 1_000_000))

    def metrics(request: BaseHTTPRequestHandler) -> None:
        says(METRICS.format(count=next(seen)))(request)

    files = rendered(tmp_path, "template: gpurec:grafana, to: board.json")
    expressions = [one for one in expressions_of(files["board.json"]) if re.search("vllm:|llamacpp:|DCGM_|up{", one)]
    assert len(expressions) == 7
    with served(metrics) as source:
        config = tmp_path / "prometheus.yml"
        labels = {"node": "big", "engine": "vllm"}
        scrape = {"job_name": "engines", "static_configs": [{"targets": [f"{LOOPBACK}:{source}"], "labels": labels}]}
        config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}))
        with asked_of(config) as ask:
            for expression in expressions:
                wait_until(lambda one=expression: bool(ask(one)), 30, f"{expression} finds something")  # type: ignore[misc]


def test_every_query_of_the_dashboard_about_gpurec_finds_something_in_a_prometheus_that_scrapes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the configuration that gpurec writes for it, over a fleet with models and agents."""
    exporter = "".join(EXPORTER.format(gpu=gpu) for gpu in range(2))
    root = tmp_path / "lab"
    monkeypatch.setenv("TRADING_API_KEY", "none")
    root.mkdir()
    with running(builtin_fleet("autogen").on_free_ports().with_time_scale(0)) as fleet, served(says(exporter)) as cards:
        lab = Autogen(fleet, root)
        inventory = root / "inventories" / "autogen.yaml"
        probed = f'probe: {{via: dcgm, url: "http://{LOOPBACK}:{cards}/metrics"}}'
        inventory.write_text(inventory.read_text().replace("      gpus:\n", f"      {probed}\n      gpus:\n"))
        lab.run("apply", "--auto-approve")
        with serving(lab, "--interval", "1h") as client:
            told = ", ".join(("interval: 1s", f'gpurec: "{client.base_url.host}:{client.base_url.port}"'))
            (root / "desired" / "files.yaml").write_text(
                "version: 1\nfiles:\n"
                f"  - {{template: gpurec:prometheus-scrape, to: out/prometheus.yml, vars: {{{told}}}}}\n"
                "  - {template: gpurec:grafana, to: out/board.json}\n"
            )
            lab.run("render", "-f", "desired/autogen.yaml", "-f", "desired/files.yaml", "--to", str(tmp_path / "made"))
            made = tmp_path / "made" / "local" / "out"
            expressions = [one for one in expressions_of(made / "board.json") if "gpu" in one]
            assert len(expressions) == 10
            with asked_of(made / "prometheus.yml") as ask:
                for expression in expressions:
                    wait_until(lambda one=expression: bool(ask(one)), 30, f"{expression} finds something")  # type: ignore[misc]
                models = ask("gpurec_model_memory_bytes > 0") or []
                agents = ask("gpurec_gpu_agents > 0") or []
        assert "mistral:7b-instruct" in {one["metric"]["model"] for one in models}
        assert agents


def test_systemd_takes_the_unit_and_the_drop_in_without_a_word(tmp_path: Path) -> None:
    rendered(
        tmp_path,
        "template: gpurec:systemd-watch, to: gpurec-watch.service, vars: {program: /bin/true, user: root}",
        "template: gpurec:ollama-override, to: gpurec.conf",
    )
    units = tmp_path / "units"
    (units / "ollama.service.d").mkdir(parents=True)
    (units / "ollama.service").write_text("[Service]\nExecStart=/bin/true\n")
    shutil.copy(tmp_path / "gpurec.conf", units / "ollama.service.d")
    shutil.copy(tmp_path / "gpurec-watch.service", units)
    names = (units / "ollama.service", units / "gpurec-watch.service")
    assert judged("systemd-analyze", "verify", *names, SYSTEMD_UNIT_PATH=f"{units}:") == ""
    (units / "ollama.service.d" / "gpurec.conf").write_text("[Service]\nEnviroment=X=1\n")
    assert "Enviroment" in judged("systemd-analyze", "verify", *names, SYSTEMD_UNIT_PATH=f"{units}:")


def test_every_variable_of_the_drop_in_is_one_that_ollama_has(real: Provisioned, tmp_path: Path) -> None:
    files = rendered(tmp_path, "template: gpurec:ollama-override, to: gpurec.conf")
    known = set(re.findall(r"\b[A-Z]+_[A-Z_]+\b", judged(real.ollama, "serve", "--help", HOME=str(tmp_path))))
    written = set(re.findall(r'^Environment="(OLLAMA_[A-Z_]+)=', files["gpurec.conf"].read_text(), re.MULTILINE))
    assert written
    assert written <= known


HARD = (
    "plain",
    "it's",
    'say "x"',
    "$HOME ${PATH} $$",
    "it's $HOME \\$",
    "a\\b\\",
    "# no comment",
    "100%",
    "ü=✓",
    "`id`",
    "a: b",
    "\\n",
    "x\\'y",
    "\\",
    "''",
    "{}",
)
"""Values that mean something to one reader or another."""


def composed(real: Provisioned, file: Path, **environment: str) -> dict[str, Any]:
    """The services of a compose file, as Compose reads it; it writes `$$` for a `$`."""
    said = judged(real.compose, "-f", file, "config", "--format", "json", HOME=str(file.parent), **environment)
    services: dict[str, Any] = json.loads(said.replace("$$", "$"))["services"]
    return services


def test_compose_reads_every_hard_value_of_the_env_file_as_it_is(real: Provisioned, tmp_path: Path) -> None:
    given = ", ".join(f"hard{number}: {json.dumps(value)}" for number, value in enumerate(HARD))
    rendered(tmp_path, f"template: gpurec:env-gpu, to: gpu.env, vars: {{{given}}}")
    (tmp_path / "compose.yml").write_text("services: {a: {image: x, env_file: [gpu.env]}}\n")
    environment = composed(real, tmp_path / "compose.yml")["a"]["environment"]
    # `$$` of a value is one of those that Compose doubles, so it comes back as it went
    assert [environment[f"HARD{number}"] for number, _ in enumerate(HARD)] == list(HARD)


def test_compose_takes_the_file_of_what_is_owned_with_its_cards_and_its_secrets_from_outside(real: Provisioned, tmp_path: Path) -> None:
    files = rendered(tmp_path, "template: gpurec:compose, to: compose.yml")
    (service,) = composed(real, files["compose.yml"], OLLAMA_TOKEN="hush").values()
    assert service["environment"] == {"ODD": 'it\'s "$HOME" \\ 100%', "OLLAMA_KEEP_ALIVE": "-1", "TOKEN": "hush"}
    assert [device["device_ids"] for device in service["deploy"]["resources"]["reservations"]["devices"]] == [["GPU-3"]]
    without = subprocess.run(
        [real.compose, "-f", files["compose.yml"], "config"], capture_output=True, text=True, env={"HOME": str(tmp_path)}
    )
    assert (without.returncode != 0, "OLLAMA_TOKEN" in without.stderr) == (True, True)
    files["compose.yml"].write_text(files["compose.yml"].read_text().replace("image:", "imag:"))
    assert (
        subprocess.run([real.compose, "-f", files["compose.yml"], "config"], capture_output=True, env={"HOME": str(tmp_path)}).returncode
        != 0
    )


def test_compose_takes_a_file_without_services(real: Provisioned, tmp_path: Path) -> None:
    files = rendered(
        tmp_path, "template: gpurec:compose, to: '{{ fleet }}.yml'", 'template: "gpurec:compose", per: node, on: big, to: /big.yml'
    )
    assert "services: {}" in files["/big.yml"].read_text()
    assert composed(real, files["/big.yml"]) == {}


def test_docker_takes_the_stack(tmp_path: Path) -> None:
    files = rendered(tmp_path, "template: gpurec:stack, to: stack.yml", 'template: "gpurec:stack", per: node, on: big, to: /none.yml')
    docker = shutil.which("docker")
    assert docker is not None, "the docker CLI is missing"

    def told(file: Path) -> str:
        return judged(docker, "stack", "config", "-c", file, HOME=str(tmp_path), OLLAMA_TOKEN="hush")

    (service,) = yaml(told(files["stack.yml"]))["services"].values()
    assert service["environment"]["ODD"] == 'it\'s "$HOME" \\ 100%'
    assert service["deploy"]["placement"]["constraints"] == ["node.hostname == owner"]
    told(files["/none.yml"])
    files["stack.yml"].write_text(files["stack.yml"].read_text().replace("constraints:", "constraint:"))
    wrong = subprocess.run([docker, "stack", "config", "-c", files["stack.yml"]], capture_output=True, env={"OLLAMA_TOKEN": "hush"})
    assert wrong.returncode != 0
