"""What a container could do to its node, and whether the policy lets it: who may run one that is privileged, that has the daemon's socket
or that writes to the node's root, is root on that node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from reconciler.fleet import ContainerSpec, DockerSpec, MountKind
from reconciler.planning.plan import Refusal

PRIVILEGED = "privileged"
GUARD = "containers"
_SOCKETS = ("docker.sock", "containerd.sock", "podman.sock", "crio.sock", "buildkitd.sock", "system_bus_socket")
_STATES = ("/var/lib/docker", "/var/lib/containerd", "/var/lib/containers", "/var/lib/kubelet")
_ROOTS = tuple(map(PurePosixPath, ("/etc", "/proc", "/sys", "/dev", "/root", "/boot", "/run", "/var/run", "/var/spool/cron", *_STATES)))
"""Folders of a node with which its root can be had, as a whole and with what is above them."""
_WITH_ALL_BELOW = tuple(map(PurePosixPath, ("/proc", "/run", "/var/run")))
"""Folders below which all is refused: `/proc/1/root` is the whole disk, and the sockets of daemons are reached by who may only read."""
_NOT_TO_BE_WRITTEN = tuple(
    map(
        PurePosixPath,
        ("/etc", "/sys", "/boot", "/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin", "/var/spool/cron", *_STATES),
    )
)
"""Folders below which nobody writes who is not root: to read a certificate there is harmless."""


def container_refusals(spec: ContainerSpec, allow: Sequence[str], docker: DockerSpec | None) -> tuple[Refusal, ...]:
    """What `policy.containers.allow` does not let this container have: each word of it is `privileged` or a path of the node. `docker` is
    how the node's own daemon is reached."""
    return tuple(
        Refusal(GUARD, spec.address, f"{spec.address} {what}; `policy: {{containers: {{allow: [{word}]}}}}` would allow it")
        for word, what in _dangers(spec, socket_of(docker) if docker is not None else None)
        if word not in allow
    )


def socket_of(docker: DockerSpec) -> PurePosixPath | None:
    """The socket of a daemon on its own node, where it is reached by one."""
    parts = urlsplit(docker.url)
    return PurePosixPath(unquote(parts.path)) if parts.scheme in ("unix", "ssh") and len(parts.path) > 1 else None


def _dangers(spec: ContainerSpec, socket: PurePosixPath | None) -> Iterator[tuple[str, str]]:
    if spec.privileged:
        yield PRIVILEGED, "would be privileged, and so root on its node"
    for mount in spec.mounts:
        if mount.kind is not MountKind.BIND:
            continue
        path = PurePosixPath(mount.source)
        if path.name in _SOCKETS or path == socket:
            yield mount.source, f"would have the daemon's socket {mount.source}, and so be root on its node"
        elif path == PurePosixPath("/"):
            yield mount.source, "would have the whole disk of its node"
        elif socket is not None and path in socket.parents:
            yield mount.source, f"would have the daemon's socket {socket}, and so be root on its node"
        elif any(path == root or path in root.parents for root in _ROOTS) or ".ssh" in path.parts:
            yield mount.source, f"would have {mount.source} of its node"
        elif any(root in path.parents for root in _WITH_ALL_BELOW):
            yield mount.source, f"would have {mount.source} of its node, by which its root can be had"
        elif not mount.read_only and any(path == root or root in path.parents for root in _NOT_TO_BE_WRITTEN):
            yield mount.source, f"would write to {mount.source} of its node"
