"""What goes wrong with a cluster, as one sentence."""

from __future__ import annotations

from reconciler.fleet import GpurecError


class KubernetesError(GpurecError):
    """An API server, or the way to it, that cannot be used."""

    code = "kubernetes"
