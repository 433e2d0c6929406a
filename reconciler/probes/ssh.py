"""Asks a node for its cards by ssh: one script, one answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reconciler.fleet import NodeSpec
from reconciler.hosts import Clean, HostError, OverSsh, SshClient
from reconciler.probes.protocol import ProbeError, Seen
from reconciler.probes.script import SCRIPT, sections
from reconciler.probes.shell import seen_of

SOURCE = "ssh"


class Ssh:
    """Asks by ssh; the arguments are those of `hosts.SshClient`."""

    name = SOURCE

    def __init__(
        self,
        folder: Path | None = None,
        environ: Mapping[str, str] | None = None,
        user_config: str = "~/.ssh/config",
        clean: Clean = bytes,
    ) -> None:
        self._client = SshClient(folder, environ, user_config, clean)

    async def look(self, node: NodeSpec, at: str) -> Seen:
        """The node's cards by whichever vendor's tools it has."""
        host = OverSsh(node, self._client)
        try:
            ran = await host.script(SCRIPT, within=node.probe.timeout)
            parts = sections(ran.out.decode("utf-8", "replace"))
            if "end" not in parts:
                raise host.refusal(ran)
        except HostError as error:
            raise ProbeError(error.problems[0], error.code) from None
        return seen_of(parts, node, SOURCE, at)
