"""Asks a node through the system's OpenSSH client, so that users' configuration, agents, jump hosts and known hosts hold.

Its configuration file takes in the user's and the system's first, and what they leave unset is ours: one connection is kept open for a
minute and reused (ControlMaster). Nothing is ever asked of a person (BatchMode), and nothing is forwarded.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from reconciler.engines.answers import clean_text
from reconciler.fleet import NodeSpec
from reconciler.probes.bounded import run_bounded
from reconciler.probes.protocol import ProbeError, Seen, probe_error
from reconciler.probes.script import SCRIPT, sections
from reconciler.probes.shell import seen_of

SOURCE = "ssh"
KEEP = 60
"""Seconds for which a connection is kept for the next look."""
_OPTIONS = (
    "BatchMode=yes",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "LogLevel=ERROR",
)
_KNOW_IT = "compare it, then run ssh-keyscan HOST >> ~/.ssh/known_hosts"
_REASONS: tuple[tuple[str, str, str, str | None], ...] = (
    ("permission denied", "key_refused", "refuses our key", "run ssh-copy-id USER@HOST, or check probe.user"),
    ("too many authentication", "key_refused", "refuses our keys", "name one key in ~/.ssh/config (IdentityFile, IdentitiesOnly yes)"),
    ("host key verification failed", "host_key", "has a host key that is not known, or another than known", _KNOW_IT),
    ("connection refused", "refused", "refuses the connection", "start sshd there, or check probe.port"),
    ("timed out", "timeout", "did not answer in time", None),
    ("could not resolve", "no_such_host", "has a name that cannot be resolved", "check address (ansible_host)"),
    ("no route to host", "refused", "cannot be reached", None),
    ("network is unreachable", "refused", "cannot be reached", None),
)  # fmt: skip


class Ssh:
    """Asks by ssh. `folder` holds the configuration and the kept connections; `environ` is what ssh gets (this process's by default)."""

    name = SOURCE

    def __init__(self, folder: Path | None = None, environ: Mapping[str, str] | None = None, user_config: str = "~/.ssh/config") -> None:
        self._folder = folder
        self._environ = environ
        self._user_config = user_config
        self._config: Path | None = None

    async def look(self, node: NodeSpec, at: str) -> Seen:
        """The node's cards by whichever vendor's tools it has."""
        try:
            ran = await run_bounded(self.command(node), within=node.probe.timeout, give=SCRIPT.encode(), environ=self._environ)
        except FileNotFoundError:
            raise probe_error("no_ssh", node.name, "there is no ssh on this machine", "install openssh-client") from None
        except OSError as error:
            raise probe_error("ssh_failed", node.name, f"ssh cannot be started: {error.strerror}") from None
        where = self.shown(node)
        if ran.cut == "timeout":
            raise probe_error("timeout", node.name, f"{where} did not answer within {node.probe.timeout:.3g} s", "raise probe.timeout")
        if ran.cut is not None:
            raise probe_error("too_large", node.name, f"{where} answered more than 8 MiB")
        parts = sections(ran.out.decode("utf-8", "replace"))
        if "end" not in parts:
            raise _refusal(node.name, where, ran.code, ran.err.decode("utf-8", "replace"))
        return seen_of(parts, node, SOURCE, at)

    def command(self, node: NodeSpec) -> list[str]:
        """The arguments; the host comes after `--`, so no name can be an option."""
        if self._config is None:
            self._config = self._written()
        command = ["ssh", "-F", str(self._config), "-T"]
        for option in (*_OPTIONS, f"ConnectTimeout={max(1, int(node.probe.timeout))}"):
            command += ["-o", option]
        if node.probe.user is not None:
            command += ["-l", node.probe.user]
        if node.probe.port is not None:
            command += ["-p", str(node.probe.port)]
        return [*command, "--", node.address, "sh", "-s"]

    def shown(self, node: NodeSpec) -> str:
        user = f"{node.probe.user}@" if node.probe.user is not None else ""
        port = f":{node.probe.port}" if node.probe.port is not None else ""
        return f"ssh {user}{node.address}{port}"

    def _written(self) -> Path:
        folder = self._folder if self._folder is not None else _own_folder()
        config = folder / "config"
        text = (
            f"Include {self._user_config}\nInclude /etc/ssh/ssh_config\nMatch all\n  ControlMaster auto\n"
            f"  ControlPath {folder}/%C\n  ControlPersist {KEEP}\n  ServerAliveInterval 5\n  ServerAliveCountMax 2\n"
        )
        draft = folder / f"config.{os.getpid()}"
        draft.write_text(text)
        draft.replace(config)
        return config


def _own_folder() -> Path:
    """A folder that only this user can enter, the same in every run; a new one where somebody else has made it."""
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    folder = base / f"gpurec-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
        return folder
    return Path(tempfile.mkdtemp(prefix="gpurec-"))


def _refusal(node: str, where: str, code: int | None, said: str) -> ProbeError:
    low = said.lower()
    for sign, word, what, hint in _REASONS:
        if sign in low:
            return probe_error(word, node, f"{where} {what}", hint)
    why = clean_text(said) or f"it ended with {code}"
    return probe_error("ssh_failed", node, f"{where} failed: {why}")
