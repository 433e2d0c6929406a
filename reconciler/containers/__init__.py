"""Daemons that run containers, behind one small protocol: Docker Engine over its socket, TLS or ssh."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.containers.protocol import LAST_LINES, ContainerError, ContainerHost
from reconciler.lazy import lazily

if TYPE_CHECKING:
    from reconciler.containers.reach import open_container_host

__all__ = ["LAST_LINES", "ContainerError", "ContainerHost", "open_container_host"]

__getattr__ = lazily(__name__, {"reach": ("open_container_host",)})
