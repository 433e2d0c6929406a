"""Agents and services on the real Docker Engine: with their files, secrets and cards; changed by hand, replaced, removed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from dockerd import Dockerd
from killing import is_killed, killing_socket
from waiting import wait_until
from workspaces import Workspace, steps

MIB = 2**20
SECRET = "s3cret-of-the-exchange"
WAITS = ["sh", "-c", "cat /etc/gpurec/agent.json /run/secrets/token; echo $KEY; exec sleep 1000"]


@pytest.fixture(scope="module")
def dockerd() -> Iterator[Dockerd]:
    daemon = Dockerd(cards=True, options=("--debug",))
    yield daemon
    daemon.stop()


class Agents:
    """A workspace with one node, whose agents run on a daemon."""

    def __init__(self, folder: Path, daemon: Dockerd, *, swarm: bool = False, socket: Path | None = None) -> None:
        self.daemon, self.workspace = daemon, Workspace(folder)
        card = {"index": 0, "uuid": "GPU-0", "vram": f"{8192 * MIB}B"}
        self.workspace.declare({}, (), 4096 * MIB, docker={"url": f"unix://{socket or daemon.socket}", "swarm": swarm}, gpus=[card])
        self.want()

    def want(self, image: str = Dockerd.image, pairs: Sequence[str] = ("BTC",), **changes: Any) -> None:
        container = {"image": image, "command": WAITS, "env": {"KEY": "env:REAL_SECRET"}, "secrets": {"token": "env:REAL_SECRET"}}
        container |= {"stop_timeout": "1s"}  # what runs as process 1 hears no TERM
        agent = {"config": {"pairs": list(pairs)}, "depends_on": ["queue"], "container": {**container, **changes}}
        queue = {"container": {"image": Dockerd.other, "command": ["sleep", "1000"], "stop_timeout": "1s"}}
        trainer = {"gpu_requirement": {"min_vram": "2GiB"}, "container": {"image": Dockerd.image, "stop_timeout": "1s"}}
        self.workspace.want({}, agents={"worker": agent, "trainer": trainer}, services={"queue": queue})

    def run(self, *arguments: str, ends: int = 0) -> str:
        done = self.workspace.run(*arguments, variables={"REAL_SECRET": SECRET})
        done.expect(ends)
        return str(done)

    def apply(self) -> None:
        self.run("apply", "--auto-approve")
        assert "No changes." in self.run("plan")

    @property
    def containers(self) -> dict[str, dict[str, Any]]:
        found = self.daemon.client.get("/containers/json", params={"all": "true"}).json()
        whole = [self.daemon.client.get(f"/containers/{one['Id']}/json").json() for one in found]
        return {str(one["Name"]).lstrip("/"): one for one in whole}

    def drift(self) -> set[tuple[str, str]]:
        done = self.workspace.run("drift", "--format", "json", variables={"REAL_SECRET": SECRET})
        return {(one["address"], one["field"]) for one in done.json["drift"]}


@pytest.fixture
def agents(tmp_path: Path, dockerd: Dockerd) -> Iterator[Agents]:
    yield Agents(tmp_path, dockerd)
    dockerd.clear()


def test_agents_are_created_with_their_files_secrets_and_cards_and_one_more_apply_sends_nothing(agents: Agents) -> None:
    agents.apply()
    assert all(one["State"]["Running"] for one in agents.containers.values())
    fleet = next(name for name in agents.containers if name.endswith("-worker")).removesuffix("-worker")
    assert set(agents.containers) == {f"{fleet}-{name}" for name in ("worker", "trainer", "queue")}
    assert agents.containers[f"{fleet}-trainer"]["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] == ["GPU-0"]
    worker = agents.containers[f"{fleet}-worker"]["Id"]
    said = agents.daemon.client.get(f"/containers/{worker}/logs", params={"stdout": "true"}).text
    assert json.dumps({"pairs": ["BTC"]}, indent=2).splitlines()[1] in said
    assert said.count(SECRET) == 2
    before = len(agents.daemon.changes())
    agents.run("apply", "--auto-approve")
    agents.run("drift")
    assert len(agents.daemon.changes()) == before
    assert not [path for path in agents.workspace.folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_what_was_done_by_hand_is_drift_and_is_put_right(agents: Agents) -> None:
    agents.apply()
    name = next(name for name in agents.containers if name.endswith("-worker"))
    agents.daemon.client.post(f"/containers/{name}/kill").raise_for_status()
    assert agents.drift() == {("agent.worker@box", "state")}
    agents.apply()
    agents.daemon.client.post(f"/containers/{name}/update", json={"Memory": 2**30, "MemorySwap": -1}).raise_for_status()
    assert agents.drift() == {("agent.worker@box", "memory")}
    agents.apply()
    agents.daemon.client.delete(f"/containers/{name}", params={"force": "true"}).raise_for_status()
    assert agents.drift() == {("agent.worker@box", "exists")}
    agents.apply()


def test_a_new_image_replaces_the_container_and_one_that_fails_leaves_the_old_one(agents: Agents) -> None:
    agents.apply()
    name = next(name for name in agents.containers if name.endswith("-worker"))
    agents.want(Dockerd.other)
    assert steps(agents.workspace.run("plan", "--format", "json").json) == [("update", "agent.worker@box")]
    agents.apply()
    old = agents.containers[name]["Id"]
    agents.want(Dockerd.other, command=["sh", "-c", "echo out of ideas; exit 3"], restart="no")
    said = agents.run("apply", "--auto-approve", ends=3)
    assert "out of ideas" in said
    assert (agents.containers[name]["Id"], agents.containers[name]["State"]["Running"]) == (old, True)
    assert len(agents.containers) == 3


def test_what_is_no_longer_wanted_is_removed_and_a_stranger_stays(agents: Agents) -> None:
    agents.apply()
    agents.daemon.client.post("/containers/create", params={"name": "strange"}, json={"Image": Dockerd.image}).raise_for_status()
    agents.workspace.want({})
    agents.run("apply", "--auto-approve")
    assert set(agents.containers) == {"strange"}


def test_a_container_made_of_a_committed_copy_is_a_strangers_though_it_brings_our_labels_along(agents: Agents) -> None:
    agents.apply()
    name = next(name for name in agents.containers if name.endswith("-worker"))
    asked = agents.daemon.client
    asked.post("/commit", params={"container": name, "repo": "local/debug", "tag": "1"}).raise_for_status()
    asked.post("/containers/create", params={"name": "debug"}, json={"Image": "local/debug:1"}).raise_for_status()
    asked.post("/containers/debug/start").raise_for_status()
    assert agents.containers["debug"]["Config"]["Labels"] == agents.containers[name]["Config"]["Labels"]
    assert "No changes." in agents.run("plan")
    agents.want(Dockerd.other)
    agents.apply()
    assert agents.containers["debug"]["State"]["Running"]
    agents.want("local/debug:1")  # what is mended by hand and kept may be the next image
    agents.apply()
    asked.post("/commit", params={"container": name, "repo": "local/debug", "tag": "1"}).raise_for_status()
    said = agents.run("apply", "--auto-approve", ends=3)
    assert "local/debug:1 has the labels of this very container; commit it under another tag" in said
    agents.want()
    agents.apply()
    agents.workspace.want({})
    agents.run("apply", "--auto-approve")
    assert set(agents.containers) == {"debug"}


@pytest.fixture(scope="module")
def manager() -> Iterator[Dockerd]:
    daemon = Dockerd(cards=False, options=("--debug", "--node-generic-resource", "NVIDIA-GPU=GPU-0"))
    daemon.begin_swarm()
    yield daemon
    daemon.clear_swarm()
    daemon.stop()


def test_a_swarm_runs_agents_as_services_with_configs_secrets_and_cards_and_keeps_nothing_of_those_that_left(
    tmp_path: Path, manager: Dockerd
) -> None:
    agents = Agents(tmp_path, manager, swarm=True)
    agents.apply()
    services = _services(manager)
    assert {name.rpartition("-")[2] for name in services} == {"worker", "trainer", "queue"}
    (node,) = manager.client.get("/nodes").json()
    for service in services.values():
        assert service["TaskTemplate"]["Placement"]["Constraints"] == [f"node.id=={node['ID']}"]
    worker, trainer = (next(one for name, one in services.items() if name.endswith(word)) for word in ("-worker", "-trainer"))
    reserved = trainer["TaskTemplate"]["Resources"]["Reservations"]["GenericResources"]
    assert reserved == [{"DiscreteResourceSpec": {"Kind": "NVIDIA-GPU", "Value": 1}}]
    container = worker["TaskTemplate"]["ContainerSpec"]
    assert [one["File"]["Name"] for one in container["Configs"]] == ["/etc/gpurec/agent.json"]
    assert [one["File"]["Name"] for one in container["Secrets"]] == ["/run/secrets/token"]
    first = container["Configs"][0]["ConfigName"]
    before = len(manager.changes())
    agents.run("apply", "--auto-approve")
    agents.run("drift")
    assert len(manager.changes()) == before
    agents.want(pairs=("BTC", "ETH"))
    agents.apply()
    configs = {one["Spec"]["Name"] for one in manager.client.get("/configs").json()}
    assert (len(configs), first in configs) == (1, False)
    (changed,) = (one for one in manager.client.get("/services").json() if one["Spec"]["Labels"]["gpurec.name"].endswith("-worker"))
    spec = changed["Spec"]
    spec["TaskTemplate"]["Resources"]["Limits"] = {"MemoryBytes": 2**27}
    manager.client.post(f"/services/{changed['ID']}/update", params={"version": changed["Version"]["Index"]}, json=spec).raise_for_status()
    wait_until(lambda: agents.drift() == {("agent.worker@box", "memory")}, 60, "the swarm has made the change, and it is told")
    agents.apply()
    agents.workspace.want({})
    agents.run("apply", "--auto-approve")
    assert [manager.client.get(f"/{kind}").json() for kind in ("services", "configs", "secrets")] == [[], [], []]


def test_services_whose_node_is_away_for_a_while_are_left_to_the_swarm_which_runs_them_again(tmp_path: Path, manager: Dockerd) -> None:
    agents = Agents(tmp_path, manager, swarm=True)
    agents.apply()
    before = {one["ID"] for one in manager.client.get("/services").json()}
    _let_node_be(manager, "drain")
    try:
        wait_until(
            lambda: agents.drift() == {(f"agent.{name}@box", "state") for name in ("worker", "trainer", "queue")}, 60, "nothing runs"
        )
        assert "no suitable node" in agents.run("apply", "--auto-approve", ends=3)
        assert {
            one["ID"]: one["Spec"]["Mode"]["Replicated"]["Replicas"] for one in manager.client.get("/services").json()
        } == dict.fromkeys(before, 1)
    finally:
        _let_node_be(manager, "active")
    wait_until(lambda: agents.drift() == set(), 60, "the swarm runs them again")
    assert "No changes." in agents.run("plan")
    manager.clear_swarm()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("replaces", [False, True])
def test_a_run_on_a_swarm_that_is_killed_after_any_of_its_changes_is_put_right_by_the_next(
    replaces: bool, tmp_path: Path, manager: Dockerd
) -> None:
    """The first apply, or a replacement, once for each change that it asks for, until it comes to its end alive."""
    with killing_socket(manager.socket) as door:
        count, killed = 0, True
        while killed:
            count += 1
            agents = Agents(tmp_path / str(count), manager, swarm=True, socket=door.path)
            if replaces:
                agents.apply()
                agents.want(pairs=("BTC", "ETH"))
            killed = is_killed(agents.workspace.folder, door, count, REAL_SECRET=SECRET)
            agents.apply()
            services, configs, secrets = (manager.client.get(f"/{kind}").json() for kind in ("services", "configs", "secrets"))
            assert sorted(one["Spec"]["Mode"]["Replicated"]["Replicas"] for one in services) == [1, 1, 1], door.asked
            assert (len(configs), len(secrets)) == (1, 1), door.asked
            manager.clear_swarm()
    assert count > 5, door.asked


def _let_node_be(manager: Dockerd, availability: str) -> None:
    (node,) = manager.client.get("/nodes").json()
    body = {**node["Spec"], "Availability": availability}
    manager.client.post(f"/nodes/{node['ID']}/update", params={"version": node["Version"]["Index"]}, json=body).raise_for_status()


def _services(manager: Dockerd) -> dict[str, dict[str, Any]]:
    return {str(one["Spec"]["Labels"]["gpurec.name"]): one["Spec"] for one in manager.client.get("/services").json()}
