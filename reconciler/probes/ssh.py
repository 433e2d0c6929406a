"""Asks a node for its cards by ssh: one script, one answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from reconciler.fleet import NodeSpec
from reconciler.hosts import Clean, HostError, OverSsh, SshClient
from reconciler.probes.protocol import ProbeError, Seen
from reconciler.probes.script import SCRIPT, sections
from reconciler.probes.shell import seen_of, tells, unfinished

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
        """The node's cards by whichever vendor's tools it has. Of an answer that was cut off, what had come counts."""
        host = OverSsh(node, self._client)
        try:
            ran = await host.script(SCRIPT, within=node.probe.timeout)
            parts, cut = sections(ran.out.decode("utf-8", "replace")), None
            if "end" not in parts:
                raise host.refusal(ran)
        except HostError as error:
            parts, cut = sections(error.said.decode("utf-8", "replace")), ProbeError(error.problems[0], error.code)
            if not tells(parts):
                raise cut from None
        seen = seen_of(parts, node, SOURCE, at)
        return seen if cut is None else replace(seen, partly=seen.partly or unfinished(parts, node, cut))
