"""One real Docker Engine that is not gpurec's alone: other fleets, registries, and cards that are slices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dockerd import Dockerd, ImageRegistry, busybox
from processes import free_port
from recorder import Recorder
from workspaces import NODE, Workspace, steps

MIB = 2**20
PASSWORD = "pass-word-of-the-registry"


@pytest.fixture(scope="module")
def dockerd() -> Iterator[Dockerd]:
    daemon = Dockerd(cards=True, options=("--debug",))
    yield daemon
    print(daemon.process.tail())
    daemon.stop()


@pytest.fixture
def daemon(dockerd: Dockerd) -> Iterator[Dockerd]:
    yield dockerd
    dockerd.clear()


class Fleet:
    """A workspace of a fleet of some name whose one node has its agents on a daemon."""

    def __init__(self, folder: Path, daemon: Dockerd, name: str = "lab", **docker: Any) -> None:
        self.daemon, self.workspace = daemon, Workspace(folder, name)
        self.host: dict[str, Any] = {"address": "127.0.0.1", "probe": {"via": "declared"}, "gpus": []}
        self.host["docker"] = {"url": f"unix://{daemon.socket}", **docker}
        self.declare()

    def declare(self, **changes: Any) -> None:
        self.host |= changes
        self.workspace.write_hosts({NODE: self.host})

    def want(self, **container: Any) -> None:
        base = {"image": Dockerd.image, "stop_timeout": "1s", **container}
        self.workspace.want({}, agents={"worker": {"container": base}})

    def apply(self, *ends: int, **variables: str) -> str:
        return str(self.workspace.apply(*ends or (0,), variables=variables))


def containers(daemon: Dockerd) -> dict[str, dict[str, Any]]:
    found = daemon.client.get("/containers/json", params={"all": "true"}).json()
    whole = [daemon.client.get(f"/containers/{one['Id']}/json").json() for one in found]
    return {str(one["Name"]).lstrip("/"): one for one in whole}


def test_two_fleets_have_a_container_of_one_name_each_and_neither_touches_that_of_the_other(tmp_path: Path, daemon: Dockerd) -> None:
    port = free_port()
    one, other = Fleet(tmp_path / "one", daemon, "lab"), Fleet(tmp_path / "other", daemon, "prod")
    one.want(ports=[f"{port}:80"])
    one.apply()
    other.want(ports=[f"{port}:80"])
    said = other.apply(3)
    assert f"its port, {port}, is published by container lab-worker of fleet 'lab'" in said
    assert set(containers(daemon)) == {"lab-worker"}
    other.want(env={"A": "1"})
    other.apply()
    first = {name: one["Id"] for name, one in containers(daemon).items()}
    assert set(first) == {"lab-worker", "prod-worker"}
    for fleet in (one, other):
        fleet.workspace.expect_nothing_to_do()
    one.workspace.want({})
    one.apply()
    assert {name: one["Id"] for name, one in containers(daemon).items()} == {"prod-worker": first["prod-worker"]}


def test_an_image_that_is_there_is_not_looked_up_and_one_that_is_always_pulled_is(tmp_path: Path, daemon: Dockerd) -> None:
    registry = ImageRegistry(tmp_path / "registry")
    asked = Recorder(f"http://{registry.name}")
    try:
        image = f"{asked.url.removeprefix('http://')}/team/local:1"
        daemon.import_image(image, busybox("local"))
        fleet = Fleet(tmp_path / "fleet", daemon)
        fleet.want(image=image)
        fleet.apply()
        fleet.want(image=image, env={"A": "1"})
        fleet.apply()
        assert [one.path for one in asked.requests] == []
        daemon.move_to_registry(image)
        asked.requests.clear()
        fleet.want(image=image, env={"A": "2"}, pull="always")
        fleet.apply()
        assert "/v2/team/local/manifests/1" in {one.path for one in asked.requests}
        asked.requests.clear()
        fleet.workspace.expect_nothing_to_do()
        assert asked.requests == []
    finally:
        asked.stop()
        registry.stop()


def test_a_registry_that_wants_a_login_gets_it_by_reference_and_without_it_the_old_container_stays(tmp_path: Path, daemon: Dockerd) -> None:
    registry = ImageRegistry(tmp_path / "registry", PASSWORD)
    try:
        image = f"{registry.name}/team/private:1"
        daemon.import_image(image, busybox("private"))
        daemon.move_to_registry(image, {"username": registry.user, "password": PASSWORD})
        fleet = Fleet(tmp_path / "fleet", daemon)
        fleet.want()
        fleet.apply()
        old = containers(daemon)["lab-worker"]["Id"]
        fleet.want(image=image)
        assert "registries" in fleet.apply(3)
        login = {registry.name: {"user": registry.user, "password": "env:REGISTRY_PASSWORD"}}
        fleet.declare(docker={"url": f"unix://{daemon.socket}", "registries": login})
        assert "REGISTRY_PASSWORD" in fleet.apply(3)
        wrong = fleet.apply(3, REGISTRY_PASSWORD="another-pass-word")
        assert "another-pass-word" not in wrong
        assert containers(daemon)["lab-worker"]["Id"] == old
        said = fleet.apply(0, REGISTRY_PASSWORD=PASSWORD)
        assert containers(daemon)["lab-worker"]["Config"]["Image"] == image
        fleet.workspace.expect_nothing_to_do()
        assert PASSWORD not in said
        kept = [file for file in fleet.workspace.folder.rglob("*") if file.is_file() and PASSWORD.encode() in file.read_bytes()]
        assert kept == []
    finally:
        registry.stop()


def test_a_container_without_any_network_works(tmp_path: Path, daemon: Dockerd) -> None:
    fleet = Fleet(tmp_path, daemon)
    fleet.want(networks=["none"])
    fleet.apply()
    assert containers(daemon)["lab-worker"]["HostConfig"]["NetworkMode"] == "none"
    fleet.workspace.expect_nothing_to_do()


def test_a_slice_of_a_card_is_given_by_its_own_uuid(tmp_path: Path, daemon: Dockerd) -> None:
    fleet = Fleet(tmp_path, daemon)
    parts = [{"index": number, "uuid": f"MIG-part-{number}", "vram": "10GiB", "mig": "GPU-whole"} for number in (1, 2)]
    fleet.declare(gpus=parts)
    fleet.workspace.want(
        {}, agents={"trainer": {"gpu_requirement": {"min_vram": "8GiB"}, "replicas": 2, "container": {"image": daemon.image}}}
    )
    assert [action for action, _ in steps(fleet.workspace.plan(2))] == ["create", "create"]
    fleet.apply()
    given = [one["HostConfig"]["DeviceRequests"][0] for one in containers(daemon).values()]
    assert sorted(one["DeviceIDs"] for one in given) == [["MIG-part-1"], ["MIG-part-2"]]
    assert {one["Driver"] for one in given} == {"nvidia"}
    fleet.workspace.expect_nothing_to_do()
