"""Which mounts make a container root on its node, and what the policy says to that."""

from __future__ import annotations

import pytest

from reconciler.fleet import ContainerSpec, DockerSpec, parse_mount
from reconciler.planning.containers_guard import container_refusals


def refused(volume: str, *allow: str, privileged: bool = False, docker: str = "unix:///var/run/docker.sock") -> list[str]:
    spec = ContainerSpec("x", "i", "lab", "engine.a/x", mounts=(parse_mount(volume),), privileged=privileged)
    return [one.message for one in container_refusals(spec, allow, DockerSpec(docker))]


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
        "/proc/1/root:/host:ro",
        "/proc/self/cwd:/c:ro",
        "/run/containerd:/r:ro",
        "/run/user/1000:/r",
        "/run/systemd/private:/p",
        "/run/dbus/system_bus_socket:/b:ro",
        "/var/run/docker:/d",
        "/var/lib/containerd:/c:ro",
        "/var/spool/cron/crontabs:/c",
        "/lib64:/l",
        "/sys/fs/cgroup:/c",
        "/etc/kubernetes/admin.conf:/a:ro",
        "/var/lib/kubelet/pods:/p:ro",
        "/var/lib/rancher/k3s/server:/s:ro",
        "/var/lib/etcd:/e:ro",
        "/opt/cni/bin:/b",
    ],
)
def test_a_mount_that_gives_the_root_of_its_node_is_refused(volume: str) -> None:
    (message,) = refused(volume)
    source = volume.partition(":")[0]
    assert message.endswith(f"`policy: {{containers: {{allow: [{source}]}}}}` would allow it")
    assert refused(volume, source) == []


@pytest.mark.parametrize(
    "volume",
    [
        "ollama:/root/.ollama",
        "/srv/models:/m",
        "/root/.ollama:/root/.ollama",
        "/etc/ssl/certs:/c:ro",
        "/usr:/usr:ro",
        "/dev/shm:/s",
        "/opt:/o",
    ],
)
def test_an_ordinary_mount_is_not(volume: str) -> None:
    assert refused(volume) == []


@pytest.mark.parametrize("volume", ["//:/host", "//etc:/e", "//var/run/docker.sock:/s", "///root:/r"])
def test_slashes_before_a_path_hide_nothing(volume: str) -> None:
    assert refused(volume) == refused(f"/{volume.lstrip('/')}") != []


@pytest.mark.parametrize("docker", ["unix:///srv/d/engine.s", "ssh://ops@box/srv/d/engine.s", "unix:///srv/d/engin%65.s"])
@pytest.mark.parametrize("volume", ["/srv/d/engine.s:/s:ro", "/srv/d:/d:ro", "/srv:/s"])
def test_the_socket_by_which_the_node_itself_is_reached_is_refused_wherever_it_is(docker: str, volume: str) -> None:
    (message,) = refused(volume, docker=docker)
    assert "the daemon's socket /srv/d/engine.s" in message
    assert refused(volume) == []


def test_a_privileged_container_is_refused() -> None:
    assert "would be privileged" in refused("a:/a", privileged=True)[0]
    assert refused("a:/a", "privileged", privileged=True) == []


@pytest.mark.parametrize(
    ("volume", "end", "says"),
    [
        ("/srv/data:/d:ro", "/", "would have the whole disk of its node, to which /srv/data leads"),
        ("/srv/data:/d", "/etc/cron.d", "would write to /etc/cron.d of its node, to which /srv/data leads"),
        ("data:/d:ro", "/etc", "would have /etc of its node, over which the volume data is made"),
        ("data:/d:ro", "/dev/sda1", "would have the disk /dev/sda1 of its node, over which the volume data is made"),
    ],
)
def test_a_mount_is_what_its_links_and_its_volume_lead_to(volume: str, end: str, says: str) -> None:
    spec = ContainerSpec("x", "i", "lab", "engine.a/x", mounts=(parse_mount(volume),))
    leads = {volume.partition(":")[0]: ("/srv/harmless", end)}
    (refusal,) = container_refusals(spec, ["/srv/data"], None, leads)
    assert refusal.message == f"engine.a/x {says}; `policy: {{containers: {{allow: [{end}]}}}}` would allow it"
    assert container_refusals(spec, [end], None, leads) == ()
    assert container_refusals(spec, (), None, {"other": (end,)}) == ()


@pytest.mark.parametrize(
    ("volume", "says"),
    [
        ("/srv/data:/d:ro", "which did not say where the links of that lead (`readlink` by ssh)"),
        ("data:/d", "and its daemon does not say what of the node that is made over (`GET /volumes`)"),
    ],
)
def test_a_mount_of_which_nobody_tells_where_it_leads_is_refused(volume: str, says: str) -> None:
    spec = ContainerSpec("x", "i", "lab", "engine.a/x", mounts=(parse_mount(volume), parse_mount("other:/o")))
    source = volume.partition(":")[0]
    (refusal,) = container_refusals(spec, ["/other"], None, {source: None})
    assert says in refusal.message
    assert refusal.message.endswith(f"allow: [{source}]}}}}` would allow it")
    assert container_refusals(spec, [source], None, {source: None}) == ()
