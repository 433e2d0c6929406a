"""Every field of a container changed by hand on the real Docker Engine, under our own labels: told by its name, and put right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from dockerd import Dockerd
from processes import free_port
from workspaces import Workspace

MIB = 2**20
MOVED, MOVING = "tag-moved", "local/busybox:moving"
Change = Callable[[dict[str, Any]], object]


def config(**changes: Any) -> Change:
    return lambda body: body.update(changes)


def host(**changes: Any) -> Change:
    return lambda body: body["HostConfig"].update(changes)


def request_cards(**request: Any) -> Change:
    return host(DeviceRequests=[{"Driver": "nvidia", "Capabilities": [["gpu"]], **request}])


def at_port(address: str) -> Change:
    return host(PortBindings={"8080/tcp": [{"HostIp": address, "HostPort": str(free_port())}]})


ZERO = {"PathOnHost": "/dev/zero", "PathInContainer": "/dev/zero", "CgroupPermissions": "r"}
BY_HAND: Mapping[str, tuple[str, Change]] = {
    "other-image": ("image", config(Image=Dockerd.other)),
    "command": ("command", config(Cmd=["sleep", "999"])),
    "entrypoint": ("entrypoint", config(Entrypoint=["/bin/busybox"], Cmd=["sleep", "1000"])),
    "env": ("env", config(Env=["A=2", "PATH=/bin"])),
    "env-gone": ("env", config(Env=["PATH=/bin"])),
    "port": ("ports", at_port("127.0.0.1")),
    "port-everywhere": ("ports", at_port("0.0.0.0")),
    "mount-read-only": ("mounts", host(Binds=["gpurec-drift:/data:ro"])),
    "mount-more": ("mounts", host(Binds=["gpurec-drift:/data", "/srv:/srv"])),
    "mount-tmpfs": ("mounts", host(Tmpfs={"/more": ""})),
    "network-none": ("networks", host(NetworkMode="none")),
    "network-host": ("networks", host(NetworkMode="host")),
    "restart": ("restart", host(RestartPolicy={"Name": "always"})),
    "shm": ("shm_size", host(ShmSize=2**22)),
    "cpus": ("cpus", host(NanoCpus=250_000_000)),
    "cpus-by-quota": ("cpus", host(NanoCpus=0, CpuQuota=20_000, CpuPeriod=100_000)),
    "memory": ("memory", host(Memory=2**26, MemorySwap=-1)),
    "memory-unbound": ("memory", host(Memory=0, MemorySwap=0)),
    "cards-all": ("cards", request_cards(Count=-1)),
    "cards-by-id": ("cards", request_cards(DeviceIDs=["GPU-0"])),
    "devices": ("devices", host(Devices=[ZERO])),
    "groups": ("groups", host(GroupAdd=["video"])),
    "healthcheck": ("healthcheck", config(Healthcheck={"Test": ["CMD", "true"], "Interval": 60 * 10**9})),
    "healthcheck-gone": ("healthcheck", config(Healthcheck={"Test": ["NONE"]})),
    "label": ("spec", lambda body: body["Labels"].update({"gpurec.spec": "0"})),
    "privileged": ("privileges", host(Privileged=True)),
    "cap-add": ("privileges", host(CapAdd=["SYS_ADMIN"])),
    "pid": ("privileges", host(PidMode="host")),
    "ipc": ("privileges", host(IpcMode="host")),
    "uts": ("privileges", host(UTSMode="host")),
    "seccomp": ("privileges", host(SecurityOpt=["seccomp=unconfined"])),
    "device-rule": ("privileges", host(DeviceCgroupRules=["c 1:3 rwm"])),
    "user": ("settings", config(User="1000")),
    "working-dir": ("settings", config(WorkingDir="/tmp")),
    "read-only": ("settings", host(ReadonlyRootfs=True)),
    "extra-hosts": ("settings", host(ExtraHosts=["db:10.0.0.1"])),
    "dns": ("settings", host(Dns=["10.0.0.2"])),
    "cap-drop": ("settings", host(CapDrop=["NET_RAW"])),
    "sysctl": ("settings", host(Sysctls={"net.core.somaxconn": "128"})),
    "pids": ("settings", host(PidsLimit=50)),
}
"""By the name of the agent: the field that is told, and what somebody changed of the request that made its container."""


@pytest.fixture(scope="module")
def dockerd() -> Iterator[Dockerd]:
    daemon = Dockerd(cards=True, options=("--debug",))
    yield daemon
    daemon.stop()


class Many:
    """A workspace of which each agent is somebody's to change."""

    def __init__(self, folder: Path, daemon: Dockerd, names: Sequence[str]) -> None:
        self.daemon, self.workspace = daemon, Workspace(folder)
        self.workspace.declare({}, (), 4096 * MIB, docker={"url": f"unix://{daemon.socket}"}, gpus=[])
        base = {"image": daemon.image, "command": ["sleep", "1000"], "env": {"A": "1"}, "volumes": ["gpurec-drift:/data"]}
        base |= {"shm_size": "32MiB", "cpus": 0.5, "memory": "128MiB", "restart": "on-failure:3", "stop_timeout": "1s"}
        base |= {"healthcheck": {"test": ["CMD", "true"], "interval": "1s"}}
        published = {"port", "port-everywhere"}
        agents = {name: {"container": base | ({"ports": [f"{free_port()}:8080"]} if name in published else {})} for name in names}
        if MOVED in agents:
            agents[MOVED] = {"container": base | {"image": MOVING}}
        self.workspace.want({}, agents=agents)

    def apply(self) -> None:
        self.workspace.run("apply", "--auto-approve", seconds=280).expect(0)

    def of(self, name: str) -> dict[str, Any]:
        return dict(self.daemon.client.get(f"/containers/lab-{name}/json").raise_for_status().json())

    def post(self, path: str, **more: Any) -> dict[str, Any]:
        answer = self.daemon.client.post(path, **more).raise_for_status()
        return dict(answer.json()) if answer.content else {}

    def made_otherwise(self, name: str, change: Change) -> set[str]:
        """Its container, made by hand with the same name and the same labels, and this changed. What is a difference beside, where the
        daemon of this machine cannot start it so."""
        old = self.of(name)
        self.daemon.client.delete(f"/containers/{old['Id']}", params={"force": "true"}).raise_for_status()
        body = {**old["Config"], "HostConfig": old["HostConfig"]}
        change(body)
        if body["HostConfig"]["NetworkMode"] == "host" or body["HostConfig"]["UTSMode"] == "host":
            body["Hostname"] = ""
        made = self.post("/containers/create", params={"name": f"lab-{name}"}, json=body)["Id"]
        status = self.daemon.client.post(f"/containers/{made}/start").status_code
        return set() if status == 204 else {"state"}

    def tag(self, image: str) -> None:
        self.post(f"/images/{image}/tag", params={"repo": MOVING.partition(":")[0], "tag": "moving"})

    def drift(self) -> dict[str, set[str]]:
        """The fields that are told of each agent; one that was started a moment ago may not be healthy yet."""
        found: dict[str, set[str]] = {}
        for one in self.workspace.run("drift", "--format", "json").expect(2).json["drift"]:
            found.setdefault(str(one["address"]).removeprefix("agent.").removesuffix("@box"), set()).add(str(one["field"]))
        return {name: fields - {"healthy"} for name, fields in found.items()}


LOTS = [list(BY_HAND)[first : first + 10] for first in range(0, len(BY_HAND), 10)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("lot", LOTS, ids=lambda lot: lot[0])
def test_each_field_that_somebody_changes_by_hand_is_told_put_right_and_leaves_the_next_plan_empty(
    lot: list[str], tmp_path: Path, dockerd: Dockerd
) -> None:
    many = Many(tmp_path, dockerd, lot)
    many.apply()
    many.workspace.expect_nothing_to_do()  # nothing that the daemon filled in by itself is a difference
    before = {name: _shape(many.of(name)) for name in lot}
    beside = {name: many.made_otherwise(name, BY_HAND[name][1]) for name in lot}
    assert sum(map(len, beside.values())) <= len(lot) // 4
    assert many.drift() == {name: {BY_HAND[name][0], *too} for name, too in beside.items()}
    many.apply()
    many.workspace.expect_nothing_to_do()
    assert {name: _shape(many.of(name)) for name in lot} == before
    dockerd.clear()


def test_what_becomes_of_a_container_and_of_its_tag_is_told_and_put_right_and_one_more_apply_sends_nothing(
    tmp_path: Path, dockerd: Dockerd
) -> None:
    many = Many(tmp_path, dockerd, ("stopped", "paused", "removed", "renamed", MOVED))
    many.tag(dockerd.image)
    many.apply()
    for name, what in {"stopped": "kill", "paused": "pause"}.items():
        many.post(f"/containers/lab-{name}/{what}")
    many.post("/containers/lab-renamed/rename", params={"name": "somebody-else"})
    dockerd.client.delete("/containers/lab-removed", params={"force": "true"}).raise_for_status()
    many.tag(dockerd.other)
    wanted = {"stopped": {"state"}, "paused": {"state"}, "removed": {"exists"}, "renamed": {"name"}, MOVED: {"image"}}
    assert many.drift() == wanted
    many.apply()
    many.workspace.expect_nothing_to_do()
    sent = len(dockerd.changes())
    many.apply()
    assert len(dockerd.changes()) == sent
    dockerd.clear()


def _shape(container: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, as the daemon tells it: without what it names by the container itself."""
    own = {key: value for key, value in container["Config"].items() if key != "Hostname"}
    return {"Config": {**own, "Env": sorted(own["Env"])}, "HostConfig": container["HostConfig"]}
