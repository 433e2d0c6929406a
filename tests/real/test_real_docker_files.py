"""The files of `gpurec:compose` and `gpurec:stack` brought up: Compose on a real Docker Engine, `docker stack deploy` on a real swarm. What
runs then is what gpurec itself would have started."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from dockerd import CARDS, Dockerd
from processes import LOOPBACK, free_port
from provision import Provisioned
from waiting import wait_until

from reconciler.operations.rendered import rendered_as_declared
from reconciler.workspace import load_workspace

ODD = 'it\'s "$HOME" \\ 100%'
SECRET = "a-secret-of-the-engine"


def rendered(root: Path, daemon: Dockerd, template: str, node: str, **container: object) -> tuple[Path, int]:
    """The file that `template` makes of an engine with a card, odd values and a volume; and the port that its engine has on the node."""
    port = free_port()
    engine = {
        "kind": "ollama",
        "runtime": "container",
        "port": port,
        "env": {"ODD": ODD, "TOKEN": "env:ENGINE_TOKEN", "PORT": str(port if container.get("networks") == ["host"] else 11434)},
        "args": ["-c", "echo $TOKEN > /tmp/index.html; exec httpd -f -h /tmp -p $PORT"],
        "container": {
            "image": daemon.image,
            "entrypoint": ["sh"],
            "volumes": ["store:/store", "/tmp:/host:ro"],
            "memory": "256MiB",
            "cpus": 0.5,
            "stop_timeout": 1,
            **container,
        },
    }
    card = {"vram": "8GiB", "uuid": CARDS[0]}
    host = {"address": LOOPBACK, "docker": f"unix://{daemon.socket}", "gpus": [card], "engines": {"own": engine}}
    for folder, content in {
        "inventories": {"all": {"hosts": {node: host}}},
        "desired": {"version": 1, "files": [{"template": f"gpurec:{template}", "to": f"{template}.yml"}]},
    }.items():
        (root / folder).mkdir()
        (root / folder / "lab.yaml").write_text(json.dumps(content))
    (file,) = rendered_as_declared(load_workspace(root))
    path = root / file.path
    path.write_text(file.text)
    return path, port


def brought(*command: str | Path, daemon: Dockerd) -> str:
    """What a client of the daemon says; it must end with 0."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(daemon.home), "DOCKER_HOST": f"unix://{daemon.socket}", "ENGINE_TOKEN": SECRET}
    ran = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def running(daemon: Dockerd) -> list[dict[str, Any]]:
    """Every running container, inspected."""
    found = daemon.client.get("/containers/json").json()
    return [daemon.client.get(f"/containers/{one['Id']}/json").json() for one in found]


def answer(port: int) -> str | None:
    try:
        return httpx.get(f"http://{LOOPBACK}:{port}/", trust_env=False, timeout=5).text.strip()
    except httpx.HTTPError:
        return None


@pytest.fixture
def dockerd() -> Iterator[Dockerd]:
    daemon = Dockerd(cards=True)
    yield daemon
    print(daemon.process.tail())
    daemon.stop()


def test_compose_brings_up_the_file_as_it_is_declared_and_a_second_time_changes_nothing(
    real: Provisioned, dockerd: Dockerd, tmp_path: Path
) -> None:
    file, port = rendered(tmp_path, dockerd, "compose", "box")
    compose = (real.compose, "-p", "lab", "-f", file)
    brought(*compose, "up", "-d", daemon=dockerd)
    wait_until(lambda: answer(port) == SECRET, 60, "the engine answers with what it was given by reference")
    (one,) = running(dockerd)
    assert one["Name"] == "/lab-own"
    assert f"ODD={ODD}" in one["Config"]["Env"]
    limits = one["HostConfig"]
    assert (limits["Memory"], limits["NanoCpus"], limits["RestartPolicy"]["Name"]) == (2**28, 500_000_000, "unless-stopped")
    assert [(request["Driver"], request["DeviceIDs"]) for request in limits["DeviceRequests"]] == [("nvidia", [CARDS[0]])]
    mounts = {mount["Destination"]: (mount["Type"], mount["RW"]) for mount in one["Mounts"]}
    assert mounts == {"/store": ("volume", True), "/host": ("bind", False)}
    brought(*compose, "up", "-d", daemon=dockerd)
    assert [again["Id"] for again in running(dockerd)] == [one["Id"]]
    brought(*compose, "down", daemon=dockerd)
    assert running(dockerd) == []


@pytest.fixture
def manager() -> Iterator[Dockerd]:
    daemon = Dockerd(cards=False, options=tuple(word for card in CARDS for word in ("--node-generic-resource", f"NVIDIA-GPU={card}")))
    daemon.begin_swarm()
    yield daemon
    print(daemon.process.tail())
    daemon.clear_swarm()
    daemon.stop()


def test_a_swarm_runs_the_stack_as_it_is_declared_with_a_card_of_the_node_that_is_named(manager: Dockerd, tmp_path: Path) -> None:
    docker = shutil.which("docker")
    assert docker is not None, "the docker CLI is missing"
    (node,) = manager.client.get("/nodes").json()
    file, port = rendered(tmp_path, manager, "stack", node["Description"]["Hostname"], networks=["host"])
    deploy = (docker, "stack", "deploy", "--resolve-image", "never", "-c", file, "lab")
    brought(*deploy, daemon=manager)
    wait_until(lambda: answer(port) == SECRET, 60, "the engine answers with what it was given by reference")
    (one,) = running(manager)
    environment = one["Config"]["Env"]
    assert f"ODD={ODD}" in environment
    assert f"NVIDIA_VISIBLE_DEVICES={CARDS[0]}" in environment
    assert [word.partition("=")[2] for word in environment if word.startswith("DOCKER_RESOURCE_NVIDIA-GPU=")] in ([card] for card in CARDS)
    assert (one["HostConfig"]["Memory"], one["HostConfig"]["NanoCpus"]) == (2**28, 500_000_000)
    assert list(one["NetworkSettings"]["Networks"]) == ["host"]
    brought(*deploy, daemon=manager)
    assert [again["Id"] for again in running(manager)] == [one["Id"]]
    brought(docker, "stack", "rm", "lab", daemon=manager)
    wait_until(lambda: not running(manager), 60, "the task is gone")
