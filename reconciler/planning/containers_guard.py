"""What a container could do to its node, and whether the policy lets it: who may run one that is privileged, that has the daemon's socket
or that writes to the node's root, is root on that node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from reconciler.fleet import ContainerSpec, MountKind
from reconciler.planning.plan import Refusal

PRIVILEGED = "privileged"
GUARD = "containers"
_SOCKETS = ("docker.sock", "containerd.sock", "podman.sock", "crio.sock")
_ROOTS = tuple(map(PurePosixPath, ("/etc", "/proc", "/sys", "/dev", "/root", "/boot", "/run", "/var/run", "/var/lib/docker")))
"""Folders of a node with which its root can be had, as a whole and with what is above them."""
_NOT_TO_BE_WRITTEN = tuple(map(PurePosixPath, ("/etc", "/proc", "/sys", "/boot", "/usr", "/lib", "/bin", "/sbin", "/var/lib/docker")))
"""Folders below which nobody writes who is not root: to read a certificate there is harmless."""


def container_refusals(spec: ContainerSpec, allow: Sequence[str], privileged: bool = False) -> tuple[Refusal, ...]:
    """What `policy.containers.allow` does not let this container have: each word of it is `privileged` or a path of the node."""
    return tuple(
        Refusal(GUARD, spec.address, f"{spec.address} {what}; `policy: {{containers: {{allow: [{word}]}}}}` would allow it")
        for word, what in _dangers(spec, privileged)
        if word not in allow
    )


def _dangers(spec: ContainerSpec, privileged: bool) -> Iterator[tuple[str, str]]:
    if privileged:
        yield PRIVILEGED, "would be privileged, and so root on its node"
    for mount in spec.mounts:
        if mount.kind is not MountKind.BIND:
            continue
        path = PurePosixPath(mount.source)
        if path.name in _SOCKETS:
            yield mount.source, f"would have the daemon's socket {mount.source}, and so be root on its node"
        elif path == PurePosixPath("/"):
            yield mount.source, "would have the whole disk of its node"
        elif any(path == root or path in root.parents for root in _ROOTS) or ".ssh" in path.parts:
            yield mount.source, f"would have {mount.source} of its node"
        elif not mount.read_only and any(path == root or root in path.parents for root in _NOT_TO_BE_WRITTEN):
            yield mount.source, f"would write to {mount.source} of its node"
