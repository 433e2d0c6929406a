"""A simulated Docker Engine: its HTTP API over a loopback port or a socket file, containers with states, images, pulls, logs, events."""

from __future__ import annotations

from reconciler.sim.docker.daemon import DockerDaemon
from reconciler.sim.docker.images import Image, Library, full_name
from reconciler.sim.docker.process import NoSuchProgram, Program, Running

__all__ = ["DockerDaemon", "Image", "Library", "NoSuchProgram", "Program", "Running", "full_name"]
