"""A real PostgreSQL, in a folder of /tmp and as a user who is not root: `initdb`, `pg_ctl`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import psycopg
from certificates import Pair
from processes import LOOPBACK, free_port

USER = "postgres"
"""Who runs the server where the tests are root, which PostgreSQL refuses; Debian's package makes that user."""
SETTINGS = "fsync=off", "full_page_writes=off", "max_connections=40"
ALONE = "wal_level=minimal", "max_wal_senders=0"
REPLICATED = "wal_level=replica", "max_wal_senders=4", "hot_standby=on", "wal_receiver_status_interval=1"


def programs() -> Path:
    """Where `initdb` and `pg_ctl` are: Debian keeps them off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        raise FileNotFoundError("initdb is missing; run `make real`, or `python tests/real/provision.py` first")
    return found[-1].parent if found else Path(str(on_path)).parent


class Postgres:
    """One server on loopback and on a socket in its folder, with a superuser `gpurec` who needs no password, and a database `gpurec`."""

    def __init__(self, folder: Path | None = None, port: int | None = None, *, replicated: bool = False) -> None:
        self._how = REPLICATED if replicated else ALONE
        self.home = folder or Path(tempfile.mkdtemp(prefix="gpurec-pg-", dir="/tmp"))
        self.data, self.port = self.home / "data", port or free_port()
        if os.geteuid() == 0:
            shutil.chown(self.home, USER)
        self._run("initdb", "-D", self.data, "-A", "trust", "-U", "gpurec", "--no-sync", "--locale=C.UTF-8")

    @property
    def url(self) -> str:
        return f"postgresql://gpurec@{LOOPBACK}:{self.port}/postgres"

    def encrypt(self, pair: Pair) -> None:
        """From its next start on it offers TLS with this certificate."""
        for name, path in (("server.crt", pair.certificate), ("server.key", pair.key)):
            shutil.copy(path, self.data / name)
            (self.data / name).chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(self.data / name, USER)
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write("ssl = on\n")

    def start(self) -> None:
        options = [f"listen_addresses={LOOPBACK}", f"port={self.port}", f"unix_socket_directories={self.home}", *SETTINGS, *self._how]
        self._run("pg_ctl", "-D", self.data, "-w", "-l", self.home / "log", "-o", " ".join(f"-c {one}" for one in options), "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "stop", check=False)

    def kill(self) -> None:
        """SIGKILL to the postmaster; its children end as they notice."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)

    def copy(self, port: int) -> Postgres:
        """Another server with what this one holds now, as a standby that was promoted would: made while this one is stopped."""
        other = object.__new__(Postgres)
        other._how = self._how
        other.home = Path(tempfile.mkdtemp(prefix="gpurec-pg-", dir="/tmp"))
        other.data, other.port = other.home / "data", port
        shutil.copytree(self.data, other.data, symlinks=True)
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", USER, other.home], check=True)
        return other

    def standby(self) -> Postgres:
        """A server that follows this one by streaming replication, begun from a base backup, on a port and a socket of its own."""
        other = object.__new__(Postgres)
        other._how = REPLICATED
        other.home = Path(tempfile.mkdtemp(prefix="gpurec-pg-", dir="/tmp"))
        other.data, other.port = other.home / "data", free_port()
        if os.geteuid() == 0:
            shutil.chown(other.home, USER)
        self._run(
            "pg_basebackup", "-D", other.data, "-h", self.home, "-p", str(self.port), "-U", "gpurec", "-R", "-X", "stream", "-c", "fast"
        )
        return other

    def promote(self) -> None:
        """A standby becomes a primary."""
        self._run("pg_ctl", "-D", self.data, "-w", "promote")

    def query(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url, autocommit=True) as conn:
            cursor = conn.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def remove(self) -> None:
        self.stop()
        with suppress(OSError):
            shutil.rmtree(self.home)

    def _run(self, program: str, *arguments: str | Path, check: bool = True) -> None:
        command = [str(programs() / program), *map(str, arguments)]
        if os.geteuid() == 0:
            command = ["runuser", "-u", USER, "--", *command]
        done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if check and done.returncode:
            raise AssertionError(f"{program} failed: {done.stdout.decode(errors='replace')[-2000:]}")
