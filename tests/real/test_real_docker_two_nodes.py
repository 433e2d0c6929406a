"""A real swarm of two nodes, the second one in a network namespace of its own: what placement chooses is where Swarm runs it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dockerd import Dockerd
from waiting import wait_until
from workspaces import Workspace, steps

FIRST, SECOND = "172.31.77.1", "172.31.77.2"


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Dockerd, Dockerd]]:
    """A manager on this machine and a worker behind a pair of virtual network cards, each with one card for services."""
    name, cards = f"gr{os.getpid() % 10_000_000}", (f"gra{os.getpid() % 10_000_000}", f"grb{os.getpid() % 10_000_000}")
    ip(f"netns add {name}")
    ip(f"link add {cards[0]} type veth peer name {cards[1]}")
    started: list[Dockerd] = []
    try:
        ip(f"link set {cards[1]} netns {name}")
        ip(f"addr add {FIRST}/30 dev {cards[0]}")
        ip(f"link set {cards[0]} up")
        for words in (f"addr add {SECOND}/30 dev {cards[1]}", f"link set {cards[1]} up", "link set lo up"):
            ip(f"-n {name} {words}")
        for number, inside in enumerate(("", name)):
            started.append(Dockerd(cards=False, options=("--node-generic-resource", f"NVIDIA-GPU=GPU-{number}"), namespace=inside))
        first, second = started
        asked = {"ListenAddr": f"{FIRST}:23770", "AdvertiseAddr": FIRST}
        first.client.post("/swarm/init", json=asked).raise_for_status()
        token = first.client.get("/swarm").json()["JoinTokens"]["Worker"]
        joins = {"ListenAddr": f"{SECOND}:23770", "AdvertiseAddr": SECOND, "RemoteAddrs": [f"{FIRST}:23770"], "JoinToken": token}
        second.client.post("/swarm/join", json=joins).raise_for_status()
        wait_until(lambda: len(ready(first)) == 2, 60, "both nodes are ready")
        yield first, second
        first.clear_swarm()
    finally:
        for daemon in reversed(started):
            print(daemon.process.tail())
            daemon.stop()
        subprocess.run(["ip", "link", "del", cards[0]], check=False, capture_output=True)
        ip(f"netns del {name}")


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True, capture_output=True)


def ready(manager: Dockerd) -> list[dict[str, Any]]:
    return [one for one in manager.client.get("/nodes").json() if one["Status"]["State"] == "ready"]


def running(daemon: Dockerd) -> list[str]:
    """The services whose containers run on a daemon."""
    found = daemon.client.get("/containers/json").json()
    return sorted(str(one["Labels"]["com.docker.swarm.service.name"]) for one in found)


def test_an_agent_runs_on_the_node_that_placement_chose_and_moves_with_its_card_to_the_other(
    tmp_path: Path, nodes: tuple[Dockerd, Dockerd]
) -> None:
    first, second = nodes
    docker = {"url": f"unix://{first.socket}", "swarm": True}
    workspace = Workspace(tmp_path)
    hosts = {
        name: {
            "address": address,
            "probe": {"via": "declared"},
            "docker": docker,
            "gpus": [{"index": 0, "uuid": f"GPU-{number}", "vram": "8GiB"}],
        }
        for number, (name, address) in enumerate((("one", FIRST), ("two", SECOND)))
    }
    workspace.write_hosts(hosts)
    container = {"image": first.image, "command": ["sleep", "1000"], "networks": ["host"], "stop_timeout": "1s"}
    trainer = {"gpu_requirement": {"min_vram": "2GiB"}, "config": {"pairs": ["BTC"]}, "container": container}

    def want(on: str) -> None:
        workspace.want({}, agents={"trainer": {**trainer, "on": on}, "everywhere": {"each": "node", "container": container}})

    want("two")
    workspace.apply(0)
    workspace.expect_nothing_to_do()
    assert (len(running(first)), len(running(second))) == (1, 2)
    (service,) = [one for one in first.client.get("/services").json() if "trainer" in one["Spec"]["Name"]]
    (node,) = [one["ID"] for one in ready(first) if one["Status"]["Addr"] == SECOND]
    assert service["Spec"]["TaskTemplate"]["Placement"]["Constraints"] == [f"node.id=={node}"]
    want("one")
    plan = workspace.plan(2)
    assert set(steps(plan)) == {("create", "agent.trainer@one"), ("remove", "agent.trainer@two")}
    workspace.apply(0)
    workspace.expect_nothing_to_do()
    assert (len(running(first)), len(running(second))) == (2, 1)
    second.client.post(f"/containers/{second.client.get('/containers/json').json()[0]['Id']}/kill").raise_for_status()
    wait_until(lambda: len(running(second)) == 1, 60, "Swarm starts its task anew")
    workspace.want({})
    workspace.apply(0)
    assert first.client.get("/services").json() == []
