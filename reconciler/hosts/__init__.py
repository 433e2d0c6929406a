"""How a command or a file reaches a node: this machine's own sh, or ssh. Knows nothing of what it is for."""

from __future__ import annotations

from reconciler.fleet import NodeSpec
from reconciler.hosts.bounded import LIMIT, Clean, Ran, run_bounded
from reconciler.hosts.protocol import MOST_FILE, PATH, FileSeen, Host, HostError, HostFile, host_error
from reconciler.hosts.ssh import OverSsh, SshClient
from reconciler.hosts.this_machine import ThisMachine, is_this_machine

__all__ = [
    "LIMIT",
    "MOST_FILE",
    "PATH",
    "Clean",
    "FileSeen",
    "Host",
    "HostError",
    "HostFile",
    "OverSsh",
    "Ran",
    "SshClient",
    "ThisMachine",
    "host_of",
    "is_this_machine",
    "run_bounded",
]


def host_of(node: NodeSpec, client: SshClient) -> Host:
    """A node as a host: this machine where it is that, else by ssh. Raises HostError where its connection is none that gpurec can make."""
    if is_this_machine(node):
        return ThisMachine(node.name, client.clean)
    if node.probe.connection is not None:
        what = f"it is reached by {node.probe.connection}, and gpurec reaches nodes by ssh"
        raise host_error("no_way", node.name, what)
    return OverSsh(node, client)
