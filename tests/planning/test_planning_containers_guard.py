"""Which mounts make a container root on its node, and what the policy says to that."""

from __future__ import annotations

import pytest

from reconciler.fleet import ContainerSpec, parse_mount
from reconciler.planning.containers_guard import container_refusals


def refused(volume: str, *allow: str, privileged: bool = False) -> list[str]:
    spec = ContainerSpec("x", "i", "lab", "engine.a/x", mounts=(parse_mount(volume),))
    return [one.message for one in container_refusals(spec, allow, privileged)]


@pytest.mark.parametrize(
    "volume",
    [
        "/:/host",
        "/etc:/etc",
        "/etc:/etc:ro",
        "/etc/cron.d:/c",
        "/var/run/docker.sock:/s:ro",
        "/run/user/1000/docker.sock:/s",
        "/var/run:/r",
        "/var:/v",
        "/root:/r:ro",
        "/home/me/.ssh:/k:ro",
        "/proc:/p",
        "/dev:/d",
        "/usr/bin:/b",
    ],
)
def test_a_mount_that_gives_the_root_of_its_node_is_refused(volume: str) -> None:
    (message,) = refused(volume)
    source = volume.partition(":")[0]
    assert message.endswith(f"`policy: {{containers: {{allow: [{source}]}}}}` would allow it")
    assert refused(volume, source) == []


@pytest.mark.parametrize(
    "volume",
    ["ollama:/root/.ollama", "/srv/models:/m", "/root/.ollama:/root/.ollama", "/etc/ssl/certs:/c:ro", "/usr:/usr:ro", "/dev/shm:/s"],
)
def test_an_ordinary_mount_is_not(volume: str) -> None:
    assert refused(volume) == []


@pytest.mark.parametrize("volume", ["//:/host", "//etc:/e", "//var/run/docker.sock:/s", "///root:/r"])
def test_slashes_before_a_path_hide_nothing(volume: str) -> None:
    assert refused(volume) == refused(f"/{volume.lstrip('/')}") != []


def test_a_privileged_container_is_refused() -> None:
    assert "would be privileged" in refused("a:/a", privileged=True)[0]
    assert refused("a:/a", "privileged", privileged=True) == []
