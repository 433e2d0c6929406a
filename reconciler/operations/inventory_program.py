"""An inventory that is a program or a cluster: run, or asked, where the user named it, and nowhere else."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from reconciler.fleet import MIB, Place, Problem, WorkspaceError
from reconciler.hosts import run_bounded
from reconciler.operations.settings import WorkspaceSettings
from reconciler.views.escape import escape
from reconciler.workspace import cluster_of

WITHIN = 60.0
"""Seconds that it may take."""
CLUSTER_WITHIN = 300.0
"""Seconds that all pages of a cluster may take, with the program for its credentials."""
MOST_BYTES = 64 * MIB
_TEXT = frozenset({".yaml", ".yml", ".json", ".ini", ".toml", ".cfg"})
"""Endings of files that are never run: whoever changes the mode of one in a branch must not get it run by whoever plans that branch."""
_HEAD = 1024
_SAID = 500


def is_program(path: Path) -> bool:
    """Whether this is a file that may be executed, with a `#!` or no text at all, whose name does not say that it is text."""
    if path.suffix in _TEXT or not path.is_file() or not os.access(path, os.X_OK):
        return False
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError:
        return False  # whoever reads it as a file says why it cannot be read
    return head.startswith(b"#!") or b"\0" in head


async def printed_inventories(settings: WorkspaceSettings) -> dict[Path, bytes]:
    """What the programs that `-i` names print for `--list`, each by its path as it was named.

    Ansible's protocol (docs.ansible.com, "Developing dynamic inventory"). A program runs in gpurec's own folder and environment, within
    WITHIN seconds and MOST_BYTES. Raises WorkspaceError where one fails.
    """
    clusters = [path for path in settings.inventory if cluster_of(path) is not None]
    programs = [path for path in settings.inventory if path not in clusters and is_program(settings.path(path))]
    printed = {path: await _printed(path, settings.path(path).absolute()) for path in programs}
    return printed | {path: await _nodes_of(cluster_of(path) or "") for path in clusters}


async def _nodes_of(context: str) -> bytes:
    """The nodes of a cluster, in the same form, within CLUSTER_WITHIN seconds. Raises KubernetesError."""
    from reconciler.kubernetes import KubernetesError, access_of, inventory_of, list_nodes

    try:
        async with asyncio.timeout(CLUSTER_WITHIN):
            nodes = await list_nodes(await access_of(context))
    except TimeoutError:
        what = f"the API server did not give its nodes within {CLUSTER_WITHIN:.0f} s"
        raise KubernetesError.of(what, f"kubernetes:{context}", "kubectl get nodes with the same context says more") from None
    return json.dumps(inventory_of(nodes)).encode()


async def _printed(named: Path, path: Path) -> bytes:
    again = f"run it yourself: {path} --list"
    try:
        ran = await run_bounded([str(path), "--list"], within=WITHIN, limit=MOST_BYTES)
    except OSError as error:
        raise _failed(named, f"cannot be run: {error.strerror or error}", "check its first line and its mode") from None
    if ran.cut is not None:
        why = f"did not end within {WITHIN:.0f} s" if ran.cut == "timeout" else f"printed more than {MOST_BYTES // MIB} MiB"
        raise _failed(named, why, again)
    if ran.code != 0:
        said = ran.err.decode(errors="replace").strip().rpartition("\n")[2]
        raise _failed(named, f"ended with {ran.code}" + (f": {escape(said, _SAID)}" if said else ""), again)
    return ran.out


def _failed(path: Path, why: str, hint: str) -> WorkspaceError:
    return WorkspaceError(Problem(f"the program that prints this inventory {why}", Place(path.as_posix()), hint))
