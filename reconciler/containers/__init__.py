"""Daemons that run containers, behind one small protocol: Docker Engine over its socket, TLS or ssh."""

from __future__ import annotations

from reconciler.containers.protocol import LAST_LINES, ContainerError, ContainerHost

__all__ = ["LAST_LINES", "ContainerError", "ContainerHost"]
