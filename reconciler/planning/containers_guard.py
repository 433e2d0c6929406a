"""What a container could do to its node, and whether the policy lets it: who may run one that is privileged, that has the daemon's socket
or that writes to the node's root, is root on that node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from reconciler.fleet import NO_LEADS, ContainerSpec, DockerSpec, Leads, MountKind
from reconciler.planning.plan import Refusal

PRIVILEGED = "privileged"
GUARD = "containers"
_SOCKETS = ("docker.sock", "containerd.sock", "podman.sock", "crio.sock", "buildkitd.sock", "system_bus_socket")
_STATES = ("/var/lib/docker", "/var/lib/containerd", "/var/lib/containers")
_OF_CLUSTERS = ("/etc/kubernetes", "/etc/rancher", "/var/lib/kubelet", "/var/lib/etcd", "/var/lib/rancher", "/var/lib/k0s")
"""What a node of a Kubernetes cluster keeps: keys of the node and of the cluster, and the secrets of every pod."""
_ROOTS = tuple(
    map(PurePosixPath, ("/etc", "/proc", "/sys", "/dev", "/root", "/boot", "/run", "/var/run", "/var/spool/cron", *_STATES, *_OF_CLUSTERS))
)
"""Folders of a node with which its root can be had, as a whole and with what is above them."""
_WITH_ALL_BELOW = tuple(map(PurePosixPath, ("/proc", "/run", "/var/run", *_OF_CLUSTERS)))
"""Folders below which all is refused: `/proc/1/root` is the whole disk, and the sockets of daemons are reached by who may only read, as are
the keys of a cluster."""
_NOT_TO_BE_WRITTEN = tuple(
    map(
        PurePosixPath,
        ("/etc", "/sys", "/boot", "/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin", "/var/spool/cron", "/opt/cni", *_STATES),
    )
)
"""Folders below which nobody writes who is not root: to read a certificate there is harmless."""
_UNTOLD = {
    MountKind.BIND: "would have {0} of its node, which did not say where the links of that lead (`readlink` by ssh)",
    MountKind.VOLUME: "would have the volume {0}, and its daemon does not say what of the node that is made over (`GET /volumes`)",
}


def container_refusals(
    spec: ContainerSpec, allow: Sequence[str], docker: DockerSpec | None, leads: Leads = NO_LEADS
) -> tuple[Refusal, ...]:
    """What `policy.containers.allow` does not let this container have: each word of it is `privileged` or a path of the node. `docker` is
    how the node's own daemon is reached, `leads` what the sources of its mounts are on the node besides what they say."""
    return tuple(
        Refusal(GUARD, spec.address, f"{spec.address} {what}; `policy: {{containers: {{allow: [{word}]}}}}` would allow it")
        for word, what in _dangers(spec, socket_of(docker) if docker is not None else None, leads)
        if word not in allow
    )


def socket_of(docker: DockerSpec) -> PurePosixPath | None:
    """The socket of a daemon on its own node, where it is reached by one."""
    parts = urlsplit(docker.url)
    return PurePosixPath(unquote(parts.path)) if parts.scheme in ("unix", "ssh") and len(parts.path) > 1 else None


def _dangers(spec: ContainerSpec, socket: PurePosixPath | None, leads: Leads) -> Iterator[tuple[str, str]]:
    if spec.privileged:
        yield PRIVILEGED, "would be privileged, and so root on its node"
    for mount in spec.mounts:
        if mount.kind is MountKind.BIND and (what := _danger_of(mount.source, mount.read_only, socket)) is not None:
            yield mount.source, f"would {what}"
        ends = leads.get(mount.source, ()) if mount.kind is not MountKind.TMPFS else ()
        if ends is None:
            yield mount.source, _UNTOLD[mount.kind].format(mount.source)
        for end in ends or ():
            disk = mount.kind is MountKind.VOLUME and PurePosixPath("/dev") in PurePosixPath(end).parents
            what = f"have the disk {end} of its node" if disk else _danger_of(end, mount.read_only, socket)
            how = f"to which {mount.source} leads" if mount.kind is MountKind.BIND else f"over which the volume {mount.source} is made"
            if what is not None:
                yield end, f"would {what}, {how}"


def _danger_of(source: str, read_only: bool, socket: PurePosixPath | None) -> str | None:
    """What a container could do with a path of its node by which it becomes root there, as a clause; None where there is no such thing."""
    path = PurePosixPath(source)
    if path.name in _SOCKETS or path == socket:
        return f"have the daemon's socket {source}, and so be root on its node"
    if path == PurePosixPath("/"):
        return "have the whole disk of its node"
    if socket is not None and path in socket.parents:
        return f"have the daemon's socket {socket}, and so be root on its node"
    if any(path == root or path in root.parents for root in _ROOTS) or ".ssh" in path.parts:
        return f"have {source} of its node"
    if any(root in path.parents for root in _WITH_ALL_BELOW):
        return f"have {source} of its node, by which its root can be had"
    if not read_only and any(path == root or root in path.parents for root in _NOT_TO_BE_WRITTEN):
        return f"write to {source} of its node"
    return None
