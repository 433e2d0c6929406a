"""The machines that files are on."""

from __future__ import annotations

import os
from pathlib import Path

from reconciler.engines.keys import Keys
from reconciler.fleet import LOCAL, Fleet
from reconciler.hosts import Host, SshClient, ThisMachine, host_of, is_this_machine
from reconciler.planning.kinds.file.spec import OWN_FOLDERS

LEAST_WITHIN = 30.0
"""Seconds that one file, or a look at some, may take at least."""
RELOAD_WITHIN = 120.0


class FileHosts:
    """The hosts of a fleet, and this machine as `local`. `root` is the workspace: relative paths of this machine are below it. What
    machines say goes through `keys`."""

    def __init__(self, root: Path, fleet: Fleet, keys: Keys) -> None:
        self._root, self._fleet = root, fleet
        self._client = SshClient(clean=keys.without)
        self._hosts: dict[str, Host] = {LOCAL: ThisMachine(LOCAL, keys.without)}

    def knows(self, node: str) -> bool:
        return node == LOCAL or node in self._fleet.nodes

    def host(self, node: str) -> Host:
        """Raises HostError where gpurec cannot reach it."""
        found = self._hosts.get(node)
        if found is None:
            found = self._hosts[node] = host_of(self._fleet.nodes[node], self._client)
        return found

    def sudo(self, node: str) -> bool:
        """Whether files there are root's."""
        spec = self._fleet.nodes.get(node)
        return spec is not None and spec.probe.become

    def within(self, node: str) -> float:
        spec = self._fleet.nodes.get(node)
        return max(LEAST_WITHIN, spec.probe.timeout if spec is not None else 0.0)

    def path(self, node: str, path: str) -> str:
        return str((self._root / path).absolute()) if node == LOCAL else path

    def own_folder(self, path: str) -> str | None:
        """The folder of the workspace that gpurec itself reads or keeps and that a path of this machine leads into."""
        real, root = Path(os.path.realpath(self._root / path)), Path(os.path.realpath(self._root))
        return next((folder for folder in OWN_FOLDERS if real.is_relative_to(root / folder)), None)

    def machine(self, node: str) -> object:
        """What two names of one machine have in common."""
        if node == LOCAL or is_this_machine(self._fleet.nodes[node]):
            return LOCAL
        spec = self._fleet.nodes[node]
        return (spec.address, spec.probe.port)
