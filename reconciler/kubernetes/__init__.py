"""A cluster's API server: which one, as whom, and what its nodes are. Raw documents over HTTP; nothing is sent but what only reads."""

from reconciler.kubernetes.access import ClusterAccess, access_of
from reconciler.kubernetes.api import list_nodes
from reconciler.kubernetes.errors import KubernetesError
from reconciler.kubernetes.nodes import inventory_of

__all__ = ["ClusterAccess", "KubernetesError", "access_of", "inventory_of", "list_nodes"]
