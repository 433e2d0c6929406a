"""A host by the system's OpenSSH client, so that users' configuration, agents, jump hosts and known hosts hold.

Its configuration file takes in the user's and the system's first, and what they leave unset is ours: one connection is kept open for a
minute and reused (ControlMaster). Nothing is ever asked of a person (BatchMode), and nothing is forwarded. The login shell of the host is
only told `sh -s`, whichever it is; the script comes on stdin.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from reconciler.engines.foreign_text import clean_text
from reconciler.fleet import NodeSpec
from reconciler.hosts.bounded import Clean, Ran, run_bounded
from reconciler.hosts.protocol import HostError, cannot_start, host_error
from reconciler.hosts.scripted import ScriptedHost

KEEP = 60
"""Seconds for which a connection is kept for the next use."""
_FAILED = 255
"""What OpenSSH ends with where it is ssh itself that failed (ssh(1))."""
_LONGEST_SOCKET = 104 - len("/") - 40 - len(".0123456789abcdef")
"""Of the folder: a socket's path holds 104 bytes on some systems, and ssh appends a hash and a random end to it."""
_OPTIONS = (
    "BatchMode=yes",
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


class SshClient:
    """The ssh of this machine with its configuration. `folder` holds that and the kept connections; `environ` is what ssh gets (this
    process's by default). All that nodes and ssh say goes through `clean`."""

    def __init__(
        self,
        folder: Path | None = None,
        environ: Mapping[str, str] | None = None,
        user_config: str = "~/.ssh/config",
        clean: Clean = bytes,
    ) -> None:
        self._folder = folder
        self.environ = environ
        self.clean = clean
        self._user_config = user_config
        self._config: Path | None = None

    def command(self, node: NodeSpec, *shell: str) -> list[str]:
        """The arguments that run `shell` on a node; the host comes after `--`, so no name can be an option."""
        return self._command(node, ("ClearAllForwardings=yes", *_OPTIONS), (), shell)

    def forwarding(self, node: NodeSpec, forward: str, *shell: str) -> list[str]:
        """The arguments that run `shell` on a node over a connection of its own, and for as long forward `forward` (ssh's -L); the forwards
        of the user's configuration are made too."""
        return self._command(node, ("ControlPath=none", "StreamLocalBindMask=0177", *_OPTIONS), ("-L", forward), shell)

    def _command(self, node: NodeSpec, options: Sequence[str], more: Sequence[str], shell: Sequence[str]) -> list[str]:
        if self._config is None:
            self._config = self._written()
        probe = node.probe
        command = ["ssh", "-F", str(self._config), "-T", *more]
        for option in (*options, f"ConnectTimeout={max(1, int(probe.timeout))}"):
            command += ["-o", option]
        command += probe.ssh_options
        if probe.key_file is not None:
            command += ["-i", probe.key_file]
        if probe.user is not None:
            command += ["-l", probe.user]
        if probe.port is not None:
            command += ["-p", str(probe.port)]
        return [*command, "--", node.address, *shell]

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


class OverSsh(ScriptedHost):
    """A node by ssh."""

    def __init__(self, node: NodeSpec, client: SshClient) -> None:
        super().__init__(node.name)
        self._node = node
        self._client = client

    @property
    def shown(self) -> str:
        """How it is reached, as one would type it."""
        probe = self._node.probe
        user = f"{probe.user}@" if probe.user is not None else ""
        port = f":{probe.port}" if probe.port is not None else ""
        return f"ssh {user}{self._node.address}{port}"

    async def _sh(self, shell: Sequence[str], text: str, within: float, limit: int) -> Ran:
        try:
            argv = self._client.command(self._node, *shell)
        except OSError as error:
            what = f"ssh cannot be used: {error.filename or 'its folder'} cannot be written ({error.strerror})"
            raise host_error("ssh_failed", self.name, what, "set XDG_RUNTIME_DIR to a folder of your own") from None
        try:
            ran = await run_bounded(argv, within=within, limit=limit, give=text.encode(), environ=self._client.environ)
            ran = ran.cleaned(self._client.clean)
        except FileNotFoundError:
            raise host_error("no_ssh", self.name, "there is no ssh on this machine", "install openssh-client") from None
        except OSError as error:
            raise cannot_start("ssh", "ssh_failed", self.name, error) from None
        if ran.cut == "timeout":
            what = f"{self.shown} did not answer within {within:.3g} s"
            raise host_error("timeout", self.name, what, "raise probe.timeout", ran.out)
        if ran.cut is not None:
            raise host_error("too_large", self.name, f"{self.shown} answered more than {limit // 2**20} MiB", said=ran.out)
        if ran.code == _FAILED:
            raise self.refusal(ran)
        return ran

    def refusal(self, ran: Ran) -> HostError:
        """Why nothing came back, by what ssh said."""
        said = ran.err.decode("utf-8", "replace")
        low = said.lower()
        for sign, word, what, hint in _REASONS:
            if sign in low:
                return host_error(word, self.name, f"{self.shown} {what}", hint, ran.out)
        what = f"{self.shown} failed: {clean_text(said) or f'it ended with {ran.code}'}"
        return host_error("ssh_failed", self.name, what, said=ran.out)


def _own_folder() -> Path:
    """A folder that only this user can enter, the same in every run; a new one where something else is in its place, or where its path is
    too long for a socket."""
    import tempfile

    for base in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir()):
        folder = Path(base or ".", f"gpurec-{os.getuid()}")
        if base is None or len(os.fsencode(folder)) > _LONGEST_SOCKET:
            continue
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077 and not (folder / "config").is_dir():
            return folder
    return Path(tempfile.mkdtemp(prefix="gpurec-"))
