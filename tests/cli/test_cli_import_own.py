"""`gpurec import --own`: engines that run in somebody's containers become gpurec's own, and stay as they are until something changes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cli_lab import POLL
from click.testing import CliRunner

from reconciler.cli.main import cli
from reconciler.cli.settings import Settings
from reconciler.sim import SimFleet, running
from reconciler.sim.read import read_sim_text

CARD = "GPU-d0aa0000-0000-4000-8000-000000000000"
SIM = f"""
time_scale: 0
models: [{{name: "llama3.1:8b", size: 700MiB, weights: 600MiB, kv_per_token: 1024}}]
nodes:
  box:
    ram: 32GiB
    gpus: [{{name: NVIDIA GeForce RTX 3060, vram: 12GiB, uuid: {CARD}}}]
    docker:
      port: 22375
      cdi: true
      images:
        - &image
          name: "ollama/ollama:0.34.0"
          command: [serve]
          entrypoint: [/bin/ollama]
          engine: {{kind: ollama, version: 0.34.0, registry: ["llama3.1:8b"]}}
        - {{<<: *image, name: "ollama/ollama:0.34.1"}}
        - name: "llama:1"
          entrypoint: [/app/llama-server]
          engine: {{kind: llamacpp, mode: router, installed: [{{name: gemma, size: 700MiB}}]}}
        - name: "llama-swap:1"
          entrypoint: [/app/llama-swap]
          engine: {{kind: llamaswap, installed: [{{name: gemma, size: 700MiB}}]}}
        - name: "vllm:1"
          entrypoint: [vllm, serve]
          engine: {{kind: vllm, installed: [{{name: gemma, size: 700MiB}}]}}
        - {{name: "web:1", command: [sleep, "1000"]}}
"""
MODELS = 'version: 1\nmodels: {"llama3.1:8b": {engine: ollama, vram: 1GiB}}\n'
SECRET = "sk-of-a-stranger"


class Box:
    """A workspace whose engine somebody else started, with `docker run`, and that knows its daemon."""

    def __init__(self, fleet: SimFleet, root: Path) -> None:
        self.root, self.daemon = root, fleet.daemons["box"]
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = int(one.getsockname()[1])
        for folder in ("inventories/lab", "desired"):
            (root / folder).mkdir(parents=True)
        (root / "inventories" / "lab" / "hosts.yaml").write_text(
            f"""
all:
  hosts:
    box:
      address: 127.0.0.1
      docker: tcp://127.0.0.1:{self.daemon.port}
      gpus: [{{index: 0, name: NVIDIA GeForce RTX 3060, vram: 12GiB, uuid: {CARD}}}]
      engines:
        ollama: {{url: "http://127.0.0.1:{self.port}", load_timeout: 2s, memory_limit: 11GiB, max_concurrent_requests: 4}}
"""
        )
        (root / "desired" / "lab.yaml").write_text(MODELS)

    def docker_run(self, name: str = "ollama", image: str = "ollama/ollama:0.34.0", **more: object) -> str:
        host = {
            "Binds": ["models:/root/.ollama"],
            "PortBindings": {"11434/tcp": [{"HostPort": str(self.port)}]},
            "RestartPolicy": {"Name": "always"},
            "DeviceRequests": [{"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]]}],
        }
        body = {
            "Image": image,
            "ExposedPorts": {"11434/tcp": {}},
            "Env": ["OLLAMA_NUM_PARALLEL=2", f"HF_TOKEN={SECRET}"],
            "HostConfig": host,
        }
        made = self.docker("POST", f"/containers/create?name={name}", json={**body, **more})
        self.docker("POST", f"/containers/{made['Id']}/start")
        return str(made["Id"])

    def docker(self, method: str, path: str, **more: object) -> dict:
        answer = httpx.request(method, f"http://127.0.0.1:{self.daemon.port}{path}", **more)  # type: ignore[arg-type]
        answer.raise_for_status()
        return dict(answer.json()) if answer.content else {}

    def names(self) -> dict[str, str]:
        return {one.name: one.id for one in self.daemon.containers}

    def run(self, *arguments: str, ends: int = 0) -> str:
        done = CliRunner().invoke(cli, ["-C", str(self.root), *arguments], obj=Settings(poll_seconds=POLL))
        assert done.exit_code == ends, done.output
        return done.output

    def steps(self) -> list[str]:
        done = CliRunner().invoke(cli, ["-C", str(self.root), "plan", "--format", "json"], obj=Settings())
        assert done.exit_code == 0, done.output
        plan = json.loads(done.stdout)
        return [f"{step['action']} {step['address']}" for step in plan["steps"]]

    def also_another(self) -> None:
        path = self.root / "inventories" / "lab" / "hosts.yaml"
        path.write_text(path.read_text().rstrip() + '\n        other: {kind: vllm, url: "http://127.0.0.1:1"}\n')

    def own(self) -> Path:
        path = self.root / "inventories" / "lab" / "own.yaml"
        self.run("import", "--own", "--out", str(path))
        return path


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    with running(read_sim_text(SIM, "sim.yaml").on_free_ports()) as fleet:
        yield Box(fleet, tmp_path)


def test_an_import_asks_the_next_plan_only_to_adopt_and_the_one_after_nothing(box: Box) -> None:
    made = box.docker_run()
    box.own()
    assert box.steps() == ["adopt engine.box/ollama", "pull model.llama3.1:8b@box/ollama", "load model.llama3.1:8b@box/ollama"]
    box.run("apply", "--auto-approve")
    assert box.steps() == []
    assert box.names() == {"ollama": made}
    assert "No changes." in box.run("plan")
    box.run("drift")


def test_what_the_inventory_said_of_the_engine_and_of_its_neighbours_stays(box: Box) -> None:
    box.also_another()
    box.docker_run()
    box.own()
    engines = json.loads(box.run("inventory", "--format", "json"))["_meta"]["hostvars"]["box"]["engines"]
    assert (engines["ollama"]["memory_limit"], engines["ollama"]["max_concurrent_requests"]) == ("11GiB", 4)
    assert engines["other"] == {"kind": "vllm", "url": "http://127.0.0.1:1"}
    container = {
        "adopt": "ollama",
        "image": "ollama/ollama:0.34.0",
        "restart": "always",
        "publish": "0.0.0.0",
        "volumes": ["models:/root/.ollama"],
    }
    assert engines["ollama"]["container"] == container


def test_a_variable_that_may_be_a_secret_is_a_reference_and_its_value_stands_nowhere(box: Box) -> None:
    box.docker_run()
    path = box.own()
    assert "HF_TOKEN: env:HF_TOKEN" in path.read_text()
    assert 'OLLAMA_NUM_PARALLEL: "2"' in path.read_text()
    box.run("apply", "--auto-approve")
    assert not [one for one in box.root.rglob("*") if one.is_file() and SECRET.encode() in one.read_bytes()]


@pytest.mark.parametrize(
    "command",
    [["serve", "--api-key", SECRET], ["serve", f"--hf-token={SECRET}"], ["-c", f"exec ollama serve --api-key {SECRET}"]],
)
def test_a_container_with_a_secret_on_its_command_line_is_left_out_and_its_value_not_shown(box: Box, command: list[str]) -> None:
    box.docker_run(Cmd=command)
    text = box.run("import", "--own")
    assert "container ollama: its command line has --" in text
    assert "Nothing to write: no engine of the inventory can become gpurec's own as it runs" in text
    assert SECRET not in text


def test_what_changes_an_adopted_container_is_drift_and_replaces_it_by_one_with_our_labels(box: Box) -> None:
    first = box.docker_run()
    path = box.own()
    box.run("apply", "--auto-approve")
    box.docker("POST", f"/containers/{first}/stop")
    assert "update engine.box/ollama" in box.steps()
    box.run("apply", "--auto-approve")
    assert box.names() == {"ollama": first}
    path.write_text(path.read_text().replace("ollama/ollama:0.34.0", "ollama/ollama:0.34.1"))
    assert "update engine.box/ollama" in box.steps()
    box.run("apply", "--auto-approve")
    assert set(box.names()) == {"lab-ollama"}
    assert box.steps() == []


def test_a_replacement_that_does_not_come_up_brings_the_adopted_one_back_under_its_own_name(box: Box) -> None:
    first = box.docker_run()
    path = box.own()
    box.run("apply", "--auto-approve")
    path.write_text(path.read_text().replace("ollama/ollama:0.34.0", "web:1"))
    box.run("apply", "--auto-approve", ends=3)
    assert box.names() == {"ollama": first}
    assert box.docker("GET", f"/containers/{first}/json")["State"]["Status"] == "running"


def test_only_the_very_container_that_was_adopted_is_ours_and_not_another_of_its_name(box: Box) -> None:
    first = box.docker_run()
    box.own()
    box.run("apply", "--auto-approve")
    box.docker("DELETE", f"/containers/{first}?force=1")
    second = box.docker_run()
    told = box.run("apply", "--auto-approve", ends=3)
    assert "is published by container ollama of somebody else" in told
    assert box.names() == {"ollama": second}


def test_an_adopted_engine_that_leaves_the_files_is_removed_and_one_that_was_only_imported_is_not(box: Box) -> None:
    first = box.docker_run()
    path = box.own()
    path.unlink()
    (box.root / "desired" / "lab.yaml").write_text("version: 1\nmodels: {}\n")
    box.run("apply", "--auto-approve")
    assert box.names() == {"ollama": first}
    path = box.own()
    box.run("apply", "--auto-approve")
    hosts = box.root / "inventories" / "lab" / "hosts.yaml"
    path.unlink()
    hosts.write_text("\n".join(line for line in hosts.read_text().splitlines() if "ollama:" not in line) + "\n")
    assert box.steps() == ["remove engine.box/ollama"]
    box.run("apply", "--auto-approve")
    assert box.names() == {}


def test_what_cannot_be_had_without_a_replacement_is_left_out_with_its_reason(box: Box) -> None:
    box.also_another()
    box.docker_run(HostConfig={"PortBindings": {"11434/tcp": [{"HostPort": str(box.port)}], "80/tcp": [{"HostPort": "0"}]}})
    text = box.run("import", "--own")
    assert "engine ollama of box is left out: container ollama: " in text
    assert "engine other of box is left out: no container is behind http://127.0.0.1:1" in text


def test_an_import_that_finds_nothing_says_so_and_writes_no_file(box: Box) -> None:
    path = box.root / "inventories" / "lab" / "own.yaml"
    text = box.run("import", "--own", "--out", str(path))
    assert "Nothing to write" in text
    assert not path.exists()
    box.docker_run()
    box.own()
    again = box.run("import", "--own")
    assert "it has none that somebody else starts" in again
    assert "all:" not in again


def test_a_router_that_a_plan_would_replace_for_its_preset_is_left_out_and_adopted_without_one(box: Box) -> None:
    hosts = box.root / "inventories" / "lab" / "hosts.yaml"
    hosts.write_text(hosts.read_text().replace("ollama: {", "ollama: {kind: llamacpp, "))
    desired = box.root / "desired" / "lab.yaml"
    desired.write_text("version: 1\nmodels: {gemma: {engine: llamacpp, vram: 1GiB, context: 4096}}\n")
    ports = {"8080/tcp": [{"HostPort": str(box.port)}]}
    host = {"PortBindings": ports, "RestartPolicy": {"Name": "always"}}
    host |= {"DeviceRequests": [{"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]]}]}
    box.docker_run(image="llama:1", ExposedPorts={"8080/tcp": {}}, Env=[], Cmd=["--models-dir", "/models"], HostConfig=host)
    text = box.run("import", "--own")
    assert "the desired state says how gemma are to be run" in text
    assert "Nothing to write" in text
    desired.write_text("version: 1\nmodels: {}\n")
    box.own()
    assert box.steps() == ["adopt engine.box/ollama"]
    box.run("apply", "--auto-approve")
    assert box.steps() == []


def of_kind(box: Box, kind: str, image: str, port: int, command: list[str]) -> None:
    """The engine is of that kind, and runs in somebody's container."""
    hosts = box.root / "inventories" / "lab" / "hosts.yaml"
    hosts.write_text(hosts.read_text().replace("ollama: {", f"ollama: {{kind: {kind}, "))
    (box.root / "desired" / "lab.yaml").write_text("version: 1\nmodels: {}\n")
    host = {"PortBindings": {f"{port}/tcp": [{"HostPort": str(box.port)}]}, "RestartPolicy": {"Name": "always"}}
    host |= {"DeviceRequests": [{"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]]}]}
    box.docker_run(image=image, ExposedPorts={f"{port}/tcp": {}}, Env=[], Cmd=command, HostConfig=host)


def test_a_llama_swap_is_adopted_as_it_is(box: Box) -> None:
    of_kind(box, "llamaswap", "llama-swap:1", 8080, ["--config", "/app/config.yaml"])
    box.own()
    assert box.steps() == ["adopt engine.box/ollama"]
    box.run("apply", "--auto-approve")
    assert box.steps() == []


@pytest.mark.parametrize(
    ("kind", "image", "port", "command"),
    [("vllm", "vllm:1", 8000, ["--model", "gemma"]), ("llamacpp", "llama:1", 8080, ["-m", "/models/gemma.gguf"])],
)
def test_a_server_with_one_model_is_left_out_with_its_reason(box: Box, kind: str, image: str, port: int, command: list[str]) -> None:
    of_kind(box, kind, image, port, command)
    assert "one model" in box.run("import", "--own")


def test_a_container_that_another_fleet_owns_is_not_adopted(box: Box) -> None:
    box.docker_run(Labels={"gpurec.fleet": "other", "gpurec.address": "engine.box/ollama"})
    assert "engine ollama of box is left out: no container is behind" in box.run("import", "--own")
