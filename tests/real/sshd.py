"""A real sshd on loopback with a configuration, keys and a PATH of its own, and a program `nvidia-smi` that plays back what one printed."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from pathlib import Path

from processes import LOOPBACK, Process, free_port
from waiting import wait_until

DATA = Path(__file__).resolve().parents[1] / "probes" / "data"
NVIDIA_SMI = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
  *memory.reserved*)
    [ -e {old} ] && {{ echo 'Field "memory.reserved" is not a valid field to query.'; exit 2; }}
    cat {data}/two-cards.csv;;
  --query-gpu=*) cat {data}/two-cards.csv;;
  "-q -x") cat {data}/two-cards.xml;;
  -L) ;;
  --query-compute-apps=*) echo 2020;;
esac
"""


class Sshd:
    """The server. `user` may log in with `key`; `known_hosts` has its host key."""

    def __init__(self, home: Path) -> None:
        self.user = getpass.getuser()
        self.port = free_port()
        self.home = home
        self.tools = home / "bin"
        self.asked = home / "asked"
        self.old_driver = home / "old"
        self.tools.mkdir(parents=True)
        for name in ("host", "key", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
        self.key, self.stranger = home / "key", home / "stranger"
        (home / "authorized").write_text((home / "key.pub").read_text())
        self.known_hosts = home / "known_hosts"
        self.known_hosts.write_text(f"[{LOOPBACK}]:{self.port} {(home / 'host.pub').read_text()}")
        self.pid_file = home / "pid"
        config = home / "sshd_config"
        config.write_text(
            f"ListenAddress {LOOPBACK}:{self.port}\nHostKey {home}/host\nPidFile {self.pid_file}\nAuthorizedKeysFile {home}/authorized\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nLogLevel VERBOSE\n"
            f"SetEnv PATH={self.tools}:/usr/bin:/bin\n"
        )
        program = shutil.which("sshd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        assert program is not None, "sshd is missing: apt-get install openssh-server"
        Path("/run/sshd").mkdir(exist_ok=True)
        self.process = Process("sshd", [program, "-D", "-e", "-f", config], home)
        wait_until(self._listens, 20, "sshd listens")

    def _listens(self) -> bool:
        assert self.process.status is None, self.process.tail()
        return "Server listening on" in self.process.said()

    def give_cards(self) -> None:
        """From now on the account has an `nvidia-smi`."""
        program = self.tools / "nvidia-smi"
        program.write_text(NVIDIA_SMI.format(log=self.asked, old=self.old_driver, data=DATA))
        program.chmod(0o755)

    def give_program(self, name: str, text: str) -> None:
        program = self.tools / name
        program.write_text("#!/bin/sh\n" + text)
        program.chmod(0o755)

    def client_config(self, key: Path | None = None, known_hosts: Path | None = None) -> Path:
        """What a user would have in `~/.ssh/config`."""
        config = self.home / f"client-{(key or self.key).name}-{(known_hosts or self.known_hosts).name}"
        config.write_text(
            f"Host *\n  IdentityFile {key or self.key}\n  IdentitiesOnly yes\n  UserKnownHostsFile {known_hosts or self.known_hosts}\n"
            "  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n  LocalForward 1 localhost:1\n"
        )
        return config

    def logins(self) -> int:
        return self.process.said().count("Accepted publickey")

    def stop(self) -> None:
        self.process.stop()
