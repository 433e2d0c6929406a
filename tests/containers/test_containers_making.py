"""What a daemon is sent for a container as it is wanted."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from typing import Any

import pytest

from reconciler.containers.making import archive, create_body, version_of
from reconciler.fleet import ContainerSpec, DaemonFacts, Healthcheck, PublishedPort, parse_mount

SPEC = ContainerSpec("box", "local/busybox:1", "lab", "engine.box@node")
OLD = DaemonFacts("20.10.24", "1.41")
NEW = DaemonFacts("28.5.2", "1.51", cdi_devices=("nvidia.com/gpu=GPU-1", "nvidia.com/gpu=GPU-2", "nvidia.com/gpu=all"))


def body(spec: ContainerSpec, daemon: DaemonFacts = OLD, image_command: tuple[str, ...] = ("serve",)) -> dict[str, Any]:
    return create_body(spec, {name: str(value) for name, value in spec.env.items()}, image_command, daemon)


def host(spec: ContainerSpec, daemon: DaemonFacts = OLD) -> dict[str, Any]:
    found: dict[str, Any] = body(spec, daemon)["HostConfig"]
    return found


def test_the_images_own_command_runs_unless_one_is_given() -> None:
    assert "Cmd" not in body(SPEC)
    assert body(replace(SPEC, args=("--a",)))["Cmd"] == ["serve", "--a"]
    assert body(replace(SPEC, command=("run",), args=("--a",)))["Cmd"] == ["run", "--a"]
    assert "Entrypoint" not in body(SPEC)
    assert body(replace(SPEC, entrypoint=("sh",)))["Entrypoint"] == ["sh"]


def test_cards_go_by_uuid_through_cdi_where_the_daemon_lists_them_all() -> None:
    both, unknown = replace(SPEC, cards=("GPU-1", "GPU-2")), replace(SPEC, cards=("GPU-1", "GPU-9"))
    assert host(both, NEW)["DeviceRequests"] == [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-1", "nvidia.com/gpu=GPU-2"]}]
    nvidia = [{"Driver": "nvidia", "DeviceIDs": ["GPU-1", "GPU-2"], "Capabilities": [["gpu"]]}]
    assert host(both, OLD)["DeviceRequests"] == nvidia
    assert host(unknown, NEW)["DeviceRequests"][0]["Driver"] == "nvidia"


def test_a_container_without_a_card_gets_none_from_an_image_that_asks_for_all() -> None:
    assert "NVIDIA_VISIBLE_DEVICES=void" in body(SPEC)["Env"]
    assert body(replace(SPEC, env={"NVIDIA_VISIBLE_DEVICES": "all"}))["Env"] == ["NVIDIA_VISIBLE_DEVICES=all"]
    assert body(replace(SPEC, cards=("GPU-1",)))["Env"] == []


def test_amd_cards_are_devices_and_groups() -> None:
    found = host(replace(SPEC, devices=("/dev/kfd",), groups=("video", "render")))
    assert found["Devices"] == [{"PathOnHost": "/dev/kfd", "PathInContainer": "/dev/kfd", "CgroupPermissions": "rwm"}]
    assert found["GroupAdd"] == ["video", "render"]


def test_ports_are_published_on_their_address_and_under_a_mode_not_at_all() -> None:
    spec = replace(SPEC, ports=(PublishedPort(80, 8080, "10.0.0.1"), PublishedPort(80, 8081, "::1")))
    bound = [{"HostIp": "10.0.0.1", "HostPort": "8080"}, {"HostIp": "::1", "HostPort": "8081"}]
    assert host(spec)["PortBindings"] == {"80/tcp": bound}
    assert body(spec)["ExposedPorts"] == {"80/tcp": {}}
    for mode in ("host", "none"):
        alone = replace(spec, networks=(mode,))
        assert (host(alone)["PortBindings"], host(alone)["NetworkMode"], body(alone)["ExposedPorts"]) == ({}, mode, {})


def test_mounts_limits_and_restart_are_as_docker_has_them() -> None:
    mounts = tuple(parse_mount(one) for one in ("v:/v", "/h:/h:ro", "tmpfs:/t"))
    found = host(replace(SPEC, mounts=mounts, cpus=1.5, memory=2**30, shm_size=2**26, restart="on-failure:3"))
    assert (found["Binds"], found["Tmpfs"]) == (["v:/v", "/h:/h:ro"], {"/t": ""})
    assert (found["NanoCpus"], found["Memory"], found["ShmSize"]) == (1_500_000_000, 2**30, 2**26)
    assert found["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert "ShmSize" not in host(SPEC)


@pytest.mark.parametrize(("daemon", "told"), [(OLD, False), (NEW, True)])
def test_an_old_daemon_is_not_told_a_start_interval(daemon: DaemonFacts, *, told: bool) -> None:
    check = body(replace(SPEC, healthcheck=Healthcheck(("CMD", "true"), 5.0, start_interval=0.5, retries=2)), daemon)["Healthcheck"]
    assert check == {"Test": ["CMD", "true"], "Interval": 5 * 10**9, "Retries": 2} | ({"StartInterval": 5 * 10**8} if told else {})


def test_nothing_that_is_asked_for_makes_a_container_privileged() -> None:
    assert host(SPEC).keys().isdisjoint({"Privileged", "PidMode", "IpcMode", "CapAdd", "SecurityOpt", "UsernsMode"})


def test_files_are_archived_without_folders_whose_rights_would_be_changed() -> None:
    with tarfile.open(fileobj=io.BytesIO(archive({"/etc/gpurec/b": (b"bb", 0o600), "/a": (b"a", 0o644)}))) as tar:
        assert [(one.name, one.size, one.mode, one.isfile(), one.uid) for one in tar] == [
            ("a", 1, 0o644, True, 0),
            ("etc/gpurec/b", 2, 0o600, True, 0),
        ]


@pytest.mark.parametrize(
    ("text", "version"), [("1.41", (1, 41)), ("", (0, 0)), ("1", (0, 0)), ("1.x", (0, 0)), ("1." + "9" * 4300, (0, 0))]
)
def test_a_version_that_is_none_is_older_than_all(text: str, version: tuple[int, int]) -> None:
    assert version_of(text) == version
