"""Deployments that somebody else made, as far as one can count as gpurec's: what of it no file of gpurec has a key for. Pure.

A replacement of it is made from the files, so what they cannot say would be lost without a word. What the API server fills in by itself
(kubernetes.io, "PodSpec v1 core") is nothing that somebody asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from reconciler.containers.kubernetes_making import HOSTNAME, NVIDIA, ClusterNode
from reconciler.containers.kubernetes_shapes import Deployment, PodContainer, PodSpec, Volume
from reconciler.engines.foreign_text import clean_name

_MEMORY = "Memory"
_OF_POD: Mapping[str, Collection[object]] = {
    "restartPolicy": ("Always",),
    "dnsPolicy": ("ClusterFirst", "ClusterFirstWithHostNet"),
    "schedulerName": ("default-scheduler",),
    "serviceAccount": ("default",),
    "serviceAccountName": ("default",),
}
_OF_CONTAINER: Mapping[str, Collection[object]] = {
    "terminationMessagePath": ("/dev/termination-log",),
    "terminationMessagePolicy": ("File",),
}
_NOT_ASKED = frozenset(
    {
        "terminationGracePeriodSeconds",
        "automountServiceAccountToken",
        "enableServiceLinks",
        "imagePullPolicy",
        "livenessProbe",
        "startupProbe",
    }
)
"""What gpurec has a rule of its own for; whether an engine is well it asks itself."""


def is_for(one: Deployment, node: ClusterNode) -> bool:
    """Whether all its pods are on this node whatever happens."""
    return (one.spec.template.spec.node_selector or {}).get(HOSTNAME) == node.hostname


def unsaid(one: Deployment) -> Iterator[str]:
    """What the files have no key for, a word or two each."""
    pod, container = one.spec.template.spec, one.container
    yield from _unusual(pod.model_extra, _OF_POD, ("tolerations",))
    yield from _unusual(container.model_extra, _OF_CONTAINER)
    for security in (pod.security_context, container.security_context):
        yield from _unusual(security.model_extra if security is not None else None, {})
    if any(key != NVIDIA for key in _tolerated(pod)):
        yield "tolerations"
    if one.spec.selector is not None and one.spec.selector.match_expressions:
        yield "matchExpressions of its selector"
    if len(pod.containers) > 1:
        yield f"{len(pod.containers)} containers"
    if pod.image_pull_secrets:
        yield "imagePullSecrets"
    resources = container.resources
    requests = (resources.requests if resources is not None else None) or {}
    if any(((resources.limits if resources is not None else None) or {}).get(name) != amount for name, amount in requests.items()):
        yield "requests that are not its limits"
    yield from _references(container)
    volumes = {volume.name: volume for volume in pod.volumes or ()}
    for mount in container.volume_mounts or ():
        if mount.model_extra or not _is_said(volumes.get(mount.name)):
            yield f"volume {clean_name(mount.name)}"


def _unusual(extra: Mapping[str, object] | None, usual: Mapping[str, Collection[object]], but: Collection[str] = ()) -> Iterator[str]:
    for key, value in sorted((extra or {}).items()):
        if key not in _NOT_ASKED and key not in but and value not in (None, "", [], {}) and value not in usual.get(key, ()):
            yield clean_name(key)


def _tolerated(pod: PodSpec) -> Iterator[object]:
    found = (pod.model_extra or {}).get("tolerations")
    for one in found if isinstance(found, list) else ():
        yield one.get("key") if isinstance(one, dict) else None


def _references(container: PodContainer) -> Iterator[str]:
    """Texts that the kubelet puts other variables into: gpurec sends every text as it is written."""
    for variable in container.env or ():
        if "$(" in (variable.value or ""):
            yield f"$(…) in {clean_name(variable.name)}"
    if any("$(" in word for word in (*(container.command or ()), *(container.args or ()))):
        yield "$(…) in its command"


def _is_said(volume: Volume | None) -> bool:
    if volume is None:
        return False
    in_memory = volume.empty_dir is not None and volume.empty_dir.medium == _MEMORY
    return volume.persistent_volume_claim is not None or volume.host_path is not None or in_memory
